"""Windows from the files of a local folder, or from one large file."""

import logging
import os
import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from quickstart.data.cutting import SlotOrder, count_slots, cut_slot, slot_span
from quickstart.data.documents import TOO_SHORT
from quickstart.data.filter_names import BINARY
from quickstart.data.filters import is_binary
from quickstart.data.window import WINDOW_BYTES, Cursor, Provenance, SourcePlan, Window, WindowStream
from quickstart.errors import SourceError

log = logging.getLogger(__name__)

SKIPPED_FOLDERS = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", "site-packages"})
"""Object stores, compiled files, and other people's packages below somebody's own code."""

CHANGED = "changed while reading"


class FolderSource:
    """Cuts windows from all regular files below `path`; links are not followed.

    Diversity beats volume: the first round takes one window of every file, in an order shuffled by the seed,
    the second round another one, and so on. A file starts at a place of its own (the first kilobyte is often
    a licence text) and its windows lie far apart. Files shorter than a window are skipped, and after their
    first window binary ones, whatever the filters are; `skipped` counts them, and what could not be read, by reason.

    A cursor holds the round, the place in it, and a digest of the list of files: when files came or went, reading
    begins anew, and the bank knows the windows it has. Going on looks at the first kilobyte of earlier files again.
    """

    def __init__(self, path: Path, licence: str | None = None) -> None:
        self.path = path
        self.licence = licence
        self.skipped: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return f"dir:{self.path}"

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream:
        """All windows once.

        Raises:
            SourceError: not a folder, not readable, or without a file of at least 1,024 bytes.
        """
        return WindowStream(self._steps(plan, resume_from or {}), resume_from)

    def _steps(self, plan: SourcePlan, resume_from: Cursor) -> Iterator[tuple[Window, Cursor]]:
        self.skipped = Counter()
        paths = self._files()
        listing = blake2b("\0".join(paths).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        if resume_from and resume_from["listing"] != listing:
            log.info("%s has other files than before: read from the beginning", self.name)
            resume_from = {}
        behind = (resume_from.get("turn", 0), resume_from.get("place", -1))
        random.Random(plan.seed).shuffle(paths)
        orders: list[tuple[str, SlotOrder]] = []
        found = False
        for place, path in enumerate(plan.share(paths)):
            opened = self._first_window(path, plan.seed)
            if opened is None:
                continue
            found = True
            order, window = opened
            orders.append((path, order))
            if (0, place) > behind:
                yield window, {"listing": listing, "turn": 0, "place": place}
        if not found and plan.workers == 1:
            reasons = ", ".join(f"{number} {reason}" for reason, number in self.skipped.items()) or "it is empty"
            raise SourceError(
                f"{self.path} has no file of {WINDOW_BYTES} bytes or more ({reasons}): name a folder of text or code"
            )
        turn = 1
        while orders := [(path, order) for path, order in orders if turn < order.slots]:
            for place, (path, order) in enumerate(orders):
                if (turn, place) > behind and (another := self._window(path, order.slot(turn))) is not None:
                    yield another, {"listing": listing, "turn": turn, "place": place}
            turn += 1

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

    def _first_window(self, path: str, seed: int) -> tuple[SlotOrder, Window] | None:
        """Looks at a file for the first time: its slots and first window, or None (counted) if it has none."""
        try:
            slots = count_slots((self.path / path).stat().st_size)
        except OSError as error:
            self._skip("unreadable", path, error)
            return None
        if slots == 0:
            self.skipped[TOO_SHORT] += 1
            return None
        order = SlotOrder.of(path, slots, seed)
        window = self._window(path, order.slot(0))
        if window is None:
            return None
        if is_binary(window.data):
            # One window tells the filters' counts; the rest of a large binary file would only cost time.
            self.skipped[BINARY] += 1
            order = SlotOrder(1, order.first, 1)
        return order, window

    def _window(self, path: str, slot: int) -> Window | None:
        try:
            with (self.path / path).open("rb", buffering=0) as file:
                begin, end = slot_span(slot, os.fstat(file.fileno()).st_size)
                file.seek(begin)
                offset, data = cut_slot(file.read(max(0, end - begin)), slot)
        except OSError as error:
            self._skip("unreadable", path, error)
            return None
        if len(data) != WINDOW_BYTES:
            self.skipped[CHANGED] += 1
            return None
        kind = PurePosixPath(path).suffix[1:].lower()
        return Window.cut(data, Provenance(self.name, path, offset, self.licence, kind=kind))

    def _skip(self, reason: str, path: str, error: OSError) -> None:
        self.skipped[reason] += 1
        log.info("%s skipped in %s: %s", path, self.name, error)


class TextFileSource:
    """Cuts windows from one large file of lines, such as a log: places far apart first, none twice.

    Nothing but the window's own bytes is read, so neither the file's size nor the length of a line matters. Workers
    take turns. A file that grows begins anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()

    @property
    def name(self) -> str:
        return f"text-lines:{self._path}"

    def windows(self, plan: SourcePlan, resume_from: Cursor | None = None) -> WindowStream:
        """All windows once.

        Raises:
            SourceError: not a file, not readable, or shorter than 1,024 bytes.
        """
        return WindowStream(self._steps(plan, resume_from or {}), resume_from)

    def _steps(self, plan: SourcePlan, resume_from: Cursor) -> Iterator[tuple[Window, Cursor]]:
        try:
            with self._path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                slots = count_slots(size)
                if slots == 0:
                    raise SourceError(f"{self._path} is {TOO_SHORT}: name a file of {WINDOW_BYTES} bytes or more")
                order = SlotOrder.of(self._path.name, slots, plan.seed)
                first = resume_from["turn"] if resume_from.get("size") == size else plan.worker
                for turn in range(first, slots, plan.workers):
                    slot = order.slot(turn)
                    begin, end = slot_span(slot, size)
                    file.seek(begin)
                    offset, data = cut_slot(file.read(end - begin), slot)
                    if len(data) != WINDOW_BYTES:
                        self.skipped[CHANGED] += 1
                        continue
                    place = Provenance(self.name, self._path.name, offset, kind=self._path.suffix[1:].lower())
                    yield Window.cut(data, place), {"size": size, "turn": turn + plan.workers}
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(f"the source file {self._path} cannot be read ({reason}): name a file of text") from error


def python_library() -> FolderSource:
    """The standard library of the running Python: real code, prose and tables that every machine has."""
    return FolderSource(Path(sysconfig.get_paths()["stdlib"]), licence="PSF-2.0")
