"""One model's unit embeddings in float32, kept in memory as far as a budget goes.

Converting float16 takes longer than the matrix product, so what matching needs again is converted once. Only
rows that the model can win are ever needed: with three models that is about a third of the bank each.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import ModelColumns, Rows

BLOCK_ROWS = 4096
"""32 MiB of float32 at width 2048: large enough for the product to be efficient, small enough to stream."""

_FILL_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`rows`: int64 (k,), of the view. `unit`: float32 (k, width), embeddings of length one."""

    rows: Rows
    unit: NDArray[np.float32]


class _Chunk:
    """Up to BLOCK_ROWS resident rows, and their segments, which tell when they are superseded."""

    def __init__(self, width: int) -> None:
        self.size = 0
        self.rows = np.empty(BLOCK_ROWS, np.int64)
        self.segment = np.empty(BLOCK_ROWS, np.int32)
        self.unit = np.empty((BLOCK_ROWS, width), np.float32)


class ResidentRows:
    """The rows one model may be asked for: resident ones, and the rest, which is read on the way."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.chunk_bytes = BLOCK_ROWS * width * 4
        self._chunks: list[_Chunk] = []
        self._resident = np.zeros(0, np.bool_)
        self._needed = np.zeros(0, np.bool_)

    @property
    def resident_bytes(self) -> int:
        return len(self._chunks) * self.chunk_bytes

    def forget_stale(self, columns: ModelColumns) -> None:
        """Drops rows whose entry is another one in a newer view; all of a chunk's later rows move up."""
        n = len(columns.losses)
        resident = np.zeros(n, np.bool_)
        for chunk in self._chunks:
            rows = chunk.rows[: chunk.size]
            fresh = rows < n
            inside = np.where(fresh, rows, 0)
            fresh &= chunk.segment[: chunk.size] == columns.segment[inside]
            if not fresh.all():
                kept = np.flatnonzero(fresh)
                chunk.rows[: len(kept)] = rows[kept]
                chunk.segment[: len(kept)] = chunk.segment[kept]
                chunk.unit[: len(kept)] = chunk.unit[kept]
                chunk.size = len(kept)
            resident[chunk.rows[: chunk.size]] = True
        self._resident = resident
        self._needed = np.zeros(n, np.bool_)

    def need(self, mask: NDArray[np.bool_]) -> None:
        """Adds rows (bool (n,)) to those that `blocks` covers."""
        self._needed |= mask

    def fill(self, columns: ModelColumns, spare_bytes: int, pool: Executor) -> None:
        """Makes needed rows resident, as long as new chunks fit in `spare_bytes`."""
        missing = np.flatnonzero(self._needed & ~self._resident)
        jobs: list[Future[None]] = []
        while len(missing):
            if not self._chunks or self._chunks[-1].size == BLOCK_ROWS:
                if spare_bytes < self.chunk_bytes:
                    break
                spare_bytes -= self.chunk_bytes
                self._chunks.append(_Chunk(self.width))
            chunk = self._chunks[-1]
            rows, missing = np.split(missing, [BLOCK_ROWS - chunk.size])
            start, chunk.size = chunk.size, chunk.size + len(rows)
            chunk.rows[start : chunk.size] = rows
            chunk.segment[start : chunk.size] = columns.segment[rows]
            for first in range(0, len(rows), _FILL_ROWS):
                part = rows[first : first + _FILL_ROWS]
                out = chunk.unit[start + first : start + first + len(part)]
                jobs.append(pool.submit(columns.unit_rows, part, out))
            self._resident[rows] = True
        for job in jobs:
            job.result()

    def blocks(self, columns: ModelColumns, pool: Executor, ahead: int) -> Iterator[Block]:
        """Every needed row once, and perhaps others; up to `ahead` streamed blocks are prepared."""
        for chunk in self._chunks:
            if chunk.size:
                yield Block(chunk.rows[: chunk.size], chunk.unit[: chunk.size])
        rest = np.flatnonzero(self._needed & ~self._resident)
        yield from stream(columns, rest, pool, ahead)


def stream(columns: ModelColumns, rows: Rows, pool: Executor, ahead: int) -> Iterator[Block]:
    """`rows` as blocks that are converted in the pool and not kept."""

    def convert(part: Rows) -> Callable[[], Block]:
        def run() -> Block:
            unit = np.empty((len(part), columns.width), np.float32)
            columns.unit_rows(part, unit)
            return Block(part, unit)

        return run

    waiting: list[Future[Block]] = []
    for start in range(0, len(rows), BLOCK_ROWS):
        waiting.append(pool.submit(convert(rows[start : start + BLOCK_ROWS])))
        if len(waiting) > ahead:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
