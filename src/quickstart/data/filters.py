"""Which windows are worth scoring. Every rejection has a reason, and every reason is counted.

Bounds let source code, prose in any language (UTF-8), tables and logs pass. They reject 1.3 % of the
windows of Python's own library, nearly all of it binary files, tar padding and equal test vectors.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from quickstart.chain.ids import Id32
from quickstart.data.filter_names import (
    BASE64,
    BINARY,
    BOILERPLATE,
    DEFAULT_FILTERS,
    DUPLICATE,
    GENERATED,
    MINIFIED,
    NEAR_DUPLICATE,
    NEARLY_EMPTY,
    PERSONAL,
    REPETITIVE,
    SECRET,
)
from quickstart.data.near_duplicates import NearDuplicates
from quickstart.data.quality import is_encoded, is_generated, is_licence, is_minified, is_personal, share_of
from quickstart.data.secrets import holds_secret
from quickstart.data.window import WINDOW_BYTES, Window

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


def is_binary(data: bytes) -> bool:
    """Control characters, or too much that is no UTF-8."""
    invalid = len(data) - len(data.decode("utf-8", "ignore").encode())
    return (
        b"\0" in data or share_of(data, _CONTROL) > LARGEST_CONTROL_SHARE or invalid > LARGEST_INVALID_SHARE * len(data)
    )


def is_nearly_empty(data: bytes) -> bool:
    return share_of(data, _BLANK) > LARGEST_BLANK_SHARE


def is_repetitive(data: bytes) -> bool:
    """Few different bytes, or the same line again and again."""
    few = len(set(data)) < SMALLEST_DISTINCT_BYTES
    return few or len(zlib.compress(data)) < SMALLEST_COMPRESSED_SHARE * len(data)


BY_CONTENT: dict[str, Callable[[bytes], bool]] = {
    BINARY: is_binary,
    NEARLY_EMPTY: is_nearly_empty,
    REPETITIVE: is_repetitive,
    GENERATED: is_generated,
    MINIFIED: is_minified,
    BASE64: is_encoded,
    BOILERPLATE: is_licence,
    PERSONAL: is_personal,
}
"""Filters that look at a window alone, those that take most first."""

BASIC = (BINARY, NEARLY_EMPTY, REPETITIVE)


def reject_reason(data: bytes, among: Collection[str] = BASIC) -> str | None:
    """The first of these filters that a window does not pass, or None."""
    return next((name for name, is_left_out in BY_CONTENT.items() if name in among and is_left_out(data)), None)


class Filters:
    """Which of a source's windows are passed on: those that `chosen` filters, exact duplicates and secrets leave.

    `seen`: checksums of what is there already; what passes is added.
    """

    def __init__(self, seen: set[Id32], chosen: Collection[str] = DEFAULT_FILTERS) -> None:
        self._seen = seen
        self._chosen = frozenset(chosen)
        self._near = NearDuplicates() if NEAR_DUPLICATE in chosen else None

    def take_in(self, checksums: Sequence[Id32], data: bytes) -> None:
        """Windows that are there already: their checksums, and their bytes one after the other."""
        self._seen.update(checksums)
        if self._near is not None:
            self._near.add([data[start : start + WINDOW_BYTES] for start in range(0, len(data), WINDOW_BYTES)])

    def reject(self, window: Window) -> str | None:
        """Why a window is left out, or None: then it counts as seen from now on."""
        data = window.data
        if window.checksum in self._seen:
            return DUPLICATE
        reason = reject_reason(data, self._chosen)
        if reason is not None:
            return reason
        if holds_secret(data):
            return SECRET
        if self._near is not None:
            if self._near.has_near(data):
                return NEAR_DUPLICATE
            self._near.add([data])
        self._seen.add(window.checksum)
        return None


@dataclass(slots=True)
class FilterCounts:
    """What became of a source's windows; of those that passed, how many of each kind and licence."""

    read: int = 0
    passed: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)


def usable_windows(
    stream: Iterator[Window], filters: Filters, counts: FilterCounts, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Window]:
    """The windows that the filters pass, until `stopped`. Updates `counts`."""
    for window in stream:
        if stopped():
            return
        counts.read += 1
        reason = filters.reject(window)
        if reason is None:
            counts.passed += 1
            counts.kinds[window.provenance.kind or "(none)"] += 1
            counts.licences[window.provenance.licence or "(unknown)"] += 1
            yield window
        else:
            counts.rejected[reason] += 1
