"""The bank: adds segments, notices those of other writers, hands out views."""

import bisect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.columns import ColumnStore
from quickstart.bank.scores import ScoreSegment, read_scores, write_scores
from quickstart.bank.segments import disk_errors, list_folders, open_root
from quickstart.bank.shards import NO_MARKS, Mark, ShardFiles, ShardId, checksum_list, read_shard, write_shard
from quickstart.bank.view import BankView, Rows
from quickstart.chain.ids import Id32
from quickstart.data.window import Provenance, Window
from quickstart.scoring.engine import ScoredShard

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """`n` windows that were added together: rows `first_row` to `first_row + n` of this bank object."""

    id: ShardId
    n: int
    first_row: int


class Bank:
    """All windows and scores under `root`, which several processes may write at the same time.

    Rows count windows in the order in which *this object* came to know their shards: they stay the same for
    its life, and differ between processes. Outside of a process a window is named by its checksum. A window
    that is in two shards keeps its first row for all scores.

    Raises:
        StateError: (any method) the folder is of a newer version, damaged, not writable, or its disk is full.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shards: dict[ShardId, ShardFiles] = {}
        self._order: list[ShardFiles] = []
        self._starts: list[int] = []
        self._n = 0
        self._row_of: dict[Id32, int] = {}
        self._rows: dict[ShardId, Rows] = {}  # global row of each of a shard's windows
        self._columns: dict[Id32, ColumnStore] = {}
        self._attempted: dict[tuple[ShardId, Id32], NDArray[np.bool_]] = {}
        self._provenance: dict[int, Provenance] = {}
        self._loaded: set[tuple[Id32, str]] = set()
        open_root(root)
        self.refresh()

    def add_windows(self, windows: Sequence[Window], marks: Mapping[str, Mark] = NO_MARKS) -> ShardId:
        """Stores windows as one shard, and where their streams go on. The same windows again: the same shard, nothing
        written."""
        shard_id = write_shard(self.root, windows, marks)
        with disk_errors(self.root):
            self._load_shard(shard_id)
        return shard_id

    def add_scores(
        self, shard: ShardId, scored: ScoredShard, *, created_at: int, rows: Sequence[int] | None = None
    ) -> str:
        """Stores one model's results for a shard, or for the windows at positions `rows` of it.

        `created_at` is any counter or time that grows: for one window and model, the later entry counts
        (ties: by name), also when it is a failure. Returns the segment's name.

        Raises:
            KeyError: this bank does not know the shard. ValueError: the results do not fit the rows, or the
            width is not that of the model's earlier results.
        """
        size = len(self._shards[shard])
        positions = range(size) if rows is None else rows
        if any(not 0 <= position < size for position in positions):
            raise ValueError(f"rows beyond the {size} windows of shard {shard}")
        known = self._columns.get(scored.weights_checksum)
        if known is not None and known.width != scored.embeddings.shape[-1]:
            raise ValueError(f"width {scored.embeddings.shape[-1]}, but the model's earlier results have {known.width}")
        name = write_scores(self.root, shard, positions, scored, created_at)
        with disk_errors(self.root):
            self._load_scores(scored.weights_checksum, name)
        return name

    def refresh(self) -> int:
        """Takes in segments that other writers completed since; returns how many."""
        new = 0
        with disk_errors(self.root):
            for name in list_folders(self.root / "windows"):
                new += self._load_shard(name)
            for folder in list_folders(self.root / "scores"):
                try:
                    weights_checksum = bytes.fromhex(folder)
                except ValueError:
                    continue
                for name in list_folders(self.root / "scores" / folder):
                    new += self._load_scores(weights_checksum, name)
        return new

    def shards(self) -> list[Shard]:
        """All shards, by first row."""
        return [Shard(files.id, len(files), start) for files, start in zip(self._order, self._starts, strict=True)]

    def windows(self, shard: ShardId) -> list[Window]:
        """A shard's windows in order, with bytes."""
        with disk_errors(self.root):
            return self._shards[shard].windows()

    def window(self, row: int) -> Window:
        """The window in a row; its bytes are compared with its checksum."""
        place = self._place(row)
        with disk_errors(self.root):
            return self._order[place].windows(row - self._starts[place], 1)[0]

    def provenance_of(self, row: int) -> Provenance:
        """Where the window in a row came from; kept, since a window that wins once often wins again."""
        if row not in self._provenance:
            self._provenance[row] = self.window(row).provenance
        return self._provenance[row]

    def locate(self, row: int) -> tuple[ShardId, int]:
        """The shard of a row, and the position in it: what an exact re-score of one window needs."""
        place = self._place(row)
        return self._order[place].id, row - self._starts[place]

    def row_of(self, checksum: Id32) -> int | None:
        """The row of a window, if the bank has it."""
        return self._row_of.get(checksum)

    def provenance(self, shard: ShardId | None = None) -> Iterator[Provenance]:
        """Where each window came from, of one shard or of all, in the order of rows."""
        with disk_errors(self.root):
            for files in self._order if shard is None else (self._shards[shard],):
                yield from files.provenance()

    def is_scored(self, shard: ShardId, weights_checksum: Id32) -> bool:
        """Whether that model has answered, be it with a failure, for every window of the shard."""
        attempted = self._attempted.get((shard, weights_checksum))
        return attempted is not None and bool(attempted.all())

    def view(self, weights: Sequence[Id32]) -> BankView:
        """A snapshot of all windows and of these models' entries; embeddings are shared between views.

        It has every window of the bank; those that a model has not scored have a NaN loss there.
        """
        columns = {checksum: self._columns[checksum] for checksum in weights if checksum in self._columns}
        return BankView(
            n=self._n,
            models={checksum: store.snapshot(self._n) for checksum, store in columns.items()},
            shard_starts=tuple(self._starts),
            shard_checksums=tuple(files.checksums for files in self._order),
        )

    def _place(self, row: int) -> int:
        if not 0 <= row < self._n:
            raise IndexError(f"row {row} of a bank of {self._n} windows")
        return bisect.bisect_right(self._starts, row) - 1

    def _load_shard(self, shard_id: ShardId) -> bool:
        if shard_id in self._shards:
            return False
        files = read_shard(self.root, shard_id)
        if files is None:
            return False
        start = self._n
        self._shards[shard_id] = files
        self._order.append(files)
        self._starts.append(start)
        self._n += len(files)
        self._rows[shard_id] = np.fromiter(
            (self._row_of.setdefault(checksum, start + i) for i, checksum in enumerate(checksum_list(files))),
            np.int64,
            len(files),
        )
        return True

    def _load_scores(self, weights_checksum: Id32, name: str) -> bool:
        if (weights_checksum, name) in self._loaded:
            return False
        segment = read_scores(self.root, weights_checksum, name)
        # Its shard may be on its way from another writer: asked again at the next refresh.
        if segment is None or not (segment.shard in self._shards or self._load_shard(segment.shard)):
            return False
        self._loaded.add((weights_checksum, name))
        store = self._columns.setdefault(weights_checksum, ColumnStore(segment.embeddings.shape[1]))
        if not self._fits(segment, store):
            log.warning("score segment ignored, it does not fit its shard or model: %s", name)
            return False
        store.insert(segment, self._rows[segment.shard][segment.rows])
        attempted = self._attempted.setdefault(
            (segment.shard, weights_checksum), np.zeros(len(self._shards[segment.shard]), np.bool_)
        )
        attempted[segment.rows] = True
        return True

    def _fits(self, segment: ScoreSegment, store: ColumnStore) -> bool:
        return segment.embeddings.shape[1] == store.width and int(segment.rows.max()) < len(self._shards[segment.shard])
