"""The commands as processes: started as a person starts them, with an environment that holds nothing of ours."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.journal import Header, Journal

FOLDER_OF_COMMANDS = Path(sys.executable).parent
LIMIT_SECONDS = 90.0
SMALL = ("--workers", "1", "--windows", "8", "--epochs", "1", "--max-hits", "6")
A_KEY = {"SOMA_SECRET_KEY": "11" * 32}


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    def document(self) -> dict[str, Any]:
        """The JSON document on standard output, which must be exactly one."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        return document


@dataclass
class Shell:
    """A folder to run commands in, without a `.env`, and with an environment of nothing but the essential."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "TMPDIR") if name in os.environ}
        # One thread for linear algebra: the machine that runs these may have few cores.
        self.environment = {**kept, "HOME": str(self.folder), "OPENBLAS_NUM_THREADS": "1", **self.environment}

    def run(
        self,
        command: str,
        *arguments: object,
        env: dict[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Finished:
        """Runs a command to its end. `before` is called in the new process first."""
        started = time.monotonic()
        done = subprocess.run(
            self._line(command, arguments),
            cwd=self.folder,
            env=self.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            preexec_fn=before,
        )
        return Finished(done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    @contextmanager
    def started(self, command: str, *arguments: object, **streams: Any) -> Iterator["Running"]:
        """A command in a process group of its own, as a terminal would give it; killed with the block."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        process = subprocess.Popen(
            self._line(command, arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            start_new_session=True,
            **options,
        )
        with process:
            try:
                yield Running(process)
            finally:
                with suppress(ProcessLookupError):  # the usual case: nobody of the group is left
                    os.killpg(process.pid, signal.SIGKILL)

    @staticmethod
    def _line(command: str, arguments: Iterable[object]) -> list[str]:
        return [str(FOLDER_OF_COMMANDS / command), *map(str, arguments)]


@dataclass(frozen=True)
class Running:
    """A command under way, the leader of its process group."""

    process: subprocess.Popen[str]

    def interrupt(self) -> Finished:
        """Ctrl-C: the terminal sends SIGINT to everything in the foreground."""
        started = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        return self.finish(started)

    def finish(self, started: float | None = None) -> Finished:
        started = time.monotonic() if started is None else started
        out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        return Finished(self.process.returncode, out, err, time.monotonic() - started)

    def until(self, what: Callable[[], object]) -> None:
        """Waits until `what()` is true, which must happen while the command runs."""

        def happened() -> object:
            assert self.process.poll() is None, f"it ended first: {self.finish().err}"
            return what()

        wait_until(happened)

    def kill(self) -> None:
        """SIGKILL to the command alone: nobody tells its children."""
        self.process.kill()
        self.process.wait(timeout=LIMIT_SECONDS)

    def others_alive(self) -> list[int]:
        """Processes of the group besides its leader that still run (zombies do not)."""
        found: list[int] = []
        for other in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                group, is_zombie = os.getpgid(other.pid), other.status() == psutil.STATUS_ZOMBIE
                if group == self.process.pid != other.pid and not is_zombie:
                    found.append(other.pid)
        return found


def wait_until(what: Callable[[], object], seconds: float = LIMIT_SECONDS) -> None:
    """Returns as soon as `what()` is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.05)


def ledger_rows(state: Path, query: str) -> list[tuple[Any, ...]]:
    """A second look at the one ledger of a state folder, past our own code; nothing while there is none."""
    ledgers = list(state.glob("networks/*/*/ledger.sqlite"))
    if not ledgers:
        return []
    with closing(sqlite3.connect(f"file:{ledgers[0]}?mode=ro", uri=True, timeout=10.0)) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []


def transactions_on_chain(state: Path) -> list[SignedTransaction]:
    """Everything the embedded network of a state folder ever executed, out of its own journal."""
    settings = DevnetConfig().chain_settings()
    journal = Journal(state / "devnet", settings, lambda: Header(bytes(32), 0, settings))
    try:
        return [given for given in journal.replay() if isinstance(given, SignedTransaction)]
    finally:
        journal.close()
