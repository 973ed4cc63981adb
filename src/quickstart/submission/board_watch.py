"""Keeps the board up to date, and is the only place where it changes.

Three things tell of changes. The effects of our own fills, at once. The checkpoint stream, which tells of everybody's
fills and what they spawned. Snapshots, which make the board, and prove it now and then: while the stream is missing,
late or contradicted they keep it alone, read as often as things change.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from typing import Any

from quickstart import clock
from quickstart.chain.board import (
    Board,
    EpochChanged,
    Event,
    OpenTarget,
    TargetFilled,
    TargetOpened,
    changes,
)
from quickstart.chain.checkpoints import read_checkpoint, time_ms
from quickstart.chain.client import NetworkReader
from quickstart.chain.effects import Effects
from quickstart.chain.feed import CheckpointFeed, Interrupted
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.spawning import Spawned, is_proven, spawned_id
from quickstart.ledger.records import Origin
from quickstart.submission.foresight import Foresight
from quickstart.submission.news import News
from quickstart.submission.sightings import Sightings, forget_oldest
from quickstart.submission.stream_trust import LATE_MS, StreamTrust
from quickstart.wire import soma_pb2 as pb

log = logging.getLogger(__name__)

FASTEST_POLL_SECONDS = 0.15
SLOWEST_POLL_SECONDS = 2.0
PROOF_SECONDS = 45.0
"""Between snapshots while the stream tells everything."""

INDEX_LAG_SECONDS = 0.6
"""A listing read this long after an execution shows it: twice the lag measured on the real node."""

SEEN_KEPT = 2048
"""Targets of an epoch kept for its report, the latest: at the network's width 17 MB."""


@dataclass(slots=True)
class FeedReport:
    """What kept the board in this run. `computed`: targets known before any listing; `listed`: targets first found in
    one; `late`: checkpoints whose new targets were left to a listing; `interruptions`: gaps, ends and silences.
    """

    checkpoints: int = 0
    snapshots: int = 0
    computed: int = 0
    listed: int = 0
    late: int = 0
    interruptions: int = 0
    last_interruption: str | None = None


class BoardWatch:
    """The board, and what is expected to open. `start` keeps it until `close`; without a feed, from snapshots alone.

    `poll_seconds`: between snapshots while they keep the board, when things change and when they do not;
    `proof_seconds`: between those that prove the stream; `late_ms`: see `LATE_MS`.

    `seen`: targets of this epoch, at most `SEEN_KEPT`, and `seen_count` all of them. `ended`: the board as it last was
    in the epoch before, with the same two. `on_change` is called after every change.
    """

    def __init__(
        self,
        reader: NetworkReader,
        board: Board,
        feed: CheckpointFeed | None = None,
        *,
        poll_seconds: tuple[float, float] = (FASTEST_POLL_SECONDS, SLOWEST_POLL_SECONDS),
        proof_seconds: float = PROOF_SECONDS,
        late_ms: int = LATE_MS,
    ) -> None:
        self._reader = reader
        self._feed = feed
        self._fastest_seconds, self._slowest_seconds = poll_seconds
        self._proof_seconds = proof_seconds
        self._late_seconds = late_ms / 1000
        self._pause = self._fastest_seconds
        self._reading = asyncio.Lock()
        self._poked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._on_change: Callable[[], None] = lambda: None
        self._trust = StreamTrust(late_ms)
        self._news = News()
        self._foresight = Foresight(board)
        self.board = board
        self.read_at = clock.now()
        self.seen: dict[Id32, OpenTarget] = {}
        self.seen_count = 0
        self.ended: tuple[Board, dict[Id32, OpenTarget], int] | None = None
        self.sightings = Sightings()
        self.report = FeedReport()
        for target in board.targets.values():
            self._see(target, Origin.LISTED)

    # -- for the driver

    def start(self, on_change: Callable[[], None]) -> None:
        """Starts what keeps the board; a second call changes nothing."""
        if not self._tasks:
            self._on_change = on_change
            self._tasks = [asyncio.create_task(self._poll())]
            if self._feed is not None:
                self._tasks.append(asyncio.create_task(self._follow(self._feed)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def raise_failures(self) -> None:
        """Raises what ended a task of this watch: reads that still failed after their retries."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def proven(self) -> bool:
        """The stream keeps the board alone."""
        return self._trust.proven

    @property
    def distrusted(self) -> bool:
        """Something has happened since the last snapshot that only a snapshot can tell."""
        return self._trust.doubted_at > self.read_at

    @property
    def known_until(self) -> float:
        """The moment (`clock.now`) up to which the board is known to be right, give or take the node's lag."""
        return max(self._trust.heard_at, self.read_at) if self.proven else self.read_at

    @property
    def expected(self) -> Mapping[Id32, OpenTarget]:
        """Targets that will open when our submissions in flight have executed: to be matched, never to be sent."""
        return self._foresight.expected

    def hurry(self) -> None:
        """Something has happened that will change the board: snapshots are read fast, where they are what keeps it."""
        self._pause = self._fastest_seconds
        self._poked.set()

    def distrust(self) -> None:
        """Something has happened that the stream does not tell in full: snapshots keep the board until it is proven."""
        self._trust.doubt()
        self.hurry()

    # -- our own fills

    def expect(self, digest: Id32) -> None:
        """A submission of ours is about to be sent: the target it would spawn can be matched meanwhile."""
        if self._foresight.expect(digest):
            self._on_change()

    def forget(self, digest: Id32) -> None:
        """That submission has ended without having been executed."""
        self._foresight.take(digest)

    def own_fill(self, target_id: Id32, effects: Effects) -> None:
        """A submission of ours has executed: what it filled and spawned, before any stream or listing shows it."""
        computed = self._foresight.take(effects.digest)
        if effects.failure is not None:
            return
        self._apply(TargetFilled(target_id), Origin.OWN)
        new_id = spawned_id(effects.digest)
        written = next((change.digest for change in effects.changed if change.object_id == new_id), None)
        if written is None:
            return
        if self._trust.since is not None:
            self._news.await_word(new_id)
        if computed is None or effects.epoch != self.board.epoch.number:
            self.distrust()
        elif is_proven(computed, Spawned(effects.digest, effects.version, written)):
            self._apply(TargetOpened(computed), Origin.OWN)
        else:
            self._doubt(computed)
        self._on_change()

    def _doubt(self, computed: OpenTarget) -> None:
        self._foresight.doubt(computed)
        self.distrust()

    # -- the stream

    async def _follow(self, feed: CheckpointFeed) -> None:
        async with aclosing(feed.checkpoints()) as items:
            async for item in items:
                if isinstance(item, Interrupted):
                    self._interrupted(item.reason)
                    continue
                try:
                    self.take(item)
                except ValueError as error:
                    self._interrupted(f"a checkpoint that cannot be read: {error}")

    def _interrupted(self, reason: str) -> None:
        self.report.interruptions += 1
        self.report.last_interruption = reason
        self._trust.interrupted()
        self._news.await_nothing()
        self.hurry()

    def take(self, message: pb.Checkpoint) -> None:
        """Applies one checkpoint.

        Raises:
            ValueError: it is malformed.
        """
        self._trust.heard()
        if self._news.overdue(self._late_seconds):
            self.distrust()
        if not message.transactions:
            return
        self.report.checkpoints += 1
        reading = read_checkpoint(message, self.board, self._news.filled, self._foresight.rule)
        late = self._trust.is_late(message)
        born_ms = time_ms(message)
        for target_id in reading.spawned:
            self._news.told(target_id)
            if born_ms is not None:
                self.sightings.born(target_id, born_ms)
        for event in reading.events:
            if late and isinstance(event, TargetOpened):
                self.report.late += 1
            else:
                self._apply(event, Origin.OTHERS)
        if reading.contradicted is not None:
            self._doubt(reading.contradicted)
        if reading.unread or late:
            self.distrust()
        if reading.events:
            self._on_change()

    # -- snapshots

    async def _poll(self) -> None:
        while True:
            self._poked.clear()
            pause = self._proof_seconds if self.proven else self._pause
            left = self.read_at + pause - clock.now()
            if left <= 0:
                await self.refresh()
                continue
            # Not `wait_for`: before Python 3.12 it forgets to be cancelled when the event comes at the same time.
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._poked.wait()

    async def refresh(self) -> None:
        """Reads a snapshot and applies what has changed since the last one, except what is newer than it.

        Raises:
            UnreachableError, NetworkError: the node could not be read.
        """
        async with self._reading:
            started = clock.now()
            shown_at = started - INDEX_LAG_SECONDS
            known = self.board.targets
            snapshot = await self._reader.board(known)
            self.report.snapshots += 1
            corrections = self._corrections(known, snapshot)
            events = [*changes(self.board, self._news.added_to(snapshot, self.board, shown_at)), *corrections]
            for event in events:
                self._apply(event, Origin.LISTED)
            self._foresight.settle(shown_at)
            surprised = any(isinstance(event, TargetOpened | TargetFilled) for event in events)
            self._trust.judge(shown_at, agrees=self._foresight.computes and not surprised)
            self._pause = self._fastest_seconds if events else min(self._slowest_seconds, self._pause * 2)
            self.read_at = started
            self._news.forget()
        if events:
            self._on_change()

    def _corrections(self, known: Mapping[Id32, OpenTarget], snapshot: Board) -> list[Event]:
        """Targets that are not as we had them; the reader gives back the very same object where they are."""
        wrong = [target for k, target in snapshot.targets.items() if known.get(k, target) is not target]
        if wrong:
            self._foresight.stop(f"target {format_id(wrong[0].target_id)} is not listed as it was computed")
        return [TargetOpened(target) for target in wrong if target.target_id in self.board.targets]

    # -- the one place where the board changes

    def _apply(self, event: Event, origin: Origin) -> None:
        if isinstance(event, EpochChanged):
            self.ended = (self.board, self.seen, self.seen_count)
            self.seen, self.seen_count = {}, 0
        self.board = self.board.apply(event)
        if isinstance(event, TargetOpened):
            self._see(event.target, origin)
            if origin is not Origin.LISTED:
                self._news.opened(event.target.target_id)
        elif isinstance(event, TargetFilled):
            self.sightings.left(event.target_id, _now_ms())
            if origin is not Origin.LISTED:  # what a listing leaves out may be in the next one
                self._news.left(event.target_id)
        else:
            self._foresight.renew(self.board)

    def _see(self, target: OpenTarget, origin: Origin) -> None:
        if target.target_id in self.seen:
            self.seen[target.target_id] = target
            return
        self.seen[target.target_id] = target
        self.seen_count += 1
        forget_oldest(self.seen, SEEN_KEPT)
        self.sightings.add(target.target_id, origin, _now_ms())
        if origin is Origin.LISTED:
            self.report.listed += 1
        else:
            self.report.computed += 1

    def told(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        received = 0 if self._feed is None else self._feed.bytes_received
        computing, mismatch = self._foresight.mismatch is None, self._foresight.mismatch
        return {**asdict(self.report), "bytes_received": received, "computing": computing, "mismatch": mismatch}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
