"""Encrypted weights on disk: fetched once, checked on every load, the least recently used dropped first."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import httpx

from quickstart.chain.transactions import Manifest
from quickstart.durable import sync_folder
from quickstart.errors import StateError, WeightsError
from quickstart.scoring.download import Downloader
from quickstart.scoring.engine import Weights
from quickstart.scoring.weights import decrypt_weights
from quickstart.units import GIB, MIB


class WeightsStore:
    """A folder of encrypted weight files named by checksum, `max_bytes` in all.

    Several processes may share it: one fetches a file while the others wait for it.
    """

    def __init__(self, root: Path, max_bytes: int = 64 * GIB, downloader: Downloader | None = None) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._downloader = downloader or Downloader()

    def fetch(self, manifest: Manifest, key: bytes) -> Weights:
        """A model's weights: from the cache if its file is there and undamaged, else downloaded, checked,
        decrypted and parsed. Decrypted they are a nameless file beside the cache, gone with the last reference.

        Raises:
            WeightsError: naming the model's URL, whatever the reason: unreachable, wrong size or checksum,
            wrong key, bad contents.
            StateError: the cache's own disk is full or refuses; no model's fault.
        """
        with self._disk_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self._root) as plain:
                return self.fetch_into(plain, manifest, key)

    def fetch_into(self, plain: BinaryIO, manifest: Manifest, key: bytes) -> Weights:
        """The same with the decrypted file in `plain`. Raises what `fetch` does, and OSError for `plain`."""
        try:
            with self._disk_errors():
                encrypted = self._encrypted(manifest)
            with encrypted:
                return decrypt_weights(encrypted, plain, key)
        except (WeightsError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise WeightsError(f"model {manifest.url}: {error or type(error).__name__}") from error

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"the cache of weights {self._root} cannot be written ({error.strerror or error}); "
                "free disk space, or name another folder with --state"
            ) from error

    def _encrypted(self, manifest: Manifest) -> BinaryIO:
        """The model's file as published, proven and open: that it may be dropped from the cache is no concern."""
        if not 0 < manifest.size <= self._max_bytes:
            raise WeightsError(f"its size of {manifest.size} bytes is not within the cache of {self._max_bytes}")
        self._root.mkdir(parents=True, exist_ok=True)
        name = manifest.checksum.hex()
        path, part = self._root / f"{name}.enc", self._root / f"{name}.part"
        with _locked(self._root / f"{name}.lock"):
            if not _verified(path, manifest):
                path.unlink(missing_ok=True)
                self._download(manifest, part)
                part.rename(path)
                sync_folder(self._root)
            # Not the file system's own clock: it ticks too coarsely to tell two uses apart.
            os.utime(path, ns=(time.time_ns(),) * 2)
            encrypted = path.open("rb")
        self._evict(keep=path)
        return encrypted

    def _download(self, manifest: Manifest, part: Path) -> None:
        """Fills `part` and proves it. What an earlier run left is not trusted: if the sum is wrong, it is
        fetched once from the start.
        """
        resumed = part.exists()
        self._downloader.download(manifest.url, part, manifest.size)
        if not _verified(part, manifest):
            part.unlink()
            if not resumed:
                raise WeightsError("its bytes do not have the published checksum")
            self._download(manifest, part)

    def _evict(self, keep: Path) -> None:
        """Drops the least recently used files, whole or partial, until the rest fits. A file that somebody
        works on stays.
        """
        files = sorted(
            ((stat.st_mtime_ns, stat.st_size, path) for path in self._root.iterdir() if (stat := _stat(path))),
            reverse=True,
        )
        total = 0
        for _, size, path in files:
            total += size
            if total > self._max_bytes and path != keep:
                with _locked(path.with_suffix(".lock"), wait=False) as owned:
                    if owned:
                        path.unlink(missing_ok=True)
                        total -= size


def _stat(path: Path) -> os.stat_result | None:
    """None for what is not a weight file, or went away while we looked."""
    try:
        return path.stat() if path.suffix in (".enc", ".part") else None
    except FileNotFoundError:
        return None


def _verified(path: Path, manifest: Manifest) -> bool:
    if not path.exists() or path.stat().st_size != manifest.size:
        return False
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.digest() == manifest.checksum


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds an advisory lock that the system releases if the process dies; yields whether it was got."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
