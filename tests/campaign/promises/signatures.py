"""Promise 1: no conflicting signature."""

import logging
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.campaign.registry import Findings, Promise
from tests.campaign.wallet_life import WalletLife

STEPS = 50
PROCESSES = 2
ALONE = 100
"""Lives that are not worth processes of their own."""

COUNTED = ("fills", "crashes", "epochs", "coins gone stale", "second signers refused", "recoveries compared")


def no_conflicting_signature(scale: int, number: int) -> Findings:
    """`scale` lives of a wallet, of 50 steps each.

    Raises:
        AssertionError: a conflict, shrunk to its shortest story, as Hypothesis tells it.
    """
    if scale < ALONE:
        totals = _lives(scale, number)
    else:
        shares = [scale // PROCESSES] * PROCESSES
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, context, _be_quiet) as pool:
            parts = pool.map(_lives, shares, [PROCESSES * number + place for place in range(PROCESSES)])
            totals = sum(parts, Counter[str]())
    cuts = sum(times for name, times in totals.items() if name.startswith("cut at "))
    figures = {"transactions": totals["transactions"], **{name: totals[name] for name in COUNTED}, "power cuts": cuts}
    return {"done": f"sequences of {STEPS} steps", "times": totals["lives"], "lost": 0, "figures": figures}


def _lives(scale: int, number: int) -> Counter[str]:
    """What happened in so many lives."""
    WalletLife.totals.clear()

    @seed(number)
    class Life(WalletLife):
        pass

    limits = settings(
        max_examples=scale,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(seed(number)(Life), settings=limits)
    return Counter(WalletLife.totals)


def _be_quiet() -> None:
    """The product tells of every fault that is made."""
    logging.getLogger().addHandler(logging.NullHandler())


PROMISES = (Promise(1, "no conflicting signature", no_conflicting_signature, short=10, long=2_000),)
