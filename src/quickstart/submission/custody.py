"""Custody: what a bond rests on stays readable until the reward is claimed.

Validators may download a submission until its audit is over; bytes they cannot get, or get otherwise, cost the bond. So
the public copy of every open fill is read again every six hours, put back where it is ours, and told of at once.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol, TypeAlias

from quickstart.chain.ids import Id32
from quickstart.data.window import Window
from quickstart.errors import DataUnreadableError, QuickstartError
from quickstart.ledger.records import AlarmKind, Fill, FillState, Published
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms
from quickstart.submission.publishing import PublishingDesk
from quickstart.units import HOURS, MINUTES

log = logging.getLogger(__name__)

CHECK_EVERY_MS = int(6 * HOURS * 1000)
AGAIN_AFTER_MS = int(5 * MINUTES * 1000)
"""When a copy that could not be read is looked at again."""

PUT_BACK_SECONDS = 5 * MINUTES
"""How long a copy may take to be put back before a person hears of it: a slow bucket needs longer than an alarm may."""

LOOK_EVERY_MS = int(1 * MINUTES * 1000)
"""How often the ledger is asked what bonds rest on."""

Copy: TypeAlias = tuple[Id32, str]
"""A window and the address of its public copy."""


def copies_of(fills: Iterable[Fill], published: Iterable[Published]) -> tuple[Published, ...]:
    """The public copies that fills rest on, each once. A fill without an address rests on every copy of its window."""
    named = {(fill.window, fill.url) for fill in fills}
    return tuple(copy for copy in published if (copy.window, copy.url) in named or (copy.window, None) in named)


def due(copies: Iterable[Published], tried_ms: Mapping[Copy, int], now_ms: int) -> tuple[Published, ...]:
    """Copies to read again now, the one that was read longest ago first. Pure; times in ms since 1970.

    `tried_ms`: when a copy was last looked at in vain.
    """
    waiting = [
        copy
        for copy in copies
        if not 0 <= now_ms - copy.verified_ms < CHECK_EVERY_MS  # nor from the future: a clock was set
        and now_ms - tried_ms.get((copy.window, copy.url), 0) >= AGAIN_AFTER_MS
    ]
    return tuple(sorted(waiting, key=lambda copy: (copy.verified_ms, copy.window, copy.url)))


class Windows(Protocol):
    """Where the bytes of a window are still to be had (the bank)."""

    def row_of(self, checksum: Id32) -> int | None: ...

    def window(self, row: int) -> Window: ...


class Custody:
    """Looks after the public copies that open fills of one wallet rest on. The clock is that of `publishing`."""

    def __init__(self, publishing: PublishingDesk, writer: LedgerWriter, alarms: Alarms, windows: Windows) -> None:
        self._publishing = publishing
        self._writer = writer
        self._alarms = alarms
        self._windows = windows
        self._waiting: list[Published] = []
        self._looked_ms: int | None = None
        self._tried_ms: dict[Copy, int] = {}
        self.running: set[Copy] = set()

    async def look(self) -> None:
        """Asks the ledger, once a minute, what bonds rest on. Alarms of copies that none rests on any more are over:
        their fills are claimed, or lost.
        """
        now = self._publishing.clock()
        if self._looked_ms is not None and now - self._looked_ms < LOOK_EVERY_MS:
            return
        self._looked_ms = now
        ledger = self._writer.ledger
        fills = ledger.fills(FillState.FILLED)
        copies = copies_of(fills, ledger.published())
        self._waiting = list(due(copies, self._tried_ms, now))
        needed = {copy.url for copy in copies} | {fill.url for fill in fills if fill.url is not None}
        for alarm in ledger.alarms():
            if alarm.kind is AlarmKind.UNREADABLE and alarm.cleared_ms is None and alarm.subject not in needed:
                await self._alarms.clear(alarm.kind, alarm.subject)

    @property
    def due(self) -> tuple[Published, ...]:
        """Copies to read again, as of the last look."""
        return tuple(self._waiting)

    def begin(self, copy: Published) -> None:
        """`check` of this copy follows: it waits no longer."""
        self._waiting.remove(copy)
        self.running.add((copy.window, copy.url))

    async def check(self, copy: Published) -> None:
        """Reads a copy as a stranger would. What cannot be read is put back if it is ours; if that does not help, an
        alarm, which is over as soon as it can be read again.
        """
        key = copy.window, copy.url
        try:
            trouble = await self._publishing.in_thread(lambda: self._trouble(copy))
            if trouble is not None:
                self._publishing.distrust(copy.window)
                log.warning("a public copy cannot be read: %s", trouble)
                trouble = await self._mended(copy, trouble)
            now = self._publishing.clock()
            if trouble is None:
                verified = replace(copy, verified_ms=now)
                await self._writer.write(lambda ledger: ledger.publish(verified))
                await self._alarms.clear(AlarmKind.UNREADABLE, copy.url)
                self._tried_ms.pop(key, None)
            else:
                self._tried_ms[key] = now
                await self._alarms.ring(AlarmKind.UNREADABLE, copy.url, _message(trouble))
        finally:
            self.running.discard(key)

    async def _mended(self, copy: Published, trouble: str) -> str | None:
        """See `_put_back`; with an alarm as soon as that takes long."""
        putting = asyncio.create_task(self._put_back(copy, trouble))
        try:
            done, _ = await asyncio.wait({putting}, timeout=PUT_BACK_SECONDS)
            if not done:
                await self._alarms.ring(AlarmKind.UNREADABLE, copy.url, _message(trouble))
            return await putting
        finally:
            putting.cancel()

    def _trouble(self, copy: Published) -> str | None:
        try:
            self._publishing.publisher.verify(copy.url, copy.window, copy.size)
        except DataUnreadableError as error:
            return str(error)
        return None

    async def _put_back(self, copy: Published, trouble: str) -> str | None:
        """Publishes a window again where it was; None when it is readable now, else what is wrong."""
        row = self._windows.row_of(copy.window)
        publisher = self._publishing.publisher
        if row is None or copy.url != publisher.storage.public_url(copy.window):
            return trouble
        window = await asyncio.to_thread(self._windows.window, row)
        try:
            await self._publishing.in_thread(lambda: publisher.publish(window.data, window.checksum, again=True))
        except QuickstartError as error:
            return str(error)
        return None


def _message(trouble: str) -> str:
    return f"a bond rests on bytes that others cannot read: {trouble}; mend that before the audit finds it"
