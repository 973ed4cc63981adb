"""The cycle's new windows: cut once for each cycle by a call of its own, which a restarted cycle takes up again."""

import logging
import time

from quickstart.chain.keys import Wallet
from quickstart.data.window import address_seed
from quickstart.modal_app.account import Call, Ending, described, ending_of
from quickstart.modal_app.messages import Message
from quickstart.modal_app.workplace import Workplace
from quickstart.settings import Settings
from quickstart.units import MINUTES

log = logging.getLogger(__name__)

LARGEST_SHARD = 2048
"""Windows of a shard: a few minutes of an L4, so that a container taken away loses little."""
SHARDS_PER_CONTAINER = 4

CUT = "windows"
"""Keys of the store that begin with this and a slash: who cuts the windows of that cycle (the id of a call), and when
that has ended, what came of it (a message)."""

CUTTING_SECONDS = 45 * MINUTES
"""After which no more windows are cut: those that are there are used."""

PATIENCE_SECONDS = 60 * MINUTES
"""How long a cycle waits for its windows before it begins without."""

ASK_SECONDS = 30.0


def shard_windows(windows: int, containers: int) -> int:
    """Windows per shard: some shards for every container, none too large. At least one."""
    return max(1, min(LARGEST_SHARD, -(-windows // (containers * SHARDS_PER_CONTAINER))))


def new_windows(
    workplace: Workplace,
    settings: Settings,
    patience_seconds: float = PATIENCE_SECONDS,
    ask_seconds: float = ASK_SECONDS,
) -> None:
    """Has the windows of this cycle cut, unless they are, and waits for them. Trouble with that is told in the log: a
    cycle goes on without new windows.

    Raises:
        Exception: Modal failed before anything was begun.
    """
    store, slot = workplace.store, f"{CUT}/{workplace.call_id}"
    known: str | Message | None = store.get(slot, None)
    if isinstance(known, dict):
        return
    if known is None:
        call = workplace.cut_windows(_message(workplace, settings))
        store.put(slot, call.object_id)
    else:
        log.info("windows are cut by %s already", known)
        call = workplace.remote.attach(known)
    ending = _wait(call, patience_seconds, ask_seconds)
    if ending is None:
        log.warning("no new windows yet: this run begins without them")
        return
    answer = ending.value if ending.error is None else {"failed": described(ending.error)}
    if "failed" in answer:
        log.warning("no new windows: %s", answer["failed"])
    store.put(slot, answer)


def _message(workplace: Workplace, settings: Settings) -> Message:
    assert settings.secret_key is not None
    return {
        "wanted": settings.windows_per_run,
        "shard_windows": shard_windows(settings.windows_per_run, workplace.containers),
        "seed": address_seed(Wallet.parse(settings.secret_key.get_secret_value()).address),
        "source": settings.source,
        "filters": settings.filter_names,
        "seconds": CUTTING_SECONDS,
    }


def _wait(call: Call, patience_seconds: float, ask_seconds: float) -> Ending | None:
    """How a call ended, or None when it has not within `patience_seconds`."""
    end = time.monotonic() + patience_seconds
    while (left := end - time.monotonic()) > 0:
        begun = time.monotonic()
        try:
            ending = ending_of(call, min(ask_seconds, left))
        except Exception as error:  # noqa: BLE001 - whatever Modal raises where it cannot be asked: it is asked again
            log.warning("Modal: %s", described(error))
            time.sleep(max(0.0, min(ask_seconds, left) - (time.monotonic() - begun)))
            continue
        if ending is not None:
            return ending
    return None
