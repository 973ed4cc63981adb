"""Checkpoints: whole or not at all, the last K kept, damaged ones passed over.

A file is written aside, synced, and renamed to a name that holds its step and the digest of its content.
"""

import errno
import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch

from quickstart.durable import put_in_place, sync_folder
from quickstart.errors import StateError
from quickstart.units import MIB

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{32})\.checkpoint")


class Checkpoints:
    """The checkpoints of one run, in `folder`.

    Raises:
        StateError: (any method) the folder cannot be used, or its disk is full.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, step: int, content: dict[str, Any]) -> Path:
        """Durable when it returns; then the oldest beyond `keep` go. `content`: tensors and plain values."""
        draft = self._folder / "draft.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                torch.save(content, file)
                file.flush()
                path = self._folder / f"step-{step:09d}-{_digest(draft)}.checkpoint"
                put_in_place(file, path)
            sync_folder(self._folder)
            for _, old in self._newest_first()[self._keep :]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise _unusable(self._folder, error) from error
        except RuntimeError as error:
            # torch closes its archive when a write has failed, and tells of that instead.
            if not isinstance(error.__context__, OSError):
                raise
            raise _unusable(self._folder, error.__context__) from error
        return path

    def latest(self, device: torch.device) -> dict[str, Any] | None:
        """The newest undamaged one's content, its tensors on `device`; None when there is none."""
        for expected, path in self._newest_first():
            try:
                if _digest(path) != expected:
                    log.warning("checkpoint passed over, it is damaged: %s", path)
                    continue
                content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            except OSError as error:
                raise _unusable(self._folder, error) from error
            return content
        return None

    def _newest_first(self) -> list[tuple[str, Path]]:
        found = [(match, path) for path in self._folder.glob("*") if (match := _NAME.fullmatch(path.name))]
        return [(match[2], path) for match, path in sorted(found, key=lambda pair: pair[1].name, reverse=True)]


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.hexdigest()


def _unusable(folder: Path, error: OSError) -> StateError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "its disk is full; free some space" if full else f"{error.strerror or error}; mend its permissions"
    return StateError(f"the checkpoints in {folder} cannot be used: {reason}, or name another --out")
