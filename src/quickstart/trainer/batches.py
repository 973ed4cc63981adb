"""Windows on their way into training: endless, in an order fixed by a seed, from any position again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from quickstart.data.filters import reject_reason
from quickstart.data.window import WINDOW_BYTES, Cursor, Source, SourcePlan, Window, WindowStream
from quickstart.errors import SourceError
from quickstart.scoring.contract import PAD

HELD_OUT_SHARE = 0.05
"""Files that are never trained on. Whole files: windows of one file resemble each other."""

FRUITLESS_READS = 100_000
"""Windows read in search of held-out ones, after which a source is given up; some have no end."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where training data stands: whose `turn` it is, and per source its `passes` and the cursor in this one."""

    turn: int
    passes: tuple[int, ...]
    cursors: tuple[Cursor | None, ...]

    @classmethod
    def start(cls, sources: int) -> "Position":
        return cls(0, (0,) * sources, (None,) * sources)


class TrainingStream:
    """Windows to train on, from all sources in turn; a source that ends begins anew in another order."""

    def __init__(self, sources: Sequence[Source], seed: int, position: Position | None = None) -> None:
        self._sources = tuple(sources)
        self._seed = seed
        position = position or Position.start(len(sources))
        self._turn = position.turn
        self._passes, self._cursors = list(position.passes), list(position.cursors)
        self._open: dict[int, WindowStream] = {}

    @property
    def position(self) -> Position:
        """Of the next window; a stream made with it goes on exactly there."""
        return Position(self._turn, tuple(self._passes), tuple(self._cursors))

    def take(self, count: int) -> list[Window]:
        """The next `count` windows.

        Raises:
            SourceError: a source holds nothing to train on.
        """
        return [self._next() for _ in range(count)]

    def _next(self) -> Window:
        index = self._turn
        self._turn = (self._turn + 1) % len(self._sources)
        for _ in range(2):  # the rest of this pass, and a whole one
            stream = self._windows(index)
            for window in stream:
                self._cursors[index] = stream.cursor
                if not is_held_out(window) and reject_reason(window.data) is None:
                    return window
            self._passes[index] += 1
            self._cursors[index] = None
            del self._open[index]
        raise SourceError(f"{self._sources[index].name} has no window to train on: name a folder with more files")

    def _windows(self, index: int) -> WindowStream:
        if index not in self._open:
            plan = SourcePlan(self._seed + self._passes[index])
            self._open[index] = self._sources[index].windows(plan, self._cursors[index])
        return self._open[index]


def is_held_out(window: Window) -> bool:
    """Whether a window's file is kept for evaluation; decided by its path alone, the same in every run."""
    digest = blake2b(window.provenance.path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < HELD_OUT_SHARE * 2**64


def held_out_windows(sources: Sequence[Source], count: int, seed: int) -> list[Window]:
    """Up to `count` usable windows that training never sees, from all sources in turn.

    Raises:
        SourceError: there is none: too few files for some to be kept apart.
    """
    streams = [_held_out(source, seed) for source in sources]
    found: list[Window] = []
    while streams and len(found) < count:
        for stream in list(streams):
            window = next(stream, None)
            if window is None:
                streams.remove(stream)
            elif len(found) < count:
                found.append(window)
    if not found:
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{names}: too few files to keep one in twenty for evaluation; name a folder with more")
    return found


def _held_out(source: Source, seed: int) -> Iterator[Window]:
    for number, window in enumerate(source.windows(SourcePlan(seed))):
        if is_held_out(window) and reject_reason(window.data) is None:
            yield window
        if number >= FRUITLESS_READS:
            return


def kind_of(window: Window) -> str:
    """What sort of data a window is: its source's word for it, else the ending of its file's name."""
    provenance = window.provenance
    if provenance.kind:
        return provenance.kind
    name = provenance.path.rpartition("/")[2]
    ending = name.rpartition(".")[2].lower() if "." in name[1:] else ""
    return ending if 0 < len(ending) <= 8 else "other"


def token_arrays(windows: Sequence[Window]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and targets, int64 (n, 1024) each: targets are the ids shifted left by one, PAD last (§13)."""
    flat = np.frombuffer(b"".join(window.data for window in windows), np.uint8).reshape(-1, WINDOW_BYTES)
    ids = flat.astype(np.int64)
    targets = np.full_like(ids, PAD)
    targets[:, :-1] = ids[:, 1:]
    return ids, targets
