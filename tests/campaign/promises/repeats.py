"""Promise 15: same seed, same run."""

import os
import subprocess
import sys

from tests.campaign.registry import Findings, Promise


def same_seed_same_run(scale: int, seed: int) -> Findings:
    """`scale` lives in each of two processes whose hashes are salted differently, so that no order of a set that was
    never meant to matter is the same in both; and what is matched on a recorded board and bank.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.event_log", str(seed), str(scale)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for salt in ("1", "2")
    ]
    first, second = [process.communicate()[0].splitlines() for process in processes]
    whole = len(first) == len(second) == scale + 1 and not any(process.returncode for process in processes)
    lost = sum(one != other for one, other in zip(first, second, strict=False)) if whole else scale
    events = sum(int(line.split()[1]) for line in first)
    done = "lives and decisions in two processes with other salts of Python's hashes, event by event"
    return {"done": done, "times": scale, "lost": lost, "figures": {"events compared": events}}


PROMISES = (Promise(15, "same seed, same run", same_seed_same_run, short=3, long=40),)
