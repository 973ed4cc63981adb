"""Published bytes in a local folder, which `file_server` serves: the storage of devnet and localnet."""

import errno
from collections.abc import Callable, Iterable
from filecmp import cmp
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from quickstart.chain.ids import Id32
from quickstart.durable import copy_durably
from quickstart.errors import StateError
from quickstart.submission.storage import object_key


class FolderStorage:
    """Files under `root`, readable at `base_url`. Threads and processes may share one folder."""

    def __init__(self, root: Path, base_url: str) -> None:
        self._root = root
        self._base_url = base_url.rstrip("/")

    def put(self, data: bytes, checksum: Id32, *, again: bool = False) -> str:
        """See `Storage.put`. A file appears whole or not at all; a damaged one is replaced.

        Raises:
            StateError: the folder cannot be written, or its disk is full.
        """
        path = self._root / object_key(checksum)
        return self._put(checksum, BytesIO(data), lambda: again or not _holds(path, data))

    def put_file(self, path: Path, checksum: Id32, *, again: bool = False) -> str:
        """See `Storage.put_file`. Raises as `put` does."""
        there = self._root / object_key(checksum)
        with path.open("rb") as file:
            return self._put(checksum, file, lambda: again or not (there.exists() and cmp(path, there, shallow=False)))

    def _put(self, checksum: Id32, content: BinaryIO, is_wanted: Callable[[], bool]) -> str:
        try:
            path = self._root / object_key(checksum)
            if is_wanted():
                path.parent.mkdir(parents=True, exist_ok=True)
                copy_durably(path, content)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "its disk is full; free some space" if full else (error.strerror or str(error))
            raise StateError(f"cannot publish to the folder {self._root}: {reason}") from error
        return self.public_url(checksum)

    def remove(self, checksums: Iterable[Id32]) -> None:
        """See `Storage.remove`. Raises StateError when the folder cannot be written."""
        try:
            for checksum in checksums:
                (self._root / object_key(checksum)).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"cannot remove from the folder {self._root}: {error.strerror or error}") from error

    def public_url(self, checksum: Id32) -> str:
        return f"{self._base_url}/{object_key(checksum)}"


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False
