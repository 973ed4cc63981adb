"""The submitter's body: one cycle of scoring, submitting and claiming, or a claim alone."""

import logging
import time
from typing import Any

from quickstart.chain.keys import Wallet
from quickstart.data.window import address_seed
from quickstart.errors import UsageError
from quickstart.modal_app.names import DISARMED
from quickstart.modal_app.ownership import at_work, leave, take_over
from quickstart.modal_app.requests import post, take_answer, withdraw
from quickstart.modal_app.run import run_session
from quickstart.modal_app.workplace import Workplace
from quickstart.settings import Settings, load_settings
from quickstart.submission.actions import Policy
from quickstart.submission.premises import Plan
from quickstart.submission.requests import CLAIM, POLL_SECONDS

log = logging.getLogger(__name__)

MANY_EPOCHS = 1_000
LARGEST_SHARD = 2048
"""Windows of a shard: a few minutes of an L4, so that a container taken away loses little."""
SHARDS_PER_CONTAINER = 4

CUT = "windows"
"""Keys of the store that begin with this and a slash: the windows of that call are cut."""

WALLET_NAMES = ("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


def shard_windows(windows: int, containers: int) -> int:
    """Windows per shard: some shards for every container, none too large. At least one."""
    return max(1, min(LARGEST_SHARD, -(-windows // (containers * SHARDS_PER_CONTAINER))))


def run_cycle(workplace: Workplace, *, until_exhausted: bool) -> dict[str, Any]:
    """One cycle. `until_exhausted`: ends when nothing is left to do, instead of waiting for new targets.

    Returns the run's summary, or `skipped` and why.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    settings = load_settings(*WALLET_NAMES, env_file=None)
    store = workplace.store
    stopped: str | None = store.get(DISARMED, None)
    if stopped is not None and not until_exhausted:
        return {"skipped": f"stopped ({stopped}); `uv run submit` or `uv run deploy` starts it again"}
    other = take_over(store, workplace.call_id, workplace.is_at_work)
    if other is not None:
        return {"skipped": f"{other} is at work"}
    try:
        if settings.gpu_dollars_per_day:
            _cut_windows(workplace, settings)
        policy = Policy(
            lanes=settings.lanes,
            max_hits_per_epoch=None,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
            patient=not until_exhausted,
        )
        plan = Plan(
            policy,
            1 if until_exhausted else MANY_EPOCHS,
            windows=0,
            sources=(),
            command="cycle on Modal",
            accepted_versions=settings.accepted_versions,
        )
        return run_session(workplace, settings, plan, stopped)
    finally:
        leave(store, workplace.call_id)


def run_claim(workplace: Workplace) -> dict[str, Any]:
    """Claims: through the cycle at work if there is one, else here.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    settings = load_settings(*WALLET_NAMES, env_file=None)
    store = workplace.store
    stopped: str | None = store.get(DISARMED, None)
    while (other := take_over(store, workplace.call_id, workplace.is_at_work)) is not None:
        answer = _ask(workplace, other)
        if answer is not None:
            return {"asked": other, "interrupted": False, **answer}
    try:
        policy = Policy(settings.lanes, 0, gas_cap=settings.gas_cap_shannons, scoring=False)
        plan = Plan(
            policy,
            0,
            windows=0,
            sources=(),
            command="claim on Modal",
            accepted_versions=settings.accepted_versions,
        )
        return run_session(workplace, settings, plan, stopped)
    finally:
        leave(store, workplace.call_id)


def _ask(workplace: Workplace, other: str) -> dict[str, Any] | None:
    """Hands a claim to the call at work and follows it; None when that ended first."""
    name = post(workplace.store, CLAIM)
    try:
        while (answer := take_answer(workplace.store, name)) is None:
            if at_work(workplace.store, workplace.is_at_work) != other:
                return None
            time.sleep(POLL_SECONDS)
        return answer
    finally:
        withdraw(workplace.store, name)


def _cut_windows(workplace: Workplace, settings: Settings) -> None:
    """New windows for this cycle, once, also when the call was interrupted and started again."""
    slot = f"{CUT}/{workplace.call_id}"
    if workplace.store.get(slot, None) is not None:
        return
    wanted = settings.windows_per_run
    assert settings.secret_key is not None
    message = {
        "wanted": wanted,
        "shard_windows": shard_windows(wanted, settings.max_containers),
        "seed": address_seed(Wallet.parse(settings.secret_key.get_secret_value()).address),
        "source": settings.source,
        "filters": settings.filter_names,
    }
    answer = workplace.cut_windows(message).get()
    if "failed" in answer:
        log.warning("no new windows: %s", answer["failed"])
    workplace.store.put(slot, answer)


def told(error: UsageError) -> dict[str, Any]:
    """A failure a person can mend, as a result: in the cloud a run ends in order, with that line in its log."""
    log.error("error: %s", error)
    return {"error": str(error), "exit_code": error.exit_code}
