"""The tensors of a safetensors file, read one at a time: the file may be larger than the memory.

A file is the length of its header (8 bytes, little endian), the header (JSON: name -> dtype, shape, offsets), and
the tensors' bytes one after the other. Weights come from strangers, so nothing of the header is believed unchecked.
"""

import json
import math
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quickstart.errors import StateError, WeightsError
from quickstart.units import MIB

HEADER_BYTES = 8 * MIB
"""The longest header that is parsed; that of a model of the network's size has 50 KB."""

_LENGTH_BYTES = 8
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: `begin` and `end` are bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Source(Protocol):
    """Bytes that can be read at any place."""

    @property
    def size(self) -> int: ...

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills `buffer` with the bytes from `offset` on. Raises OSError if they cannot be read."""
        ...


class HeldBytes:
    """A file's content that is in memory anyway."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.size = len(content)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        buffer[:] = self._content[offset : offset + len(buffer)]


class OpenFile:
    """A file open for reading at any place, by several threads; closed when nobody holds it any more. Removing its
    name does not harm it. `descriptor`: an open one, of which a duplicate is taken.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        _fill(buffer, self._descriptor, offset)


class FileAt:
    """A file that is open only while it is being read, because a volume cannot be brought up to date meanwhile.

    Raises:
        OSError: (the constructor too) it is not there or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def read_into(self, buffer: memoryview, offset: int) -> None:
        with self._path.open("rb", buffering=0) as file:
            _fill(buffer, file.fileno(), offset)


def _fill(buffer: memoryview, descriptor: int, offset: int) -> None:
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if not count:
            raise OSError(f"it ends after {offset + done} bytes")
        done += count


class TensorFile(Mapping[str, NDArray[np.float32]]):
    """Name -> float32 tensor, read anew from the file, into memory of its own, whenever it is asked for.

    Raises:
        StateError: (when a tensor is asked for) it cannot be read.
    """

    def __init__(self, source: Source, entries: Iterable[Entry]) -> None:
        self._source = source
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        entry = self._entries[name]
        tensor = np.empty(entry.shape, "<f4")
        try:
            self._source.read_into(tensor.reshape(-1).view(np.uint8).data, entry.begin)
        except OSError as error:
            raise StateError(
                f"the file of the weights in use cannot be read ({error.strerror or error}): check its disk"
            ) from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def read_entries(source: Source) -> tuple[Entry, ...]:
    """Every tensor of a file in the order of their bytes, which follow each other without a gap up to its end.

    Raises:
        WeightsError: it is no safetensors file.
        OSError: it cannot be read.
    """
    if source.size < _LENGTH_BYTES:
        raise _malformed(f"{source.size} bytes")
    length = int.from_bytes(_read(source, 0, _LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + length
    if length > HEADER_BYTES or start > source.size:
        raise _malformed(f"a header of {length} bytes")
    try:
        header = json.loads(_read(source, _LENGTH_BYTES, start))
        entries = [_entry(name, values, start) for name, values in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _malformed(f"its header: {type(error).__name__}") from error
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    end = start
    for entry in entries:
        if entry.begin != end or entry.end < entry.begin:
            raise _malformed(f"tensor {entry.name[:80]!r} at bytes {entry.begin} to {entry.end}")
        end = entry.end
    if end != source.size:
        raise _malformed(f"{source.size} bytes instead of {end}")
    return tuple(entries)


def _read(source: Source, begin: int, end: int) -> bytearray:
    data = bytearray(end - begin)
    source.read_into(memoryview(data), begin)
    return data


def _entry(name: str, values: dict[str, Any], start: int) -> Entry:
    shape = tuple(_whole_number(size) for size in values["shape"])
    begin, end = (start + _whole_number(offset) for offset in values["data_offsets"])
    dtype = str(values["dtype"])
    if dtype == "F32" and end - begin != _FLOAT_BYTES * math.prod(shape):
        raise ValueError("the offsets do not fit the shape")
    return Entry(name, dtype, shape, begin, end)


def _whole_number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a whole number")
    return value


def _malformed(reason: str) -> WeightsError:
    return WeightsError(f"not a safetensors file (damaged, or a wrong key): {reason}")
