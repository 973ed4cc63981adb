"""How a container comes to see its files and volumes at their absolute paths, on this machine and as this user.

========  ============================================================================================================
mode      what happens
========  ============================================================================================================
root      a private mount namespace with a root of its own (needs CAP_SYS_ADMIN)
user      the same inside a user namespace, as an ordinary user (needs a kernel that allows them)
symlink   mount paths are links that lead every container to its own copy; needs a writable ``/`` and a /proc. Source
          lies on PYTHONPATH, not at ``/root``; read-only mounts are not enforced, only never committed
none      none of these is possible; functions with volumes cannot start
========  ============================================================================================================
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from .enter import View

ENTER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("enter.py"))]
MODES = ("root", "user", "symlink", "none")


def available_modes(folder: Path) -> Iterable[str]:
    """The modes that work here, best first; tried, not guessed."""
    for mode in ("root", "user"):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            root, overlay = Path(name, "root"), Path(name, "overlay")
            root.mkdir()
            overlay.mkdir()
            view = View(mode, str(root), str(overlay))
            tried = subprocess.run([*ENTER, view.to_json(), sys.executable, "-I", "-S", "-c", ""], capture_output=True)
        if tried.returncode == 0:
            yield mode
    if os.access("/", os.W_OK) and Path("/proc/self/cwd").exists():
        yield "symlink"
    yield "none"


class Links:
    """Mount paths as links, the same for every container and every stand-in on the machine.

    A link leads through the working directory of whoever follows it, which is ``HOME/fs/root`` for a container, to
    ``HOME/mnt/<mount path>``. A lock file per path keeps it while any stand-in uses it.
    """

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def show(self, at: Path, home: Path, source: Path) -> None:
        """Makes ``source`` appear at ``at`` for processes whose working directory is ``home/fs/root``."""
        name = quote(str(at), safe="")
        (home / "mnt").mkdir(exist_ok=True)
        (home / "mnt" / name).symlink_to(source)
        if at not in self._held:
            lock = os.open(self._lock_path(name), os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(lock, fcntl.LOCK_SH)
            self._held[at] = lock
        target = Path("/proc/self/cwd/../../mnt", name)
        if not (at.is_symlink() and at.readlink() == target):
            at.parent.mkdir(parents=True, exist_ok=True)
            at.symlink_to(target)

    def release(self) -> None:
        for at, lock in self._held.items():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another stand-in still uses it
                pass
            else:
                at.unlink(missing_ok=True)
            os.close(lock)
        self._held.clear()

    @staticmethod
    def _lock_path(name: str) -> Path:
        return Path(tempfile.gettempdir(), f"fakemodal-link-{name}.lock")
