"""The wallet's lease: whoever holds it signs, nobody else does.

Two different transactions that name the same coin version lock the coin, so one process at a time may sign for a
wallet. Here the lease is a file lock, which the operating system takes back when its holder dies; a bucket or Modal
can stand behind the same interface.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from quickstart.errors import LeaseHeldError

UNREADABLE = (ArithmeticError, LookupError, OSError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who signs for a wallet: process, machine, command, and since when (seconds since 1970)."""

    pid: int
    host: str
    command: str
    since: float

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> "Holder":
        """From what somebody wrote, perhaps by hand. Raises one of `UNREADABLE` if it is no holder."""
        holder = cls(int(fields["pid"]), str(fields["host"]), str(fields["command"]), float(fields["since"]))
        if not 0 <= holder.pid < 2**31:
            raise ValueError("not a process's number")
        holder.describe()  # `since` must be a moment
        return holder

    def describe(self) -> str:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"`{self.command}` (process {self.pid} on {self.host}, since {started})"


class Lease(Protocol):
    """Held between `__enter__` and `__exit__`; `held()` is asked before every signature."""

    def __enter__(self) -> "Lease": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def held(self) -> bool: ...


class FileLease:
    """A lease on this machine: an exclusive lock on a file beside the wallet's ledger.

    Raises:
        LeaseHeldError: another process holds it; the message names it and says how to take over.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._path = path
        self._command = command
        self._descriptor: int | None = None

    def __enter__(self) -> "FileLease":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LeaseHeldError(_held_message(holder(self._path))) from None
        me = Holder(os.getpid(), socket.gethostname(), self._command, time.time())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def held(self) -> bool:
        return self._descriptor is not None


def holder(path: Path) -> Holder | None:
    """Who wrote the lease file last; None when nobody holds it or the file is being written."""
    try:
        return Holder.read(json.loads(path.read_text()))
    except UNREADABLE:
        return None


def live_holder(path: Path) -> Holder | None:
    """Who signs for the wallet at this moment; None also for a holder of this machine that was killed."""
    other = holder(path)
    if other is None or (other.host == socket.gethostname() and not is_alive(other.pid)):
        return None
    return other


def refuse_if_held(path: Path) -> None:
    """Says early what taking the lease would say, for what must not be started beside its holder.

    Raises:
        LeaseHeldError: another process holds it.
    """
    other = live_holder(path)
    if other is not None and other.pid != os.getpid():
        raise LeaseHeldError(_held_message(other))


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held_message(other: Holder | None) -> str:
    who = other.describe() if other else "another process"
    return f"{who} signs for this wallet; stop it (Ctrl-C there) and run this again to take over"
