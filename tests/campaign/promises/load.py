"""Load, and promise 5 on a served network: one submitter, eight lanes, the devnet's own audit on."""

import json
import os
import subprocess
import sys
import time

import psutil

from tests.campaign.registry import Findings, Promise
from tests.campaign.simulation import scratch_folder

SUBMIT = "import sys; from quickstart.cli.main import submit; sys.exit(submit())"
LANES = 8
MOST_FILES = 128
MOST_GROWTH_MB = 64.0
"""Between a quarter of the run and its end; what a run needs at all it has by then."""

SAMPLE_SECONDS = 0.25


def many_hits(scale: int, seed: int) -> Findings:
    """One run of `submit` that stops at `scale` hits, then claims them all; looked at from outside while it works."""
    folder = scratch_folder()
    windows = max(8, min(320, scale // 4))
    line = ["--network", "devnet", "--state", str(folder / "state"), "--seed", str(seed), "--json", "--epochs", "1"]
    line += ["--max-hits", str(scale), "--lanes", str(LANES), "--windows", str(windows), "--workers", "1"]
    started = time.monotonic()
    samples: list[tuple[float, int]] = []
    with (folder / "errors").open("w") as errors, (folder / "told").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", SUBMIT, *line],
            stdout=told,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        while process.poll() is None:
            if (sample := _sample(process.pid)) is not None:
                samples.append(sample)
            time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - started
    if process.returncode != 0:
        return _found(1, scale, {"first": (folder / "errors").read_text()[-500:]})
    result = json.loads((folder / "told").read_text())
    books = result["books"]
    growth = max(mb for mb, _ in samples) - max(mb for mb, _ in samples[: max(1, len(samples) // 4)])
    files = max(count for _, count in samples)
    broken = {
        f"{result['false_claims']} false claims": result["false_claims"],
        f"{result['claimed']} claimed of {scale}": result["claimed"] != scale,
        f"books differ by {books['difference_shannons']}": books["difference_shannons"],
        f"memory grew by {growth:.0f} MB": growth > MOST_GROWTH_MB,
        f"{files} open files": files > MOST_FILES,
    }
    lost = [what for what, is_broken in broken.items() if is_broken]
    figures = {
        "memory at most, MB": max(mb for mb, _ in samples),
        "grown since a quarter of the run, MB": growth,
        "open files at most": files,
        "seconds": seconds,
        **({"first": lost[0]} if lost else {}),
    }
    return _found(len(lost), scale, figures)


def _found(lost: int, times: int, figures: dict[str, object]) -> Findings:
    return {
        "done": f"hits of one run over {LANES} lanes, audited and claimed",
        "times": times,
        "lost": lost,
        "figures": figures,
    }


def _sample(pid: int) -> tuple[float, int] | None:
    """Resident MB and open files of a process; None once it has gone."""
    try:
        process = psutil.Process(pid)
        return process.memory_info().rss / 2**20, process.num_fds()
    except psutil.Error:
        return None


PROMISES = (Promise(5, "every claim is true (a served network under load)", many_hits, short=0, long=2_000),)
