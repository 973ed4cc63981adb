"""Keeps the board up to date from snapshots, and remembers when each target was first seen."""

import time

from quickstart import clock
from quickstart.chain.board import Board, EpochChanged, OpenTarget, TargetOpened, changes
from quickstart.chain.client import NetworkReader
from quickstart.chain.ids import Id32

FASTEST_POLL_SECONDS = 0.15
SLOWEST_POLL_SECONDS = 2.0

INDEX_LAG_SECONDS = 0.6
"""A listing read this long after an execution shows it: twice the lag measured on the real node."""


class BoardWatch:
    """The board by polling: fast while things change, slower when they do not."""

    def __init__(self, reader: NetworkReader, board: Board) -> None:
        self._reader = reader
        self._pause = FASTEST_POLL_SECONDS
        self.board = board
        self.read_at = clock.now()
        self.seen: dict[Id32, OpenTarget] = dict(board.targets)
        self.ended: tuple[Board, dict[Id32, OpenTarget]] | None = None
        self.seen_ms: dict[Id32, int] = dict.fromkeys(board.targets, _now_ms())

    @property
    def due(self) -> bool:
        return clock.now() - self.read_at >= self._pause

    def hurry(self) -> None:
        """Something happened that will change the board."""
        self._pause = FASTEST_POLL_SECONDS

    async def refresh(self) -> None:
        """Reads a snapshot and applies what has changed since the last one. `seen` starts anew with each epoch.

        `ended` keeps the last board of the epoch before, and what was seen in it.
        """
        started = clock.now()
        snapshot = await self._reader.board(self.board.targets)
        events = changes(self.board, snapshot)
        for event in events:
            if isinstance(event, EpochChanged):
                self.ended = (self.board, self.seen)
                self.seen, self.seen_ms = {}, {}
            self.board = self.board.apply(event)
            if isinstance(event, TargetOpened):
                self.seen[event.target.target_id] = event.target
                self.seen_ms[event.target.target_id] = _now_ms()
        self._pause = FASTEST_POLL_SECONDS if events else min(SLOWEST_POLL_SECONDS, self._pause * 2)
        self.read_at = started


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
