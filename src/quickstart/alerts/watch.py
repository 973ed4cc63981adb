"""Beside a run on this machine: looks at its wallet now and then, and tells what needs a person.

The run never waits for it, and whatever goes wrong here ends here.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType

from quickstart.alerts.alert import Judgement, judge
from quickstart.alerts.channels import channels_of, secrets_of
from quickstart.alerts.journal import Journal
from quickstart.alerts.sight import Limits, look_at_chain, look_at_wallet
from quickstart.alerts.telling import Look, Teller
from quickstart.desk.accounts import Costs
from quickstart.settings import Settings
from quickstart.submission.alarms import now_ms
from quickstart.submission.premises import Places
from quickstart.units import MINUTES

log = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 1 * MINUTES
"""After a run began: its ledger is open by then, and what an earlier run left is settled."""

LOOK_EVERY_SECONDS = 5 * MINUTES
LEAVE_SECONDS = 5.0
"""How long a run that has ended waits for a message under way."""


class Watch:
    """A thread that has `teller` make rounds of `look`, first after `first` seconds, then every `every`."""

    def __init__(
        self, teller: Teller, look: Look, first: float = FIRST_LOOK_SECONDS, every: float = LOOK_EVERY_SECONDS
    ) -> None:
        self._teller = teller
        self._look = look
        self._first = first
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make_rounds, name="alerts", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(LEAVE_SECONDS)

    def _make_rounds(self) -> None:
        pause = self._first
        while not self._over.wait(pause):
            pause = self._every
            try:
                self._teller.round(self._look)
            except Exception as error:  # noqa: BLE001 - alerts never end, or trouble, the run that they watch
                log.warning("alerts: %s: %s", type(error).__name__, error)


def watching(settings: Settings, state: Path, places: Places, rpc_url: str) -> AbstractContextManager[object]:
    """The watch of a run, nothing where no channel is set.

    Raises:
        SettingsError: one is set in part.
    """
    channels = channels_of(settings)
    if not channels:
        return nullcontext()
    return Watch(
        Teller(state, channels, secrets_of(settings), now_ms), wallet_look(settings, places.ledger, rpc_url, None)
    )


def wallet_look(
    settings: Settings, ledger: Path, rpc_url: str | None, costs: Costs | None, *, stopped: bool = False
) -> Look:
    """A look at one wallet. `rpc_url`: a node of its chain; None where none answers."""
    owner = bytes.fromhex(ledger.parent.name)
    limits = Limits.of(settings)

    def look(journal: Journal, at_ms: int) -> tuple[Journal, Iterable[Judgement]]:
        chain = (
            None if rpc_url is None else asyncio.run(look_at_chain(rpc_url, owner, settings.accepted_versions, at_ms))
        )
        sight = look_at_wallet(ledger, chain, costs, now_ms=at_ms, began_ms=journal.began_ms, stopped=stopped)
        return journal, [judge(sight, limits, journal.names)]

    return look
