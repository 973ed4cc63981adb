"""The ledger's tables. Migrations are appended, never edited; a file newer than this program is refused."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quickstart.errors import StateError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE intents (
        digest BLOB PRIMARY KEY,
        kind TEXT NOT NULL,
        subject BLOB,
        epoch INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        signed BLOB NOT NULL,
        details TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'landed', 'failed', 'refused')),
        outcome TEXT,
        executed_epoch INTEGER,
        settled_ms INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX one_live_intent ON intents (kind, subject)
        WHERE subject IS NOT NULL AND status IN ('pending', 'landed');
    CREATE INDEX intents_by_status ON intents (status);
    CREATE INDEX intents_by_epoch ON intents (kind, epoch);

    CREATE TABLE intent_coins (
        coin_id BLOB NOT NULL,
        version INTEGER NOT NULL,
        object_digest BLOB NOT NULL,
        balance INTEGER NOT NULL,
        digest BLOB NOT NULL REFERENCES intents (digest),
        PRIMARY KEY (coin_id, version)
    ) STRICT;
    CREATE INDEX coins_of_intent ON intent_coins (digest);

    CREATE TABLE coins (
        coin_id BLOB PRIMARY KEY,
        version INTEGER NOT NULL,
        object_digest BLOB NOT NULL,
        balance INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE movements (
        digest BLOB NOT NULL,
        item TEXT NOT NULL,
        amount INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        PRIMARY KEY (digest, item)
    ) STRICT;

    CREATE TABLE fills (
        target_id BLOB PRIMARY KEY,
        digest BLOB,
        epoch INTEGER NOT NULL,
        reward INTEGER NOT NULL,
        bond INTEGER NOT NULL,
        window BLOB,
        latency_ms INTEGER,
        state TEXT NOT NULL DEFAULT 'filled' CHECK (state IN ('filled', 'claimed', 'slashed'))
    ) STRICT;
    CREATE INDEX fills_by_epoch ON fills (epoch);
    CREATE INDEX fills_by_state ON fills (state);

    CREATE TABLE epochs (
        epoch INTEGER PRIMARY KEY,
        distance_threshold REAL NOT NULL,
        targets_seen INTEGER NOT NULL,
        fillable INTEGER NOT NULL,
        filled INTEGER NOT NULL,
        missed INTEGER NOT NULL,
        ended_by TEXT NOT NULL
    ) STRICT;

    CREATE TABLE model_weights (
        encrypted_checksum BLOB PRIMARY KEY,
        weights_checksum BLOB NOT NULL
    ) STRICT;

    CREATE TABLE published (
        window BLOB PRIMARY KEY,
        url TEXT NOT NULL,
        size INTEGER NOT NULL,
        verified_ms INTEGER NOT NULL
    ) STRICT;
    """,
    # A public address may change while bonds still rest on the old one: copies are kept by address, fills name theirs.
    """
    CREATE TABLE alarms (
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        message TEXT NOT NULL,
        raised_ms INTEGER NOT NULL,
        cleared_ms INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX one_open_alarm ON alarms (kind, subject) WHERE cleared_ms IS NULL;

    ALTER TABLE fills ADD COLUMN url TEXT;
    CREATE TABLE copies (
        window BLOB NOT NULL,
        url TEXT NOT NULL,
        size INTEGER NOT NULL,
        verified_ms INTEGER NOT NULL,
        PRIMARY KEY (window, url)
    ) STRICT;
    INSERT INTO copies SELECT window, url, size, verified_ms FROM published;
    DROP TABLE published;
    ALTER TABLE copies RENAME TO published;
    """,
    """
    ALTER TABLE fills DROP COLUMN latency_ms;
    ALTER TABLE epochs ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE timings (
        target_id BLOB PRIMARY KEY,
        origin TEXT NOT NULL CHECK (origin IN ('own', 'others', 'listed')),
        birth_ms INTEGER,
        known_ms INTEGER NOT NULL,
        matched_ms INTEGER NOT NULL,
        signed_ms INTEGER NOT NULL,
        landed_ms INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE scoring (
        weights_checksum BLOB PRIMARY KEY,
        windows INTEGER NOT NULL,
        seconds REAL NOT NULL
    ) STRICT;

    CREATE TABLE outlooks (
        epoch INTEGER PRIMARY KEY,
        outlook TEXT NOT NULL
    ) STRICT;
    """,
    """
    CREATE INDEX failed_intents ON intents (kind, epoch, subject) WHERE status = 'failed';
    CREATE INDEX fees_by_epoch ON movements (epoch, amount) WHERE item GLOB 'fee_*';
    CREATE INDEX bonds_by_state ON fills (state, bond);
    DROP INDEX fills_by_state;
    """,
    # What a review tells of targets we did not get: how near the bank came, and who was how fast.
    """
    CREATE TABLE unfilled (
        target_id BLOB PRIMARY KEY,
        epoch INTEGER NOT NULL,
        fate TEXT NOT NULL CHECK (fate IN ('lost', 'missed', 'far')),
        distance_threshold REAL NOT NULL,
        reward INTEGER NOT NULL,
        distance REAL,
        model BLOB,
        open_ms INTEGER,
        taker BLOB,
        taker_model BLOB
    ) STRICT;
    CREATE INDEX unfilled_by_epoch ON unfilled (epoch);
    """,
    # Sums over all fills and movements, read from the indexes alone.
    """
    CREATE INDEX fill_sums ON fills (epoch, state, reward, bond);
    DROP INDEX fills_by_epoch;
    CREATE INDEX movement_sums ON movements (epoch, item, amount);
    """,
    # What is asked for many times a second must not read every row there ever was: sums, kept by the database itself.
    # (A trigger's statements take the conflict clause of the statement that fired it, so these do without upserts.)
    """
    DROP INDEX movement_sums;
    DROP INDEX fill_sums;
    DROP INDEX bonds_by_state;
    DROP INDEX fees_by_epoch;
    CREATE INDEX fills_by_epoch ON fills (epoch);

    CREATE TABLE movement_sums (
        epoch INTEGER NOT NULL,
        item TEXT NOT NULL,
        amount INTEGER NOT NULL,
        PRIMARY KEY (epoch, item)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO movement_sums SELECT epoch, item, SUM(amount) FROM movements GROUP BY epoch, item;
    CREATE TRIGGER movement_added AFTER INSERT ON movements BEGIN
        INSERT OR IGNORE INTO movement_sums VALUES (new.epoch, new.item, 0);
        UPDATE movement_sums SET amount = amount + new.amount WHERE epoch = new.epoch AND item = new.item;
    END;

    CREATE TABLE fill_sums (
        epoch INTEGER NOT NULL,
        state TEXT NOT NULL,
        reward INTEGER NOT NULL,
        bond INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (epoch, state, reward, bond)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO fill_sums SELECT epoch, state, reward, bond, COUNT(*) FROM fills GROUP BY 1, 2, 3, 4;
    CREATE TRIGGER fill_added AFTER INSERT ON fills BEGIN
        INSERT OR IGNORE INTO fill_sums VALUES (new.epoch, new.state, new.reward, new.bond, 0);
        UPDATE fill_sums SET number = number + 1
            WHERE epoch = new.epoch AND state = new.state AND reward = new.reward AND bond = new.bond;
    END;
    CREATE TRIGGER fill_changed AFTER UPDATE OF state ON fills BEGIN
        UPDATE fill_sums SET number = number - 1
            WHERE epoch = old.epoch AND state = old.state AND reward = old.reward AND bond = old.bond;
        INSERT OR IGNORE INTO fill_sums VALUES (new.epoch, new.state, new.reward, new.bond, 0);
        UPDATE fill_sums SET number = number + 1
            WHERE epoch = new.epoch AND state = new.state AND reward = new.reward AND bond = new.bond;
    END;
    """,
)


def connect(path: Path) -> sqlite3.Connection:
    """Opens (or makes) a ledger and brings its tables up to date. Durable: write-ahead log, synced at every commit.

    Raises:
        StateError: the file is of a newer version, damaged, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    except (sqlite3.DatabaseError, OSError) as error:
        raise _cannot_be_opened(path, error) from error
    try:
        with _alone_in(path.parent):
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA foreign_keys = ON")
            version = _migrate(database)
    except (sqlite3.DatabaseError, OSError) as error:
        database.close()
        raise _cannot_be_opened(path, error) from error
    if version > len(MIGRATIONS):
        database.close()
        raise _too_new(path, version)
    return database


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Opens a ledger that is there to read it as it is at this moment: what others write afterwards does not show.

    Raises:
        StateError: there is none, it is damaged, or it is of another version.
    """
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
    except sqlite3.DatabaseError as error:
        raise _cannot_be_read(path, error) from error
    try:
        database.execute("BEGIN")
        (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        database.close()
        raise _cannot_be_read(path, error) from error
    if version != len(MIGRATIONS):
        database.close()
        if version > len(MIGRATIONS):
            raise _too_new(path, version)
        raise StateError(
            f"the ledger {path} is of version {version}, this program knows {len(MIGRATIONS)}; "
            "`uv run status` brings it up to date"
        )
    return database


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps other programs that open a ledger in `folder` waiting: SQLite itself does not wait where one of two turns
    the write-ahead log on.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _migrate(database: sqlite3.Connection) -> int:
    """Runs the migrations a file lacks, each in one commit; the file's version afterwards."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        database.executescript(f"BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;")
    return max(int(version), len(MIGRATIONS))


def _too_new(path: Path, version: int) -> StateError:
    return StateError(
        f"the ledger {path} is of version {version}, this program knows {len(MIGRATIONS)}; "
        "update the program, or set QUICKSTART_STATE to another folder"
    )


def _cannot_be_read(path: Path, error: Exception) -> StateError:
    return StateError(f"the ledger {path} cannot be read ({error}); mend its permissions or restore a copy")


def _cannot_be_opened(path: Path, error: Exception) -> StateError:
    return StateError(f"the ledger {path} cannot be opened ({error}); free disk space or restore a copy")
