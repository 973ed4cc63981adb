"""The submitter's body: one cycle of scoring, submitting and claiming, or a claim alone."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from quickstart.chain.backoff import Backoff
from quickstart.errors import BusyError, LeaseHeldError, NetworkError, UnmappedFailure, UnreachableError, UsageError
from quickstart.modal_app.account import described
from quickstart.modal_app.attendant import LOOK_SECONDS
from quickstart.modal_app.names import DISARMED, PROGRESS
from quickstart.modal_app.ownership import at_work, leave, take_over
from quickstart.modal_app.requests import post, take_answer, withdraw
from quickstart.modal_app.run import run_session, working_seconds
from quickstart.modal_app.windows import new_windows
from quickstart.modal_app.workplace import Workplace
from quickstart.settings import Settings, load_settings
from quickstart.submission.actions import Policy
from quickstart.submission.premises import Plan
from quickstart.submission.requests import CLAIM, POLL_SECONDS
from quickstart.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

MANY_EPOCHS = 1_000

AWAY_BACKOFF = Backoff(first=5 * SECONDS, longest=5 * MINUTES)
"""How long node and bucket are left alone that cannot be reached when a cycle begins, and who holds the lease."""

WALLET_NAMES = ("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


def run_cycle(workplace: Workplace, *, until_exhausted: bool) -> dict[str, Any]:
    """One cycle. `until_exhausted`: somebody waits for its end, which comes when nothing is left to do, node or
    bucket cannot be reached, or somebody else signs; else it waits for new targets, and for all of these.

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
            new_windows(workplace, settings)
        policy = Policy(
            lanes=settings.lanes,
            max_hits_per_epoch=None,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
            patient=not until_exhausted,
        )
        plan = _plan(settings, policy, 1 if until_exhausted else MANY_EPOCHS, "cycle on Modal")
        work = partial(run_session, workplace, settings, plan, stopped)
        if until_exhausted:
            return work()
        ends = time.monotonic() + working_seconds(time.time())
        return until_reached(work, ends, partial(_rest, workplace, stopped))
    finally:
        _leave(workplace)


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
        return run_session(workplace, settings, _plan(settings, policy, 0, "claim on Modal"), stopped)
    finally:
        _leave(workplace)


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


def until_reached(
    work: Callable[[], dict[str, Any]], ends: float, rest: Callable[[str, float], bool]
) -> dict[str, Any]:
    """Does the work, again and again while node or bucket cannot be reached, or another holds the lease, as a reveal
    does for minutes, and it is before `ends` (monotonic clock).

    `rest`: is told what is wrong and waits so many seconds; whether to try again after that.

    Raises:
        QuickstartError: as the work does, at last.
    """
    failures = 0
    while True:
        try:
            return work()
        except UnmappedFailure:
            raise  # nobody knows what it means: waiting may not mend it
        except (UnreachableError, NetworkError, LeaseHeldError) as error:
            failures += 1
            asked = error.retry_after_seconds if isinstance(error, BusyError) else None
            pause = AWAY_BACKOFF.pause(failures, asked)
            if time.monotonic() + pause >= ends or not rest(str(error), pause):
                raise


def _rest(workplace: Workplace, stopped: str | None, what: str, seconds: float) -> bool:
    """Waits, and tells so; whether nothing was stopped meanwhile."""
    line = f"{what}; this run begins when that is over, the next try is in {seconds:.0f} s"
    log.warning("%s", line)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            workplace.store.put(PROGRESS, (workplace.call_id, line))
            if workplace.store.get(DISARMED, None) not in (None, stopped):
                return False
        except Exception as error:  # noqa: BLE001 - Modal's Dict may fail for a moment
            log.warning("Modal: %s", described(error))
        time.sleep(min(LOOK_SECONDS, left))
    return True


def _plan(settings: Settings, policy: Policy, epochs: int, command: str) -> Plan:
    """A plan for what is deployed: windows are cut elsewhere."""
    return Plan(policy, epochs, windows=0, sources=(), command=command, accepted_versions=settings.accepted_versions)


def _leave(workplace: Workplace) -> None:
    try:
        leave(workplace.store, workplace.call_id)
    except Exception as error:  # noqa: BLE001 - must not hide how the run ended; a call that has ended is succeeded anyway
        log.warning("Modal: %s", described(error))


def told(error: UsageError) -> dict[str, Any]:
    """A failure a person can mend, as a result: in the cloud a run ends in order, with that line in its log."""
    log.error("error: %s", error)
    return {"error": str(error), "exit_code": error.exit_code}
