"""Becomes a container: a private view of the file system, then the given command in place of this process.

Run as ``python -I -S enter.py SPEC COMMAND...`` with ``SPEC`` the JSON of a `View`. Uses nothing but the standard
library, since it runs before anything of the project may be imported. Nothing of the host's file system changes: the
view is a new root on a tmpfs into which the host's folders are bound, with the container's own paths in between.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME = 1, 2, 4, 8, 1024
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = 32, 4096, 16384, 1 << 18, 1 << 21
PR_SET_PDEATHSIG = 1
LOCKED = {  # a user namespace may add restrictions to a mount, never drop one
    os.ST_NOSUID: MS_NOSUID,
    os.ST_NODEV: MS_NODEV,
    os.ST_NOEXEC: MS_NOEXEC,
    os.ST_NOATIME: MS_NOATIME,
    os.ST_RELATIME: MS_RELATIME,
}


@dataclass(frozen=True)
class View:
    """``overlay`` lies over ``/``; ``binds`` are (source, path in the view, read only). Modes: see `mounts.py`."""

    mode: str
    root: str = ""
    overlay: str = ""
    binds: tuple[tuple[str, str, bool], ...] = ()
    directory: str = "/"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Libc:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _check(self, code: int, what: str) -> None:
        if code:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def unshare(self, flags: int) -> None:
        self._check(self._libc.unshare(flags), "unshare")

    def mount(self, source: str | None, target: str, kind: str | None, flags: int) -> None:
        arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
        self._check(self._libc.mount(*arguments, ctypes.c_ulong(flags), None), f"mount {source} at {target}")

    def bind(self, source: str, target: str, read_only: bool = False) -> None:
        self.mount(source, target, None, MS_BIND | MS_REC)
        if read_only:
            have = os.statvfs(target).f_flag
            kept = sum(flag for bit, flag in LOCKED.items() if have & bit)
            self.mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)

    def die_with_parent(self) -> None:
        """A stand-in that is killed takes its containers with it. The parent is the thread that started us."""
        self._check(self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def overlay_binds(overlay: Path, at: Path) -> list[tuple[str, str, bool]]:
    """Binds that lay the tree over the host's: whole folders where the host has none, else what is in them."""
    binds = []
    for child in sorted(overlay.iterdir()):
        target = at / child.name
        if child.is_dir() and target.is_dir():
            binds += overlay_binds(child, target)
        else:
            binds.append((str(child), str(target), False))
    return binds


def build_root(libc: Libc, view: View) -> None:
    """Fills ``view.root`` with the host's tree and what the view puts into it."""
    root = Path(view.root)
    targets = {}
    for source, at, read_only in (*overlay_binds(Path(view.overlay), Path("/")), *view.binds):
        targets[Path(at).parent.resolve() / Path(at).name] = (Path(source), read_only)
    # folders remade in the view, because something of ours goes below them
    mirrored = {parent for target in targets for parent in target.parents}

    def mirror(folder: Path) -> None:
        try:
            children = list(folder.iterdir())
        except OSError:  # not ours to read: it is empty in the view
            return
        for child in children:
            inside = root / child.relative_to("/")
            if child in targets:
                continue
            if child.is_symlink():
                inside.symlink_to(child.readlink())
            elif child in mirrored:
                inside.mkdir()
                mirror(child)
            else:
                try:
                    place(libc, child, inside, False)
                except OSError:  # something this user may not even look at; the view does without
                    continue

    mirror(Path("/"))
    for target in sorted(targets, key=lambda path: len(path.parts)):
        wanted, read_only = targets[target]
        place(libc, wanted, root / target.relative_to("/"), read_only)


def place(libc: Libc, source: Path, target: Path, read_only: bool) -> None:
    """Makes ``source`` appear at ``target``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    libc.bind(str(source), str(target), read_only)


def enter_user_namespace(libc: Libc) -> None:
    user, group = os.geteuid(), os.getegid()
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def main() -> None:
    fields = json.loads(sys.argv[1])
    fields["binds"] = tuple((source, at, read_only) for source, at, read_only in fields["binds"])
    view = View(**fields)
    if sys.platform == "linux":
        libc = Libc()
        if view.mode in ("root", "user"):
            if view.mode == "user":
                enter_user_namespace(libc)
            else:
                libc.unshare(CLONE_NEWNS)
            libc.mount("none", "/", None, MS_REC | MS_PRIVATE)
            libc.mount("tmpfs", view.root, "tmpfs", 0)
            build_root(libc, view)
            os.chroot(view.root)
        libc.die_with_parent()
    os.chdir(view.directory)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
