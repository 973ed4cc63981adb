"""The unit of data: exactly one model sequence, with where it came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from quickstart.chain.ids import Id32, blake2b_256

WINDOW_BYTES = 1024
"""One model sequence: no padding, the smallest bond per claim, nothing in the audit depends on batching."""


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


class Source(Protocol):
    """Anything that yields windows, in an order fixed by `seed`; `resume_from` skips that many windows of it."""

    @property
    def name(self) -> str: ...

    def windows(self, seed: int, resume_from: int = 0) -> Iterator[Window]: ...
