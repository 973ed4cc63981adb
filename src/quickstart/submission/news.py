"""What effects and checkpoints have told lately, which a listing may not show yet."""

from collections.abc import Container

from quickstart import clock
from quickstart.chain.board import Board
from quickstart.chain.ids import Id32
from quickstart.submission.sightings import KEPT, forget_oldest

REMEMBERED_SECONDS = 60.0
"""A listing that lags behind may show a filled target as open for no longer than this."""


class News:
    """Targets opened and filled within the last minute, by the word of the chain and not of a listing.

    `awaited`: what our own fills have spawned and the stream has not told yet.
    """

    def __init__(self) -> None:
        self._opened: dict[Id32, float] = {}
        self._filled: dict[Id32, float] = {}
        self._awaited: dict[Id32, float] = {}

    @property
    def filled(self) -> Container[Id32]:
        return self._filled

    def opened(self, target_id: Id32) -> None:
        self._opened[target_id] = clock.now()
        forget_oldest(self._opened, KEPT)

    def left(self, target_id: Id32) -> None:
        """A target was filled."""
        self._filled[target_id] = clock.now()
        forget_oldest(self._filled, KEPT)

    def await_word(self, target_id: Id32) -> None:
        """The stream has to tell of this one too."""
        self._awaited[target_id] = clock.now()

    def told(self, target_id: Id32) -> None:
        self._awaited.pop(target_id, None)

    def overdue(self, seconds: float) -> bool:
        """Whether the stream has left out something for so long; it is not asked for again."""
        late = any(moment < clock.now() - seconds for moment in self._awaited.values())
        if late:
            self.await_nothing()
        return late

    def await_nothing(self) -> None:
        self._awaited.clear()

    def added_to(self, snapshot: Board, board: Board, shown_at: float) -> Board:
        """A snapshot that shows the chain as of `shown_at` (`clock.now`) or later, brought up to date: without
        what was filled lately, and with what on `board` was opened since.
        """
        targets = {k: target for k, target in snapshot.targets.items() if k not in self._filled}
        for target_id, target in board.targets.items():
            if self._opened.get(target_id, 0.0) >= shown_at:
                targets.setdefault(target_id, target)
        return Board(snapshot.epoch, snapshot.models, targets)

    def forget(self) -> None:
        """Drops what every listing shows by now."""
        oldest = clock.now() - REMEMBERED_SECONDS
        for table in (self._filled, self._opened):
            for target_id in [k for k, moment in table.items() if moment < oldest]:
                del table[target_id]
