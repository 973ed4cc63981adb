"""Promise 7: reveals are made in their epoch. The runs are those of the autopilot's own test, only more of them."""

import random

from tests.campaign.registry import Findings, Promise
from tests.trainer.test_reveal_autopilot import Run


def reveals_in_their_epoch(scale: int, seed: int) -> Findings:
    """`scale` wallets through three epochs with outages of up to 20 hours in each, some of them of the machine too."""
    runs = [Run(random.Random(seed * 1_000_003 + number), machine_too=number % 2 == 0) for number in range(scale)]
    for run in runs:
        run.play()
    late = sum(epochs != 1 for run in runs for epochs in run.chain.revealed_in)
    missed = sum(run.chain.missed for run in runs)
    unalarmed = sum(run.alarms != run.late for run in runs)
    figures = {
        "reveals": sum(len(run.chain.revealed_in) for run in runs),
        "attempts": sum(run.tries for run in runs),
        "alarms": sum(len(run.alarms) for run in runs),
    }
    done = "wallets through three epochs with outages of up to 20 hours in each, on a virtual clock"
    return {"done": done, "times": scale, "lost": late + missed + unalarmed, "figures": figures}


PROMISES = (Promise(7, "reveals are made in their epoch", reveals_in_their_epoch, short=0, long=10_000),)
