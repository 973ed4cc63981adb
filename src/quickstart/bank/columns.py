"""The growing columns behind a view: one model's entries, newest first to count."""

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.scores import ScoreSegment
from quickstart.bank.view import ModelColumns, Rows


class ColumnStore:
    """One model's entries by global row. Segments may arrive in any order; a row's newest entry counts."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._blocks: list[NDArray[np.float16]] = []
        self._keys: list[tuple[int, str]] = []
        self._place = np.empty((0, 2), np.int32)
        self._values = np.empty((0, 4), np.float32)
        self._snapshot: ModelColumns | None = None

    def insert(self, segment: ScoreSegment, rows: Rows) -> None:
        """Takes in a segment whose k-th entry belongs to global row `rows[k]`."""
        key = (segment.created_at, segment.name)
        older = np.array([*(known < key for known in self._keys), True])  # the last one stands for segment -1
        self._grow(int(rows.max()) + 1)
        # With one window twice in a shard the last entry would win; keep that independent of numpy's order.
        rows, first = np.unique(rows, return_index=True)
        wins = older[self._place[rows, 0]]
        rows, first = rows[wins], first[wins]
        self._place[rows] = np.stack([np.full(len(rows), len(self._blocks)), first], axis=1)
        error = segment.error
        self._values[rows, 0] = segment.losses[first]
        self._values[rows, 1] = segment.inverse_norms[first]
        # Rounded upwards: a bound stays a bound in float32.
        self._values[rows, 2:] = np.nextafter(np.array([error.distance, error.loss], np.float32), np.float32(np.inf))
        self._blocks.append(segment.embeddings)
        self._keys.append(key)
        self._snapshot = None

    def snapshot(self, n: int) -> ModelColumns:
        """The columns of the first n rows; the same object as before if nothing changed."""
        if self._snapshot is None or len(self._snapshot.losses) != n:
            self._grow(n)
            place, values = self._place[:n].T.copy(), self._values[:n].T.copy()
            place.flags.writeable = values.flags.writeable = False
            self._snapshot = ModelColumns(
                width=self.width,
                segments=tuple(self._blocks),
                segment=place[0],
                index=place[1],
                losses=values[0],
                inverse_norms=values[1],
                distance_errors=values[2],
                loss_errors=values[3],
            )
        return self._snapshot

    def _grow(self, n: int) -> None:
        have = len(self._place)
        if n <= have:
            return
        capacity = max(n, have * 3 // 2, 1024)
        place = np.full((capacity, 2), -1, np.int32)
        values = np.zeros((capacity, 4), np.float32)
        values[:, 0] = np.nan
        place[:have], values[:have] = self._place, self._values
        self._place, self._values = place, values
