"""Promise 1: no conflicting signature."""

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.campaign.registry import Findings, Promise
from tests.campaign.wallet_life import WalletLife

STEPS = 50
COUNTED = ("fills", "crashes", "epochs", "coins gone stale", "second signers refused", "recoveries compared")


def no_conflicting_signature(scale: int, number: int) -> Findings:
    """`scale` lives of a wallet, of 50 steps each.

    Raises:
        AssertionError: a conflict, shrunk to its shortest story, as Hypothesis tells it.
    """
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
    totals = WalletLife.totals
    cuts = sum(times for name, times in totals.items() if name.startswith("cut at "))
    figures = {"transactions": totals["transactions"], **{name: totals[name] for name in COUNTED}, "power cuts": cuts}
    return {"done": f"sequences of {STEPS} steps", "times": totals["lives"], "lost": 0, "figures": figures}


PROMISES = (Promise(1, "no conflicting signature", no_conflicting_signature, short=10, long=2_000),)
