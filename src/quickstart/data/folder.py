"""Windows from the files of a local folder."""

import logging
import math
import os
import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from quickstart.data.filters import BINARY, reject_reason
from quickstart.data.window import WINDOW_BYTES, Provenance, Window
from quickstart.errors import SourceError

log = logging.getLogger(__name__)

SKIPPED_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", "site-packages"})
"""Object stores, compiled files, and other people's packages below somebody's own code."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class _Plan:
    """A file's windows: `slots` places of 1,024 bytes, visited from `first` in steps of `step`, each once."""

    path: str
    slots: int
    first: int
    step: int

    def offset(self, turn: int) -> int:
        return (self.first + turn * self.step) % self.slots * WINDOW_BYTES


class FolderSource:
    """Cuts windows from all regular files below `path`; links are not followed.

    Diversity beats volume: the first round takes one window of every file, in an order shuffled by the seed,
    the second round another one, and so on. A file starts at a place of its own (the first kilobyte is often
    a licence text) and its windows lie far apart. Files shorter than a window are skipped, and after their
    first window binary ones; `skipped` counts them, and what could not be read, by reason, for the last
    iteration.
    """

    def __init__(self, path: Path, licence: str | None = None) -> None:
        self.path = path
        self.licence = licence
        self.skipped: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return f"dir:{self.path}"

    def windows(self, seed: int, resume_from: int = 0) -> Iterator[Window]:
        """All windows once.

        Raises:
            SourceError: not a folder, not readable, or without a file of at least 1,024 bytes.
        """
        self.skipped = Counter()
        paths = self._files()
        random.Random(seed).shuffle(paths)
        plans: list[_Plan] = []
        given = 0
        for path in paths:
            opened = self._first_window(path, seed)
            if opened is None:
                continue
            plan, window = opened
            if plan.slots > 1:
                plans.append(plan)
            given += 1
            if given > resume_from:
                yield window
        if not given:
            found = ", ".join(f"{number} {reason}" for reason, number in self.skipped.items()) or "it is empty"
            raise SourceError(
                f"{self.path} has no file of {WINDOW_BYTES} bytes or more ({found}): name a folder of text or code"
            )
        turn = 1
        while plans:
            for plan in plans:
                given += 1
                if given > resume_from and (another := self._window(plan, turn)) is not None:
                    yield another
            turn += 1
            plans = [plan for plan in plans if turn < plan.slots]

    def _files(self) -> list[str]:
        """Paths relative to the folder, in an order that does not depend on the file system."""
        found: list[str] = []
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(self.path / folder) as entries:
                    for entry in entries:
                        inner = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_file(follow_symlinks=False):
                            found.append(inner)
                        elif entry.is_dir(follow_symlinks=False) and entry.name not in SKIPPED_FOLDERS:
                            pending.append(inner)
            except OSError as error:
                if not folder:
                    reason = error.strerror or str(error)
                    raise SourceError(
                        f"the source folder {self.path} cannot be read ({reason}): "
                        "name an existing folder that you may read"
                    ) from error
                self._skip("unreadable folder", folder, error)
        found.sort()
        return found

    def _first_window(self, path: str, seed: int) -> tuple[_Plan, Window] | None:
        """Opens a file for the first time: its plan and first window, or None (counted) if it has none."""
        try:
            with (self.path / path).open("rb") as file:
                slots = os.fstat(file.fileno()).st_size // WINDOW_BYTES
                if slots == 0:
                    self.skipped["shorter than a window"] += 1
                    return None
                plan = _plan(path, slots, seed)
                file.seek(plan.offset(0))
                data = file.read(WINDOW_BYTES)
        except OSError as error:
            self._skip("unreadable", path, error)
            return None
        if len(data) != WINDOW_BYTES:
            self.skipped["changed while reading"] += 1
            return None
        if reject_reason(data) == BINARY:
            # One window tells the filters' counts; the rest of a large binary file would only cost time.
            self.skipped["binary"] += 1
            plan = _Plan(path, 1, plan.first, 1)
        return plan, self._cut(path, plan.offset(0), data)

    def _window(self, plan: _Plan, turn: int) -> Window | None:
        offset = plan.offset(turn)
        try:
            with (self.path / plan.path).open("rb") as file:
                file.seek(offset)
                data = file.read(WINDOW_BYTES)
        except OSError as error:
            self._skip("unreadable", plan.path, error)
            return None
        if len(data) != WINDOW_BYTES:
            self.skipped["changed while reading"] += 1
            return None
        return self._cut(plan.path, offset, data)

    def _cut(self, path: str, offset: int, data: bytes) -> Window:
        return Window.cut(data, Provenance(self.name, path, offset, self.licence))

    def _skip(self, reason: str, path: str, error: OSError) -> None:
        self.skipped[reason] += 1
        log.info("%s skipped in %s: %s", path, self.name, error)


def python_library() -> FolderSource:
    """The standard library of the running Python: real code, prose and tables that every machine has."""
    return FolderSource(Path(sysconfig.get_paths()["stdlib"]), licence="PSF-2.0")


def _plan(path: str, slots: int, seed: int) -> _Plan:
    """A start that depends on seed and path only, and steps near the golden ratio that reach every slot."""
    digest = blake2b(f"{seed}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    step = max(1, round(slots * _GOLDEN))
    while math.gcd(step, slots) != 1:
        step += 1
    return _Plan(path, slots, int.from_bytes(digest, "little") % slots, step)
