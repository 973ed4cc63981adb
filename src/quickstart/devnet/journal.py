"""The devnet's memory on disk: every input, appended before its reply goes out, so that SIGKILL loses
nothing.

File `journal`: records of u32 length ‖ u32 CRC-32 ‖ payload, little-endian. The first payload is a JSON
header, the others are encoded inputs. A record is whole or it is not there: a torn last one is cut off when
the file is opened."""

import errno
import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quickstart.chain.ids import Id32
from quickstart.devnet.config import settings_text
from quickstart.devnet.inputs import ChainInput, decode_input
from quickstart.errors import StateError

FORMAT = 1
LOCK_SECONDS = 5.0
_FRAME = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Header:
    """The first record: what makes this chain this chain."""

    chain_id: Id32
    genesis_ms: int
    settings: dict[str, object]

    def encode(self) -> bytes:
        values = {"format": FORMAT, "chain_id": self.chain_id.hex(), "genesis_ms": self.genesis_ms}
        return json.dumps({**values, "settings": self.settings}, sort_keys=True).encode()


class Journal:
    """One chain's inputs in a state folder, held by one process at a time."""

    def __init__(self, folder: Path, settings: dict[str, object], make_header: Callable[[], Header]) -> None:
        """Opens the folder's journal, or starts one with `make_header()`.

        Raises:
            StateError: another process holds the folder, it belongs to another configuration or a newer
                version, it is
                damaged, or the disk is full.
        """
        self._path = folder / "journal"
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            payloads, self._end = self._read()
            os.ftruncate(self._file, self._end)
            if payloads:
                self.header = _parse_header(payloads[0], folder)
            else:
                self.header = make_header()
                self._append(self.header.encode())
            _check_settings(self.header, settings, folder)
        except BaseException:
            self.close()
            raise
        self._payloads = payloads[1:]

    def replay(self) -> Iterator[ChainInput]:
        """The inputs that were in the file when it was opened, oldest first.

        Raises:
            StateError: a record is whole but unreadable.
        """
        payloads, self._payloads = self._payloads, []
        for payload in payloads:
            try:
                yield decode_input(payload)
            except ValueError as error:
                raise StateError(f"{self._path} is damaged ({error}): remove the state folder to start anew") from error

    @contextmanager
    def appended(self, given: ChainInput) -> Iterator[None]:
        """Hands the input to the operating system, so that it survives this process; the block then applies
        it. A block that fails leaves the file as before.

        Raises:
            StateError: the disk is full; the file is as before.
        """
        before = self._end
        self._append(given.encode())
        try:
            yield
        except BaseException:
            os.ftruncate(self._file, before)
            self._end = before
            raise

    def close(self) -> None:
        os.close(self._file)
        os.close(self._lock)

    def _append(self, payload: bytes) -> None:
        record = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        with _disk_errors(self._path):
            try:
                written = os.pwrite(self._file, record, self._end)
                if written != len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
        self._end += len(record)

    def _read(self) -> tuple[list[bytes], int]:
        """Payloads of all whole records, and where they end."""
        data = self._path.read_bytes()
        payloads: list[bytes] = []
        at = 0
        while at + _FRAME.size <= len(data):
            length, checksum = _FRAME.unpack_from(data, at)
            payload = data[at + _FRAME.size : at + _FRAME.size + length]
            end = at + _FRAME.size + length
            if len(payload) < length:
                break
            if zlib.crc32(payload) != checksum:
                if end < len(data):
                    raise StateError(f"{self._path} is damaged at byte {at}: remove the state folder to start anew")
                break
            payloads.append(payload)
            at = end
        return payloads, at


def _lock(folder: Path) -> int:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise StateError(f"{folder} is in use by another devnet: stop it or use another state folder") from None
            time.sleep(0.05)


def _parse_header(payload: bytes, folder: Path) -> Header:
    try:
        values = json.loads(payload)
        version = int(values["format"])
        if version > FORMAT:
            raise StateError(
                f"{folder} was written by a newer version (format {version}, known here: {FORMAT}): upgrade quickstart"
            )
        return Header(bytes.fromhex(values["chain_id"]), int(values["genesis_ms"]), dict(values["settings"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{folder} holds no devnet journal ({error}): use another state folder") from error


def _check_settings(header: Header, settings: dict[str, object], folder: Path) -> None:
    if header.settings == settings:
        return
    names = sorted(n for n in header.settings.keys() | settings.keys() if header.settings.get(n) != settings.get(n))
    was = settings_text({name: header.settings.get(name) for name in names})
    now = settings_text({name: settings.get(name) for name in names})
    raise StateError(f"{folder} belongs to a devnet with {was}, not {now}: use the same options or another folder")


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the state folder into one line for people."""
    try:
        yield
    except OSError as error:
        hint = "free some space" if error.errno == errno.ENOSPC else "use another state folder"
        raise StateError(f"cannot write {path} ({error.strerror}): {hint}") from error
