"""Which windows are worth scoring. Every rejection has a reason, and every reason is counted.

Bounds let source code, prose in any language (UTF-8), tables and logs pass. They reject 1.3 % of the
windows of Python's own library, nearly all of it binary files, tar padding and equal test vectors.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from quickstart.chain.ids import Id32
from quickstart.data.window import Source, Window
from quickstart.errors import SourceError

BINARY = "binary"
NEARLY_EMPTY = "nearly empty"
REPETITIVE = "repetitive"
DUPLICATE = "duplicate"

LARGEST_CONTROL_SHARE = 0.02
"""Of all bytes; tab, line feed, form feed, carriage return and escape (terminal logs) are not counted."""

LARGEST_INVALID_SHARE = 0.10
"""Bytes outside valid UTF-8. A cut through a character costs 3 at each end; Latin-1 prose has up to 8 %."""

LARGEST_BLANK_SHARE = 0.80
"""White space. Deeply indented code has 60 %."""

SMALLEST_DISTINCT_BYTES = 8
SMALLEST_COMPRESSED_SHARE = 0.12
"""zlib at level 6 makes code about 0.4 of its size, number tables 0.2, one line sixteen times over 0.1."""

_CONTROL = bytes(set(range(32)) - set(b"\t\n\f\r\x1b")) + b"\x7f"
_BLANK = b" \t\n\v\f\r"


def reject_reason(data: bytes) -> str | None:
    """Why a window is not worth scoring, or None if it is."""
    size = len(data)
    if b"\0" in data or _share_of(data, _CONTROL) > LARGEST_CONTROL_SHARE:
        return BINARY
    valid = len(data.decode("utf-8", "ignore").encode())
    if size - valid > LARGEST_INVALID_SHARE * size:
        return BINARY
    if _share_of(data, _BLANK) > LARGEST_BLANK_SHARE:
        return NEARLY_EMPTY
    if len(set(data)) < SMALLEST_DISTINCT_BYTES:
        return REPETITIVE
    if len(zlib.compress(data)) < SMALLEST_COMPRESSED_SHARE * size:
        return REPETITIVE
    return None


@dataclass(slots=True)
class FilterCounts:
    """What became of a source's windows. `read` is the `resume_from` that goes on after the last one."""

    read: int = 0
    passed: int = 0
    rejected: Counter[str] = field(default_factory=Counter)


def usable_windows(
    source: Source, seed: int, seen: set[Id32], counts: FilterCounts, resume_from: int = 0
) -> Iterator[Window]:
    """The source's windows that are worth scoring and not in `seen`. Updates `seen` and `counts`.

    Raises:
        SourceError: the source ended without a single window to score, not even one that is known already.
    """
    for window in source.windows(seed, resume_from):
        counts.read += 1
        reason = DUPLICATE if window.checksum in seen else reject_reason(window.data)
        if reason is None:
            counts.passed += 1
            seen.add(window.checksum)
            yield window
        else:
            counts.rejected[reason] += 1
    if resume_from == 0 and counts.passed == 0 and not counts.rejected[DUPLICATE]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts.rejected.most_common())
        raise SourceError(
            f"{source.name} has no usable window ({reasons or 'nothing read'}): name a source of text or code"
        )


def _share_of(data: bytes, kinds: bytes) -> float:
    return 1.0 - len(data.translate(None, kinds)) / max(len(data), 1)
