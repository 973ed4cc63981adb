"""Where windows begin in a file: at a line's start, where there is one near by.

A file is divided into slots of 1,280 bytes, and a slot holds one window of 1,024. It begins at the first start of a
line within the slot's first 256 bytes; a slot without one gives its first bytes, or its first whole character in UTF-8.
So a window's place depends on no other window, windows never overlap, and a fifth of the bytes is left out: sources
have more than anybody can score.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b

from quickstart.data.window import WINDOW_BYTES

SLACK_BYTES = 256
SLOT_BYTES = WINDOW_BYTES + SLACK_BYTES

_GOLDEN = (math.sqrt(5) - 1) / 2


def count_slots(size: int) -> int:
    """Windows in `size` bytes: the last slot needs only the window's own 1,024."""
    return (size + SLACK_BYTES) // SLOT_BYTES


@dataclass(frozen=True, slots=True)
class SlotOrder:
    """A file's slots, visited from `first` in steps of `step`, each once: windows in a row lie far apart."""

    slots: int
    first: int
    step: int

    @classmethod
    def of(cls, path: str, slots: int, seed: int) -> "SlotOrder":
        """A start that depends on seed and path only, since the first kilobyte is often a licence, and steps near
        the golden ratio that reach every slot."""
        digest = blake2b(f"{seed}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
        step = max(1, round(slots * _GOLDEN))
        while math.gcd(step, slots) != 1:
            step += 1
        return cls(slots, int.from_bytes(digest, "little") % slots, step)

    def slot(self, turn: int) -> int:
        return (self.first + turn * self.step) % self.slots


def slot_span(slot: int, size: int) -> tuple[int, int]:
    """First byte and end of what `cut_slot` looks at in a file of `size` bytes."""
    start = slot * SLOT_BYTES
    return max(0, start - 1), min(size, start + SLOT_BYTES)


def cut_slot(span: bytes | memoryview, slot: int) -> tuple[int, bytes]:
    """The window of a slot: its offset in the file, and its bytes (fewer than 1,024 if the file was cut short).

    `span`: the file's bytes that `slot_span` names.
    """
    before = 1 if slot else 0  # the byte before the slot tells whether a line begins at its first byte
    slack = max(0, len(span) - before - WINDOW_BYTES)
    head = bytes(span[: before + slack])
    begin = before
    if slot:
        line = head.find(b"\n")
        if line >= 0:
            begin = line + 1
        else:
            while begin < min(len(head), before + 3) and head[begin] & 0xC0 == 0x80:
                begin += 1
    return slot * SLOT_BYTES - before + begin, bytes(span[begin : begin + WINDOW_BYTES])
