"""Published bytes in a local folder, which `file_server` serves: the storage of devnet and localnet."""

import errno
from collections.abc import Iterable
from pathlib import Path

from quickstart.chain.ids import Id32
from quickstart.durable import write_durably
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
        try:
            if again or not _holds(path, data):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durably(path, data)
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
