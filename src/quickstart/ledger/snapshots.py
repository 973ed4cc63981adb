"""Copies of a ledger that are whole: made by SQLite's own backup, put in place in one step.

A live ledger is a database and a write-ahead log that only make sense together; a volume may be committed between the
two. A snapshot is one file. After a crash the last one is taken up again, and the chain settles what came later.
"""

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType

from quickstart.durable import put_in_place
from quickstart.errors import StateError
from quickstart.ledger.ledger import Ledger

log = logging.getLogger(__name__)

SNAPSHOT_EVERY_SECONDS = 2.0


def take_snapshot(ledger: Path, snapshot: Path) -> None:
    """Writes the ledger's state as of now to `snapshot`, replacing it in one step.

    Raises:
        StateError: the ledger cannot be read, or the snapshot not written.
    """
    draft = snapshot.with_name(snapshot.name + ".tmp")
    try:
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(draft)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        with draft.open("rb") as file:
            put_in_place(file, snapshot)
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"the ledger's snapshot {snapshot} cannot be written ({error}); free disk space") from error


def restore(snapshot: Path, ledger: Path) -> bool:
    """Makes `snapshot` the ledger, if there is one; what was at `ledger` before is gone.

    Raises:
        StateError: the copy cannot be written.
    """
    if not snapshot.exists():
        return False
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        draft = ledger.with_name(ledger.name + ".tmp")
        shutil.copyfile(snapshot, draft)
        for suffix in ("-wal", "-shm"):
            ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)
        draft.replace(ledger)
    except OSError as error:
        raise StateError(f"the ledger {ledger} cannot be written ({error.strerror}); free disk space") from error
    return True


class KeptLedger:
    """`with KeptLedger(path, snapshot, commit) as ledger:` the ledger at `path`, taken up from `snapshot`.

    While it is open, changes reach `snapshot` at most `every` seconds later, several in one go; `commit` then makes
    the snapshot durable. Once more at the end.
    """

    def __init__(
        self, path: Path, snapshot: Path, commit: Callable[[], None], every: float = SNAPSHOT_EVERY_SECONDS
    ) -> None:
        self._path = path
        self._snapshot = snapshot
        self._commit = commit
        self._every = every
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="ledger snapshots", daemon=True)
        self._ledger: Ledger | None = None

    def __enter__(self) -> Ledger:
        restore(self._snapshot, self._path)
        self._ledger = Ledger(self._path)
        self._thread.start()
        return self._ledger

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._ledger is not None:
            self._ledger.close()
        if self._failure is not None:
            raise self._failure

    def _keep(self) -> None:
        with closing(sqlite3.connect(self._path)) as watcher:
            version: int | None = None
            while not self._ended.wait(self._every):
                (now,) = watcher.execute("PRAGMA data_version").fetchone()
                if now == version:
                    continue
                try:
                    self._keep_once()
                    version = now
                except Exception:
                    # A volume that fails for a moment must not end the run: it is tried again, and the chain is the
                    # truth for what a crash would lose meanwhile.
                    log.exception("the ledger's snapshot failed; trying again")
        try:
            self._keep_once()
        except Exception as error:  # noqa: BLE001 - told to whoever closes the ledger
            self._failure = error

    def _keep_once(self) -> None:
        take_snapshot(self._path, self._snapshot)
        self._commit()
