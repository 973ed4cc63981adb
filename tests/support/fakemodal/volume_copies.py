"""Volumes as containers see them: a copy of their own, exchanged with the committed state on commit and reload.

A container starts with a copy of what is committed. Its writes reach the committed state file by file when it commits
(the last writer of a file wins, as on Modal), and it sees the writes of others when it reloads.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

RACY_NS = 50_000_000  # a file written this shortly before it was looked at may change again within one clock tick


@dataclass(frozen=True, slots=True)
class Seen:
    """How a file or folder looked: two that compare equal have the same content."""

    kind: int
    size: int
    modified_ns: int
    inode: int
    content: bytes  # digest of a file too young to be known by its times, target of a link, else empty


Manifest = dict[str, Seen]


@dataclass(eq=False)
class MountedCopy:
    """One container's copy of one volume; ``base`` is the copy as of the last exchange with the committed state."""

    volume_id: str
    committed: Path
    folder: Path
    read_only: bool
    base: Manifest = field(default_factory=dict)

    def fill(self) -> None:
        """Makes the copy, from nothing."""
        shutil.copytree(self.committed, self.folder, symlinks=True)
        self.base = manifest(self.folder)

    def commit(self) -> list[str]:
        """Brings what this container wrote or removed into the committed state; returns the paths."""
        if self.read_only:
            return []
        now = manifest(self.folder)
        written = [path for path, seen in now.items() if self._differs(path, seen)]
        removed = [path for path in self.base if path not in now]
        _remove(self.committed, removed)
        for path in written:
            with contextlib.suppress(FileNotFoundError):  # renamed or removed since: the next commit sees to it
                _copy(self.folder / path, self.committed / path)
        self.base = now
        return written + removed

    def reload(self) -> None:
        """Commits (Modal may do that as well), then takes over what is committed."""
        self.commit()
        theirs, mine = manifest(self.committed), manifest(self.folder)
        _remove(self.folder, [path for path in mine if path not in theirs])
        for path in theirs:
            if path not in mine or not _same_content(self.committed / path, self.folder / path):
                _copy(self.committed / path, self.folder / path)
        self.base = manifest(self.folder)

    def _differs(self, path: str, seen: Seen) -> bool:
        base = self.base.get(path)
        if base is None or (seen.kind, seen.size, seen.inode) != (base.kind, base.size, base.inode):
            return True
        if stat.S_ISREG(seen.kind) and base.content:
            return base.content != (seen.content or _digest(self.folder / path))
        return (seen.modified_ns, seen.content) != (base.modified_ns, base.content)


def manifest(folder: Path) -> Manifest:
    """Every file, link and folder below ``folder``, parents first. Files that vanish meanwhile are left out."""
    out: Manifest = {}
    young = time.time_ns() - RACY_NS
    for path in sorted(folder.rglob("*")):
        try:
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            if stat.S_ISDIR(kind):
                seen = Seen(kind, 0, 0, 0, b"")
            elif stat.S_ISLNK(kind):
                seen = Seen(kind, 0, 0, 0, os.fsencode(path.readlink()))
            elif stat.S_ISREG(kind):
                content = _digest(path) if status.st_mtime_ns >= young else b""
                seen = Seen(kind, status.st_size, status.st_mtime_ns, status.st_ino, content)
            else:
                continue  # sockets and pipes do not travel
        except FileNotFoundError:
            continue
        out[str(path.relative_to(folder))] = seen
    return out


def open_files(folder: Path, process_group: int) -> list[str]:
    """Files below ``folder`` that a process of the group has open, mapped, or works in; empty without a /proc."""
    known = {}
    for path in (folder, *folder.rglob("*")):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        known[status.st_dev, status.st_ino] = str(path.relative_to(folder))
    inodes = {inode: name for (_, inode), name in known.items() if name != "."}
    held: set[str] = set()
    for process in _group(process_group):
        for link in (process / "cwd", *_entries(process / "fd")):
            try:
                status = link.stat()
            except OSError:
                continue
            if (name := known.get((status.st_dev, status.st_ino))) is not None:
                held.add(name)
        held |= {
            name
            for line in _lines(process / "maps")
            if len(fields := line.split(maxsplit=5)) == 6
            and (name := inodes.get(int(fields[4])))
            and fields[5].rstrip().endswith(Path(name).name)
        }
    return sorted(held)


def _group(process_group: int) -> Iterable[Path]:
    proc = Path("/proc")
    if not proc.is_dir():
        return
    for process in proc.iterdir():
        if process.name.isdigit():
            try:
                if os.getpgid(int(process.name)) == process_group:
                    yield process
            except ProcessLookupError:
                continue


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process has ended
        return []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # the process has ended
        return []


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _same_content(a: Path, b: Path) -> bool:
    if a.is_symlink() or b.is_symlink():
        return a.is_symlink() and b.is_symlink() and a.readlink() == b.readlink()
    if a.is_dir() or b.is_dir():
        return a.is_dir() and b.is_dir()
    return a.stat().st_size == b.stat().st_size and _digest(a) == _digest(b)


def _remove(root: Path, paths: list[str]) -> None:
    for name in sorted(paths, key=lambda p: p.count("/"), reverse=True):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):  # somebody else's files may be in it by now
                path.rmdir()
        else:
            path.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        if target.is_symlink() or target.is_file():
            target.unlink()
        target.mkdir(parents=True, exist_ok=True)
        return
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".arriving")
    shutil.copy2(source, fresh, follow_symlinks=False)
    fresh.replace(target)
