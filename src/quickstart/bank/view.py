"""An immutable snapshot of the bank as arrays: what matching works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.ids import Id32

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ModelColumns:
    """One model's entries for all n windows of a view.

    `losses`, `inverse_norms`, `distance_errors`, `loss_errors`: float32 (n,); a missing or failed entry has a
    NaN loss. `segment`, `index`: int32 (n,), where the embedding lies in `segments` (float16 blocks,
    memory-mapped and shared between views); segment -1 is a missing entry.
    """

    width: int
    segments: tuple[NDArray[np.float16], ...]
    segment: NDArray[np.int32]
    index: NDArray[np.int32]
    losses: NDArray[np.float32]
    inverse_norms: NDArray[np.float32]
    distance_errors: NDArray[np.float32]
    loss_errors: NDArray[np.float32]

    def gather(self, rows: Rows, out: NDArray[np.float32]) -> None:
        """Writes the stored embeddings of `rows`, which all have an entry, to `out`: (len(rows), width)."""
        segment, index = self.segment[rows], self.index[rows]
        starts = np.flatnonzero(np.diff(segment, prepend=-2))
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            run = index[start:end]
            block = self.segments[segment[start]]
            contiguous = run[-1] - run[0] == len(run) - 1 and bool((np.diff(run) == 1).all())
            out[start:end] = block[run[0] : run[-1] + 1] if contiguous else block[run]

    def unit_rows(self, rows: Rows, out: NDArray[np.float32]) -> None:
        """As `gather`, scaled to length one."""
        self.gather(rows, out)
        np.multiply(out, self.inverse_norms[rows][:, None], out=out)


@dataclass(frozen=True, slots=True, eq=False)
class BankView:
    """The bank's first n windows at one moment, for some models. A row is the same window in later views.

    `models`: weights checksum -> columns; a model without any entry is not in it. `shard_starts`: first row
    of each shard; `shard_checksums`: uint8 (k, 32) of each.
    """

    n: int
    models: Mapping[Id32, ModelColumns]
    shard_starts: tuple[int, ...]
    shard_checksums: tuple[NDArray[np.uint8], ...]

    def checksum(self, row: int) -> Id32:
        """Name of the window in `row`."""
        shard = int(np.searchsorted(self.shard_starts, row, side="right")) - 1
        return bytes(self.shard_checksums[shard][row - self.shard_starts[shard]])

    def embedding(self, weights_checksum: Id32, row: int) -> NDArray[np.float32]:
        """The stored embedding of a row that this model has scored: float32 (width,), not normalised."""
        columns = self.models[weights_checksum]
        out = np.empty(columns.width, np.float32)
        columns.gather(np.array([row]), out[None, :])
        return out

    def scored(self, models: Sequence[Id32]) -> NDArray[np.bool_]:
        """bool (n,): the windows that have an entry of every one of `models`."""
        if any(weights not in self.models for weights in models):
            return np.zeros(self.n, np.bool_)
        mask = np.ones(self.n, np.bool_)
        for weights in models:
            mask &= np.isfinite(self.models[weights].losses)
        return mask
