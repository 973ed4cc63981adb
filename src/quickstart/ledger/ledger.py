"""The ledger: intents, outcomes, coins and money of one wallet on one chain."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from quickstart.chain.coins import Coin, CoinChanges
from quickstart.chain.ids import Id32, derive_id
from quickstart.chain.transactions import ObjectRef
from quickstart.errors import StateError
from quickstart.ledger.records import (
    Alarm,
    AlarmKind,
    EpochReport,
    Fate,
    Fill,
    FillState,
    FillSum,
    Intent,
    IntentKind,
    IntentStatus,
    Movement,
    Origin,
    Published,
    Submission,
    Timing,
    Unfilled,
)
from quickstart.ledger.schema import connect, connect_read_only

T = TypeVar("T")


class ConflictError(Exception):
    """An intent names a coin version, or a target, that another live intent already names. Nothing was recorded."""


class Ledger:
    """One SQLite file. Methods are synchronous and safe to call from any thread; each is one commit unless grouped.

    `read_only`: for a file that is there; shows it as it was at one moment, whoever writes meanwhile.

    Raises (from every method): StateError when the disk is full or the file damaged.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._database = connect_read_only(path) if read_only else connect(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._kept: dict[tuple[Any, ...], list[sqlite3.Row]] = {}

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def group(self, operations: Iterable[Callable[["Ledger"], Any]]) -> list[Any]:
        """Runs several operations in one commit. One that conflicts is undone alone; its error is its result."""
        results: list[Any] = []
        with self._transaction():
            for operation in operations:
                self._database.execute("SAVEPOINT operation")
                try:
                    results.append(operation(self))
                except ConflictError as conflict:
                    self._database.execute("ROLLBACK TO operation")
                    results.append(conflict)
                self._database.execute("RELEASE operation")
        return results

    # -- intents and their outcomes

    def record(self, intent: Intent) -> None:
        """Makes a signed transaction durable, before it is sent. One that was refused before, to the byte the same (the
        same coins for the same thing), is pending again.

        Raises:
            ConflictError: a coin version, the target or the very bytes are already named by a live intent.
        """
        with self._transaction() as database:
            try:
                recorded = database.execute(
                    "INSERT INTO intents (digest, kind, subject, epoch, created_ms, signed, details) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET status = 'pending', "
                    "outcome = NULL, settled_ms = NULL, subject = excluded.subject, epoch = excluded.epoch, "
                    "created_ms = excluded.created_ms, signed = excluded.signed, details = excluded.details "
                    "WHERE status = 'refused'",
                    (
                        intent.digest,
                        intent.kind.value,
                        intent.subject,
                        intent.epoch,
                        intent.created_ms,
                        intent.signed,
                        json.dumps(intent.details),
                    ),
                )
                if not recorded.rowcount:
                    raise ConflictError("these very bytes are in the ledger already")
                database.executemany(
                    "INSERT INTO intent_coins VALUES (?, ?, ?, ?, ?)",
                    [(*_coin_row(coin), intent.digest) for coin in intent.coins],
                )
            except sqlite3.IntegrityError as error:
                raise ConflictError(str(error)) from error

    def settle(
        self,
        digest: Id32,
        status: IntentStatus,
        *,
        outcome: str | None,
        executed_epoch: int,
        settled_ms: int,
        changes: CoinChanges,
        movements: Iterable[Movement],
    ) -> None:
        """Records what an executed transaction did: its status, our coins after it, and the money it moved.

        Once: one that is settled already stays as it is, since its coins may have moved on.
        """
        with self._transaction() as database:
            updated = database.execute(
                "UPDATE intents SET status = ?, outcome = ?, executed_epoch = ?, settled_ms = ? "
                "WHERE digest = ? AND status = 'pending'",
                (status.value, outcome, executed_epoch, settled_ms, digest),
            )
            if not updated.rowcount:
                return
            spent = database.execute("SELECT coin_id FROM intent_coins WHERE digest = ?", (digest,)).fetchall()
            database.executemany("DELETE FROM coins WHERE coin_id = ?", spent)
            database.executemany("DELETE FROM coins WHERE coin_id = ?", [(coin_id,) for coin_id in changes.gone])
            self.keep_coins(changes.written)
            self.move(digest, movements, executed_epoch)

    def refuse(self, digest: Id32, reason: str, settled_ms: int) -> None:
        """Records that a transaction was refused before execution: its coins are as they were, and free again."""
        with self._transaction() as database:
            database.execute(
                "UPDATE intents SET status = 'refused', outcome = ?, settled_ms = ? WHERE digest = ?",
                (reason, settled_ms, digest),
            )
            database.execute("DELETE FROM intent_coins WHERE digest = ?", (digest,))

    def pending(self) -> tuple[Intent, ...]:
        """Intents whose outcome is not known, oldest first."""
        rows = self._rows("SELECT * FROM intents WHERE status = 'pending' ORDER BY created_ms, rowid")
        return tuple(self._intent(row) for row in rows)

    def landed(self, kind: IntentKind) -> tuple[tuple[Intent, int], ...]:
        """Intents of `kind` that landed, each with the epoch it was executed in, oldest first."""
        query = "SELECT * FROM intents WHERE kind = ? AND status = 'landed' ORDER BY settled_ms, digest"
        return tuple((self._intent(row), int(row["executed_epoch"])) for row in self._rows(query, kind.value))

    def live_subjects(self, kind: IntentKind) -> frozenset[Id32]:
        """Targets that a pending or landed intent of `kind` is about."""
        query = "SELECT subject FROM intents WHERE kind = ? AND status IN ('pending', 'landed') AND subject IS NOT NULL"
        return frozenset(row["subject"] for row in self._rows(query, kind.value))

    def taken_subjects(self, kind: IntentKind, epoch: int, among: Iterable[Id32]) -> frozenset[Id32]:
        """Those targets `among` these that a live intent of `kind` is about, and all that one failed for in `epoch`."""
        asked = list(among)
        query = (
            "SELECT subject FROM intents WHERE kind = ? AND status IN ('pending', 'landed') AND subject IS NOT NULL "
            f"AND subject IN ({', '.join('?' * len(asked))})"
        )
        live = frozenset(row["subject"] for row in self._rows(query, kind.value, *asked))
        return live | self.failed_subjects(kind, epoch)

    def failed_subjects(self, kind: IntentKind, epoch: int) -> frozenset[Id32]:
        """Targets for which an intent of `kind` made in `epoch` executed and failed: somebody else has them."""
        query = "SELECT subject FROM intents WHERE kind = ? AND status = 'failed' AND epoch = ? AND subject IS NOT NULL"
        return frozenset(row["subject"] for row in self._figures(query, kind.value, epoch))

    def submissions(self, epoch: int | None = None) -> tuple[Submission, ...]:
        """Every submission that may have landed, oldest first; or those that filled a target in `epoch`."""
        among = "" if epoch is None else "AND subject IN (SELECT target_id FROM fills WHERE epoch = ?)"
        query = f"SELECT * FROM intents WHERE kind = 'submit' AND status IN ('pending', 'landed') {among}"
        return tuple(
            Submission(row["subject"], row["digest"], row["epoch"], json.loads(row["details"]))
            for row in self._rows(f"{query} ORDER BY created_ms", *([] if epoch is None else [epoch]))
        )

    def data_used(self) -> tuple[tuple[str | None, str | None, int], ...]:
        """How many submissions that may have landed came from each source under each licence, None where not noted."""
        query = """
            SELECT json_extract(details, '$.provenance.source') AS source,
                json_extract(details, '$.provenance.licence') AS licence, COUNT(*) AS number
            FROM intents WHERE kind = 'submit' AND status IN ('pending', 'landed') GROUP BY source, licence
        """
        return tuple((row["source"], row["licence"], row["number"]) for row in self._rows(query))

    def _intent(self, row: sqlite3.Row) -> Intent:
        coins = self._rows("SELECT * FROM intent_coins WHERE digest = ? ORDER BY rowid", row["digest"])
        return Intent(
            digest=row["digest"],
            kind=IntentKind(row["kind"]),
            subject=row["subject"],
            epoch=row["epoch"],
            created_ms=row["created_ms"],
            signed=row["signed"],
            coins=tuple(map(_coin, coins)),
            details=json.loads(row["details"]),
        )

    # -- coins and money

    def coins(self) -> tuple[Coin, ...]:
        """Our coins as of the last settled transaction or reconciliation."""
        return tuple(map(_coin, self._rows("SELECT * FROM coins ORDER BY coin_id")))

    def keep_coins(self, coins: Iterable[Coin]) -> None:
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO coins VALUES (?, ?, ?, ?)", map(_coin_row, coins))

    def forget_coins(self, coin_ids: Iterable[Id32]) -> None:
        with self._transaction() as database:
            database.executemany("DELETE FROM coins WHERE coin_id = ?", [(coin_id,) for coin_id in coin_ids])

    def replace_coin(self, known: Coin, found: Coin | None, epoch: int) -> None:
        """Brings one coin to what the chain has (None: gone), if that is newer: somebody else used it.

        The money goes under the digest of the coin's new version, or for its end under one made from its last.
        """
        if found is not None and found.ref.version <= known.ref.version:
            return
        with self._transaction():
            self.forget_coins([known.coin_id])
            self.keep_coins([found] if found else [])
            balance, digest = (found.balance, found.ref.digest) if found else (0, derive_id(known.ref.digest, 0))
            self.move(digest, [Movement("external", balance - known.balance)], epoch)

    def move(self, digest: Id32, movements: Iterable[Movement], epoch: int) -> None:
        """Adds money under a transaction's digest; the same item of the same transaction counts once."""
        with self._transaction() as database:
            database.executemany(
                "INSERT OR IGNORE INTO movements VALUES (?, ?, ?, ?)",
                [(digest, movement.item, movement.amount, epoch) for movement in movements if movement.amount],
            )

    def fees(self, epoch: int) -> int:
        """Shannons of fees paid in one epoch, a day of the network."""
        query = "SELECT COALESCE(-SUM(amount), 0) AS fees FROM movement_sums WHERE item GLOB 'fee_*' AND epoch = ?"
        return int(self._figures(query, epoch)[0]["fees"])

    def totals(self) -> Mapping[str, int]:
        """Shannons by item; their sum is what the wallet must hold on the chain."""
        rows = self._rows("SELECT item, SUM(amount) AS total FROM movement_sums GROUP BY item ORDER BY item")
        return {row["item"]: row["total"] for row in rows}

    def movements(self) -> Mapping[int, Mapping[str, int]]:
        """Shannons by epoch and item; over all epochs they are `totals`."""
        found: dict[int, dict[str, int]] = {}
        for row in self._rows("SELECT * FROM movement_sums ORDER BY epoch, item"):
            found.setdefault(row["epoch"], {})[row["item"]] = row["amount"]
        return found

    # -- fills

    def add_fills(self, fills: Iterable[Fill]) -> None:
        """Adds fills the ledger does not have yet."""
        rows = [(f.target_id, f.digest, f.epoch, f.reward, f.bond, f.window, f.state.value, f.url) for f in fills]
        with self._transaction() as database:
            database.executemany("INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def mark_fill(self, target_id: Id32, state: FillState) -> None:
        with self._transaction() as database:
            database.execute("UPDATE fills SET state = ? WHERE target_id = ?", (state.value, target_id))

    def fills(self, state: FillState | None = None, epoch: int | None = None) -> tuple[Fill, ...]:
        """All of them, or those of one state, or of one epoch."""
        query = "SELECT * FROM fills WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR epoch = ?2)"
        rows = self._rows(f"{query} ORDER BY epoch, target_id", state, epoch)
        return tuple(Fill(**{**dict(row), "state": FillState(row["state"])}) for row in rows)

    def fill_sums(self) -> tuple[FillSum, ...]:
        """All fills, counted by epoch, state, reward and bond."""
        rows = self._rows("SELECT epoch, state, reward, bond, number AS count FROM fill_sums WHERE number > 0")
        return tuple(FillSum(**{**dict(row), "state": FillState(row["state"])}) for row in rows)

    def add_timing(self, timing: Timing) -> None:
        with self._transaction() as database:
            values = tuple(getattr(timing, name) for name in Timing.__dataclass_fields__)
            database.execute("INSERT OR IGNORE INTO timings VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def timings(self, since_epoch: int = 0, until_epoch: int | None = None) -> tuple[Timing, ...]:
        """Of the fills of `since_epoch` and later, to the end of `until_epoch`."""
        rows = self._rows(
            "SELECT timings.* FROM timings JOIN fills USING (target_id) "
            "WHERE epoch >= ?1 AND (?2 IS NULL OR epoch <= ?2) ORDER BY landed_ms",
            since_epoch,
            until_epoch,
        )
        return tuple(Timing(**{**dict(row), "origin": Origin(row["origin"])}) for row in rows)

    def hits(self, epoch: int) -> int:
        """Targets we filled in one epoch."""
        return int(self._figures("SELECT COUNT(*) AS hits FROM fills WHERE epoch = ?", epoch)[0]["hits"])

    def last_hit_ms(self) -> int | None:
        """When we last filled a target, ms since 1970; None for never."""
        query = "SELECT MAX(settled_ms) AS at_ms FROM intents WHERE kind = 'submit' AND status = 'landed'"
        at_ms = self._rows(query)[0]["at_ms"]
        return None if at_ms is None else int(at_ms)

    def fill_counts(self) -> Mapping[FillState, int]:
        """All our fills by what became of them."""
        rows = self._figures("SELECT state, SUM(number) AS number FROM fill_sums GROUP BY state HAVING SUM(number) > 0")
        return {FillState(row["state"]): row["number"] for row in rows}

    def distinct_windows(self, since_epoch: int = 0) -> int:
        """With how many windows targets were filled in `since_epoch` and later; those that are not known are one."""
        query = "SELECT COUNT(*) AS number FROM (SELECT DISTINCT window FROM fills WHERE epoch >= ?)"
        return int(self._rows(query, since_epoch)[0]["number"])

    def bond_outstanding(self) -> int:
        """Shannons locked in fills that are not claimed yet."""
        query = "SELECT COALESCE(SUM(bond * number), 0) AS bond FROM fill_sums WHERE state = 'filled'"
        return int(self._figures(query)[0]["bond"])

    def counts(self, kind: IntentKind) -> Mapping[IntentStatus, int]:
        query = "SELECT status, COUNT(*) AS number FROM intents WHERE kind = ? GROUP BY status"
        return {IntentStatus(row["status"]): row["number"] for row in self._rows(query, kind.value)}

    # -- epochs, published windows, weights

    def report_epoch(self, report: EpochReport) -> None:
        names = tuple(EpochReport.__dataclass_fields__)
        query = f"INSERT OR REPLACE INTO epochs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        with self._transaction() as database:
            database.execute(query, tuple(getattr(report, name) for name in names))

    def epoch_reports(self) -> tuple[EpochReport, ...]:
        return tuple(EpochReport(**dict(row)) for row in self._rows("SELECT * FROM epochs ORDER BY epoch"))

    def note_unfilled(self, targets: Iterable[Unfilled]) -> None:
        """Keeps targets that an epoch left unfilled; of one that is kept already, what is told now."""
        names = tuple(Unfilled.__dataclass_fields__)
        query = f"INSERT OR REPLACE INTO unfilled ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        with self._transaction() as database:
            database.executemany(query, [tuple(getattr(target, name) for name in names) for target in targets])

    def unfilled(self, epoch: int) -> tuple[Unfilled, ...]:
        """Of one epoch: lost ones first, then missed ones, each by how near the bank came."""
        query = (
            "SELECT * FROM unfilled WHERE epoch = ? "
            "ORDER BY fate = 'far', fate, distance IS NULL, distance - distance_threshold, target_id"
        )
        return tuple(Unfilled(**{**dict(row), "fate": Fate(row["fate"])}) for row in self._rows(query, epoch))

    def latest_epoch(self) -> int:
        """The latest epoch anything of ours happened in or was reported for; 0 for an empty ledger."""
        places = ["epochs", "movement_sums", "fills", *(f"intents WHERE kind = '{kind}'" for kind in IntentKind)]
        latest = " UNION ALL ".join(f"SELECT MAX(epoch) AS epoch FROM {place}" for place in places)
        return int(self._rows(f"SELECT MAX(epoch) AS epoch FROM ({latest})")[0]["epoch"] or 0)

    def publish(self, published: Published) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)",
                (published.window, published.url, published.size, published.verified_ms),
            )

    def published(self) -> tuple[Published, ...]:
        """Every public copy that was made, by window and address."""
        return tuple(Published(**dict(row)) for row in self._rows("SELECT * FROM published ORDER BY window, url"))

    def published_bytes(self) -> int:
        """The size of all public copies together."""
        return int(self._rows("SELECT COALESCE(SUM(size), 0) AS size FROM published")[0]["size"])

    def forget_published(self, windows: Iterable[Id32]) -> None:
        with self._transaction() as database:
            database.executemany("DELETE FROM published WHERE window = ?", [(window,) for window in windows])

    # -- alarms

    def raise_alarm(self, alarm: Alarm) -> bool:
        """Keeps an alarm, unless one of its kind and subject is open already; whether it is new."""
        with self._transaction() as database:
            cursor = database.execute(
                "INSERT OR IGNORE INTO alarms VALUES (?, ?, ?, ?, NULL)",
                (alarm.kind.value, alarm.subject, alarm.message, alarm.raised_ms),
            )
            return cursor.rowcount > 0

    def clear_alarms(self, kind: AlarmKind, at_ms: int, subject: str | None = None) -> bool:
        """Closes what is open of a kind (and a subject); whether anything was."""
        with self._transaction() as database:
            cursor = database.execute(
                "UPDATE alarms SET cleared_ms = ?1 "
                "WHERE kind = ?2 AND (?3 IS NULL OR subject = ?3) AND cleared_ms IS NULL",
                (at_ms, kind.value, subject),
            )
            return cursor.rowcount > 0

    def alarms(self) -> tuple[Alarm, ...]:
        """Every alarm there ever was, oldest first; `cleared_ms` is None for open ones."""
        rows = self._rows("SELECT * FROM alarms ORDER BY raised_ms, kind, subject")
        return tuple(Alarm(**{**dict(row), "kind": AlarmKind(row["kind"])}) for row in rows)

    def name_weights(self, weights_id: Id32, weights_checksum: Id32) -> None:
        """Remembers which weights an encrypted file and its key hold, so that a restart need not fetch it to know.

        `weights_id`: `ActiveModel.weights_id`.
        """
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO model_weights VALUES (?, ?)", (weights_id, weights_checksum))

    def weights_names(self) -> Mapping[Id32, Id32]:
        rows = self._rows("SELECT * FROM model_weights")
        return {row["encrypted_checksum"]: row["weights_checksum"] for row in rows}

    # -- scoring

    def add_scoring(self, scored: Iterable[tuple[Id32, int, float]]) -> None:
        """Adds to what each model has scored: its weights checksum, windows, and the GPU seconds they took."""
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO scoring VALUES (?, ?, ?) ON CONFLICT (weights_checksum) "
                "DO UPDATE SET windows = windows + excluded.windows, seconds = seconds + excluded.seconds",
                list(scored),
            )

    def scoring(self) -> Mapping[Id32, tuple[int, float]]:
        """Windows and GPU seconds so far, by weights checksum."""
        rows = self._rows("SELECT * FROM scoring")
        return {row["weights_checksum"]: (row["windows"], row["seconds"]) for row in rows}

    def keep_outlook(self, epoch: int, outlook: Mapping[str, Any]) -> None:
        """Remembers which targets were expected last, so that scoring can be planned without the network."""
        with self._transaction() as database:
            database.execute("DELETE FROM outlooks WHERE epoch < ?", (epoch,))
            database.execute("INSERT OR REPLACE INTO outlooks VALUES (?, ?)", (epoch, json.dumps(outlook)))

    def outlook(self) -> Mapping[str, Any] | None:
        """What `keep_outlook` kept last."""
        rows = self._rows("SELECT outlook FROM outlooks ORDER BY epoch DESC LIMIT 1")
        return json.loads(rows[0]["outlook"]) if rows else None

    # -- plumbing

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds, for questions of other modules of this folder."""
        return self._rows(query, *values)

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            cursor = self._database.cursor()
            cursor.row_factory = sqlite3.Row
            try:
                return cursor.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise StateError(f"the ledger {self.path} cannot be read ({error}); restore a copy of it") from error

    def _figures(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Rows that are asked for many times a second and read many others: kept until something is written here."""
        key = (query, *values)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._rows(query, *values)
            return self._kept[key]

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database, self._lock, self)


class _Transaction:
    """One commit; transactions inside it join it."""

    def __init__(self, database: sqlite3.Connection, lock: threading.RLock, ledger: Ledger) -> None:
        self._database, self._lock, self._ledger = database, lock, ledger

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        if self._ledger._depth == 0:
            try:
                self._database.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                self._lock.release()
                raise _state_error(self._ledger.path, error) from error
        self._ledger._depth += 1
        return self._database

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ledger._depth -= 1
        try:
            if self._ledger._depth == 0 and error is None:
                self._database.execute("COMMIT")
        except sqlite3.Error as failure:
            raise _state_error(self._ledger.path, failure) from failure
        finally:
            self._ledger._kept.clear()
            if self._ledger._depth == 0 and self._database.in_transaction:
                self._database.rollback()
            self._lock.release()
        if isinstance(error, sqlite3.DatabaseError):
            raise _state_error(self._ledger.path, error) from error


def _state_error(path: Path, error: BaseException) -> StateError:
    return StateError(f"the ledger {path} cannot be written ({error}); free disk space and run this again")


def _coin_row(coin: Coin) -> tuple[Id32, int, Id32, int]:
    return coin.ref.object_id, coin.ref.version, coin.ref.digest, coin.balance


def _coin(row: sqlite3.Row) -> Coin:
    return Coin(ObjectRef(row["coin_id"], row["version"], row["object_digest"]), row["balance"])
