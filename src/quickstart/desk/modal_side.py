"""What Modal has of ours, read and never changed: is a cycle at work, what GPUs cost, copies of the ledgers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickstart.desk.accounts import Costs
from quickstart.desk.health import Workplace, next_firing_ms
from quickstart.ledger.wallet_files import wallet_file
from quickstart.modal_app.account import has_ended, modal_errors
from quickstart.modal_app.names import (
    DICT,
    DISARMED,
    GPU_CALLS,
    LEDGER_VOLUME,
    PROGRESS,
    RUNNING,
    WATCHED,
)
from quickstart.modal_app.spending import SPENT
from quickstart.modal_app.store import Store

if TYPE_CHECKING:
    import modal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a ledger, as the volume had it at `at_ms`."""

    path: Path
    at_ms: int


@dataclass(frozen=True, slots=True)
class ModalAnswer:
    """`ledgers`: the newest first. `watched_ms`: when the alerts' watch there last looked; `tells`: it can tell of what
    it sees.
    """

    workplace: Workplace
    costs: Costs
    ledgers: tuple[Snapshot, ...]
    watched_ms: int | None = None
    tells: bool = False


def ask_modal(folder: Path, now_ms: int, dollars_per_second: float) -> ModalAnswer:
    """Asks Modal, and copies the ledgers into `folder`, laid out as in a state folder.

    Raises:
        SettingsError, UsageError, UnreachableError, NetworkError: as `modal_errors` words them.
    """
    import modal

    with modal_errors():
        state = modal.Dict.from_name(DICT).hydrate()
        running = state.get(RUNNING)
        at_work = running is not None and not has_ended(modal.FunctionCall.from_id(running))
        ledgers = _copy_ledgers(modal.Volume.from_name(LEDGER_VOLUME).hydrate(), folder)
        last_ms = max((one.at_ms for one in ledgers), default=None)
        place = workplace(state, str(running) if at_work else None, last_ms, now_ms)
        watched_ms, tells = state.get(WATCHED) or (None, False)
        return ModalAnswer(place, costs(state, dollars_per_second), ledgers, watched_ms, tells)


def workplace(store: Store, at_work: str | None, last_ms: int | None, now_ms: int) -> Workplace:
    """What the store tells of the cycle. `at_work`: the call that is, `last_ms`: when the ledger last changed."""
    stopped, told = store.get(DISARMED, None), store.get(PROGRESS, None)
    return Workplace(
        at_work=f"{at_work} on Modal" if at_work else None,
        last_ms=last_ms,
        next_ms=None if stopped else next_firing_ms(now_ms),
        stopped=None if stopped is None else str(stopped),
        progress=str(told[1]) if told and at_work and told[0] == at_work else None,
        gpu_calls=len(_under(store.keys(), GPU_CALLS)),
    )


def costs(store: Store, dollars_per_second: float) -> Costs:
    """What GPUs cost by day, as far as the store remembers: seconds that containers lived, at list price."""
    days = {}
    for key in _under(store.keys(), SPENT):
        day, kept = key.partition("/")[2], store.get(key, None)
        if kept is not None:
            start = datetime.fromisoformat(day).replace(tzinfo=UTC)
            days[day] = int(start.timestamp() * 1000), float(kept["seconds"]) * dollars_per_second
    return Costs(dict(sorted(days.items())))


def _under(keys: Iterable[Any], name: str) -> list[str]:
    return [key for key in list(keys) if isinstance(key, str) and key.startswith(name + "/")]


def _copy_ledgers(volume: "modal.Volume", folder: Path) -> tuple[Snapshot, ...]:
    found = []
    for entry in volume.iterdir("/", recursive=True):
        if wallet_file(Path(entry.path)) is None:
            continue
        path = folder / entry.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for part in volume.read_file(entry.path):
                file.write(part)
        found.append(Snapshot(path, int(entry.mtime * 1000)))
    return tuple(sorted(found, key=lambda one: -one.at_ms))
