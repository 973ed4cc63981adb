"""Submissions a page at a time, the newest first, with a search whose work has a bound."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quickstart.chain.ids import Id32, parse_digest, parse_id
from quickstart.errors import UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Origin

PAGE_ROWS = 50
STEP_ROWS = 500
"""Submissions that a search looks at between two glances at the clock."""

SEARCH_SECONDS = 0.03

MOST_ROWID = 2**63 - 1
"""The largest integer of a table."""


def number(text: str) -> int | None:
    """A number that a table can hold; None for any other text, however long it is."""
    if not text.isdecimal() or len(text) > len(str(MOST_ROWID)) or int(text) > MOST_ROWID:
        return None
    return int(text)


class State(StrEnum):
    """What became of a submission. `open`: landed, and not claimed yet; `landed`: its fill is not in the books."""

    PENDING = "pending"
    FAILED = "failed"
    REFUSED = "refused"
    OPEN = "open"
    CLAIMED = "claimed"
    SLASHED = "slashed"
    LANDED = "landed"


@dataclass(frozen=True, slots=True)
class Place:
    """Between which two submissions a page ends: everything of an earlier epoch, or noted before `rowid`, follows."""

    epoch: int
    rowid: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.rowid}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises UsageError: `text` is no place."""
        epoch, _, rowid = text.partition("-")
        found = number(epoch), number(rowid)
        if found[0] is None or found[1] is None:
            raise UsageError("before= is no place in the list: leave it out to begin with the newest")
        return cls(found[0], found[1])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which submissions. `text`: in target, transaction, window, model, address or provenance, in any case."""

    text: str = ""
    state: State | None = None
    epoch: int | None = None

    @property
    def all(self) -> bool:
        return not self.text and self.state is None


@dataclass(frozen=True, slots=True)
class Sent:
    """A submission. `details`: as noted when it was signed; `reward`, `bond` in shannons; times in ms since 1970.

    `latency_ms`: from the target's birth, or our first sight of it, to execution; None where not timed.
    """

    digest: Id32
    target_id: Id32
    epoch: int
    state: State
    outcome: str | None
    created_ms: int
    reward: int | None
    bond: int | None
    origin: Origin | None
    latency_ms: int | None
    details: Mapping[str, Any]

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.details.get("provenance") or {}


@dataclass(frozen=True, slots=True)
class Page:
    """`older`: where the next page begins, None at the end. `cut_short`: the search stopped there with room left."""

    rows: tuple[Sent, ...]
    older: Place | None
    cut_short: bool = False


def page(
    ledger: Ledger,
    wanted: Wanted,
    before: Place | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Page:
    """At most `PAGE_ROWS` submissions older than `before`. A search that takes long stops with what it has found."""
    start = before or Place(MOST_ROWID, MOST_ROWID)
    if wanted.all:
        return _page(_rows(ledger, wanted, start, None, PAGE_ROWS + 1))
    if found := _named(ledger, wanted):
        return Page(found, None)
    until, matches = clock() + SEARCH_SECONDS, list[tuple[Place, Sent]]()
    while True:
        most = PAGE_ROWS + 1 - len(matches)
        end = _step(ledger, wanted, start)
        maybe = _rows(ledger, wanted, start, end, most)
        matches += [one for one in maybe if not wanted.text or _matches(one[1], wanted.text)]
        if len(maybe) == most:
            end = maybe[-1][0]
        if len(matches) > PAGE_ROWS or end is None:
            return _page(matches)
        if clock() >= until:
            return Page(tuple(sent for _, sent in matches), end, cut_short=True)
        start = end


def submission(ledger: Ledger, digest: Id32) -> Sent | None:
    """The submission with this transaction digest."""
    rows = ledger.rows(f"{_SELECT} WHERE i.digest = ? AND i.kind = 'submit'", digest)
    return _sent(rows[0]) if rows else None


_STATE = """
    CASE COALESCE(f.state, i.status) WHEN 'filled' THEN 'open' ELSE COALESCE(f.state, i.status) END
"""
_SELECT = f"""
    SELECT i.rowid AS place, i.digest, i.subject, i.epoch, {_STATE} AS state, i.outcome, i.created_ms, i.details,
           f.reward, f.bond, t.origin, t.landed_ms - COALESCE(t.birth_ms, t.known_ms) AS latency_ms
    FROM intents i
    LEFT JOIN fills f ON f.target_id = i.subject AND i.status = 'landed'
    LEFT JOIN timings t ON t.target_id = f.target_id
"""
_ORDER = "ORDER BY i.epoch DESC, i.rowid DESC LIMIT"
_SEARCHED = ("window", "model", "url")


def _page(rows: list[tuple[Place, Sent]]) -> Page:
    """One row more than fits tells that there is another page."""
    more = len(rows) > PAGE_ROWS
    return Page(tuple(sent for _, sent in rows[:PAGE_ROWS]), rows[PAGE_ROWS - 1][0] if more else None)


def _rows(ledger: Ledger, wanted: Wanted, start: Place, end: Place | None, limit: int) -> list[tuple[Place, Sent]]:
    """What may be wanted between two places, `end` included: SQL sees whether details have the text, not where."""
    where, values = _between(wanted, start)
    if end is not None:
        where, values = f"{where} AND (i.epoch, i.rowid) >= (?, ?)", [*values, end.epoch, end.rowid]
    if wanted.state is not None:
        where, values = f"{where} AND {_STATE} = ?", [*values, wanted.state.value]
    if wanted.text:
        where += " AND (i.details LIKE ? ESCAPE '\\' OR hex(i.subject) LIKE ? ESCAPE '\\')"
        values += [_pattern(json.dumps(wanted.text)[1:-1]), _pattern(wanted.text.removeprefix("0x"))]
    rows = ledger.rows(f"{_SELECT} WHERE {where} {_ORDER} ?", *values, limit)
    return [(Place(row["epoch"], row["place"]), _sent(row)) for row in rows]


def _step(ledger: Ledger, wanted: Wanted, start: Place) -> Place | None:
    """The place `STEP_ROWS` submissions on, by the index alone; None if there are fewer."""
    where, values = _between(wanted, start)
    query = f"SELECT i.epoch, i.rowid AS place FROM intents i WHERE {where} {_ORDER} 1 OFFSET {STEP_ROWS - 1}"
    rows = ledger.rows(query, *values)
    return Place(rows[0]["epoch"], rows[0]["place"]) if rows else None


def _between(wanted: Wanted, start: Place) -> tuple[str, list[Any]]:
    where, values = "i.kind = 'submit' AND (i.epoch, i.rowid) < (?, ?)", [start.epoch, start.rowid]
    if wanted.epoch is not None:
        where, values = f"{where} AND i.epoch = ?", [*values, wanted.epoch]
    return where, values


def _named(ledger: Ledger, wanted: Wanted) -> tuple[Sent, ...]:
    """The submissions whose transaction or target `text` is, in full: found by an index."""
    found: dict[Id32, Sent] = {}
    for name in _ids(wanted.text):
        for query in ("i.digest = ?", "i.subject = ? AND i.status IN ('pending', 'landed')"):
            for row in ledger.rows(f"{_SELECT} WHERE i.kind = 'submit' AND {query}", name):
                found[row["digest"]] = _sent(row)
    kept = (sent for sent in found.values() if wanted.epoch in (None, sent.epoch))
    return tuple(sent for sent in kept if wanted.state in (None, sent.state))


def _ids(text: str) -> Iterable[Id32]:
    for parse in (parse_id, parse_digest):
        try:
            yield parse(text)
        except ValueError:
            continue


def _matches(sent: Sent, text: str) -> bool:
    values = [sent.details.get(name) for name in _SEARCHED] + list(sent.provenance.values())
    wanted = text.casefold()
    return wanted.removeprefix("0x") in sent.target_id.hex() or any(
        wanted in str(value).casefold() for value in values if value is not None
    )


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _sent(row: sqlite3.Row) -> Sent:
    return Sent(
        digest=row["digest"],
        target_id=row["subject"],
        epoch=row["epoch"],
        state=State(row["state"]),
        outcome=row["outcome"],
        created_ms=row["created_ms"],
        reward=row["reward"],
        bond=row["bond"],
        origin=Origin(row["origin"]) if row["origin"] else None,
        latency_ms=row["latency_ms"],
        details=json.loads(row["details"]),
    )
