"""BCS, the network's canonical binary encoding: the primitives this program needs (`soma-protocol` §3)."""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def uleb128(value: int) -> bytes:
    """Unsigned LEB128: lengths and enum indices."""
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if not value:
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def byte_string(data: bytes) -> bytes:
    """Length-prefixed bytes; a digest is one of 32 bytes."""
    return uleb128(len(data)) + data


def string(text: str) -> bytes:
    return byte_string(text.encode())


def option(value: T | None, encode: Callable[[T], bytes]) -> bytes:
    return b"\x00" if value is None else b"\x01" + encode(value)


def vector(items: Sequence[T], encode: Callable[[T], bytes]) -> bytes:
    return uleb128(len(items)) + b"".join(map(encode, items))


def tensor(values: Iterable[float] | NDArray[np.float32]) -> bytes:
    """A rank-1 float32 tensor: dtype 0 ‖ little-endian bytes ‖ shape."""
    data = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype="<f4")
    return b"\x00" + byte_string(data.tobytes()) + vector([data.size], u64)


class Reader:
    """Reads BCS front to back. Every method raises `ValueError` when the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError(f"BCS ends early: {count} bytes wanted at {self._at}, {len(piece)} left")
        self._at += count
        return piece

    def u8(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def u64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def uleb128(self) -> int:
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("BCS length is too long")

    def byte_string(self) -> bytes:
        return self.take(self.uleb128())

    def string(self) -> str:
        return self.byte_string().decode()

    def option(self, decode: Callable[[], T]) -> T | None:
        return decode() if self.u8() else None

    def vector(self, decode: Callable[[], T]) -> list[T]:
        return [decode() for _ in range(self.uleb128())]

    def tensor(self) -> NDArray[np.float32]:
        """A tensor's values, flat, float32."""
        if self.u8() != 0:
            raise ValueError("only float32 tensors are known")
        values = np.frombuffer(self.byte_string(), dtype="<f4").astype(np.float32)
        self.vector(self.u64)
        return values

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes after the end of the BCS value")
