"""The unit of data: exactly one model sequence, with where it came from; and what yields such units."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from quickstart.chain.ids import Id32, blake2b_256

WINDOW_BYTES = 1024
"""One model sequence: no padding, the smallest bond per claim, nothing in the audit depends on batching."""

Cursor: TypeAlias = dict[str, Any]
"""Where a source goes on: a small JSON object that only the source that made it can read."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a window was cut: source (`dir:PATH`, `stack-v2`, ...), file within it, byte offset, SPDX licence.

    `revision`: commit or version of that file, where the source knows one. `kind`: what sort of data it is, within its
    source (`python`, `markdown`, ...): windows of one kind have embeddings near each other.
    """

    source: str
    path: str
    offset: int
    licence: str | None = None
    revision: str | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """`data`: 1,024 bytes; `checksum`: their BLAKE2b-256, which is also the window's name everywhere."""

    data: bytes
    checksum: Id32
    provenance: Provenance

    @classmethod
    def cut(cls, data: bytes, provenance: Provenance) -> "Window":
        return cls(data, blake2b_256(data), provenance)


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """In what order a source is read, and which share of it: workers 0 to `workers` - 1 get disjoint files."""

    seed: int = 0
    worker: int = 0
    workers: int = 1

    def share(self, items: list[str]) -> list[str]:
        """This worker's part of `items`, which all workers must have in the same order."""
        return items[self.worker :: self.workers]


def address_seed(address: Id32) -> int:
    """The seed of a wallet that names none, so that two that run the same defaults do not score the same windows."""
    return int.from_bytes(blake2b_256(address)[:7], "little")


class WindowStream(Iterator[Window]):
    """Windows in the order of a plan. `cursor`: what goes on right behind the last window that was given."""

    def __init__(self, steps: Iterator[tuple[Window, Cursor]], resume_from: Cursor | None = None) -> None:
        self._steps = steps
        self.cursor = resume_from

    def __next__(self) -> Window:
        window, self.cursor = next(self._steps)
        return window


class Source(Protocol):
    """Anything that yields windows. The same plan gives the same windows, from any cursor on.

    `skipped`: files that gave nothing, by reason, since the source was opened.
    """

    @property
    def name(self) -> str: ...

    @property
    def skipped(self) -> Counter[str]: ...

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream: ...
