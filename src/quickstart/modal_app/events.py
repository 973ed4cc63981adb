"""What a deployment says, kept on a volume for thirty days: Modal itself keeps a day.

A handler of `logging` writes each record as one line of JSON into a file of its day and container, so that no two
writers share one. The file is closed after each line: a volume cannot be brought up to date while one is open. Secrets
are taken out before anything is written.
"""

import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quickstart.child_environment import secret_names
from quickstart.logs import hide_urls
from quickstart.units import DAYS, MIB

KEPT_DAYS = 30
MOST_BYTES_A_DAY = 20 * MIB
"""Of one container; beyond it, warnings and errors are kept and nothing else."""

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Characters; shorter values are no secrets, and would be found in every second word."""

_SECRET_FORMS = (
    (re.compile(r"somaprivkey1[02-9ac-hj-np-z]+", re.IGNORECASE), HIDDEN),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), HIDDEN),
    (re.compile(r"((?:X-Amz-[A-Za-z-]+|AWSAccessKeyId|Signature|Key-Pair-Id|Policy)=)[^&\s\"']+"), rf"\1{HIDDEN}"),
)

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `at_ms`: since 1970; `place`: the container it is from; `fields`: what was logged besides the words."""

    at_ms: int
    level: str
    logger: str
    message: str
    place: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        return json.dumps(
            {
                "at_ms": self.at_ms,
                "level": self.level,
                "logger": self.logger,
                "message": self.message,
                "place": self.place,
                **({"fields": dict(self.fields)} if self.fields else {}),
            },
            default=str,
        )


def parse_line(line: str) -> Event | None:
    """An event as it was written; None for a line that was cut off when its container was."""
    try:
        row = json.loads(line)
        fields = {str(name): value for name, value in row.get("fields", {}).items()}
        return Event(int(row["at_ms"]), row["level"], row["logger"], row["message"], row["place"], fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Redactor:
    """Takes secrets out of texts: the given values, and what has the form of one. Safe to call from threads."""

    def __init__(self, values: Iterable[str]) -> None:
        known = sorted({value for value in values if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for form, instead in _SECRET_FORMS:
            text = form.sub(instead, text)
        return text

    def value(self, value: Any) -> Any:
        """The same of anything that a record carries besides its words."""
        return value if isinstance(value, bool | int | float | None) else self(str(value))


def redactor_of(environment: Mapping[str, str]) -> Redactor:
    """For a process with these variables."""
    return Redactor(environment.get(name, "") for name in secret_names())


class EventStore(logging.Handler):
    """Writes records into `folder`. `clock`: seconds since 1970. Whatever fails here fails silently: it must not end
    what it tells of.
    """

    def __init__(self, folder: Path, place: str, redact: Redactor, clock: Callable[[], float] = time.time) -> None:
        super().__init__(logging.INFO)
        self._folder = folder
        self._place = re.sub(r"[^A-Za-z0-9._-]", "-", place) or "unknown"
        self._redact = redact
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        """One record, whole or not at all as far as a crash goes: it is one write."""
        try:
            now = self._clock()
            path = self._folder / _day(now) / f"{self._place}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            line = self._event(record, now).line() + "\n"
            with path.open("a", encoding="utf-8") as file:
                if file.tell() < MOST_BYTES_A_DAY or record.levelno >= logging.WARNING:
                    file.write(line)
        except Exception:  # noqa: BLE001 - a full volume, an argument that is none of its format's, anything's own `str`
            return

    def _event(self, record: logging.LogRecord, now: float) -> Event:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        extra = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        return Event(
            int(now * 1000),
            record.levelname.lower(),
            record.name,
            self._redact(message),
            self._place,
            {name: self._redact.value(value) for name, value in extra.items()},
        )


def start_log(folder: Path) -> None:
    """What a container does first: logs to its output, where Modal keeps it for a day, and to the volume at `folder`,
    if it has one.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    hide_urls()
    if folder.is_dir():
        keep_events(folder, os.environ.get("MODAL_TASK_ID", ""))


def keep_events(folder: Path, place: str) -> None:
    """From now on what this process logs is kept in `folder`, once, and what is older than thirty days is not."""
    root = logging.getLogger()
    if any(isinstance(handler, EventStore) for handler in root.handlers):
        return
    forget_old(folder, time.time())
    root.addHandler(EventStore(folder, place, redactor_of(os.environ)))


def forget_old(folder: Path, now: float) -> None:
    """Removes the days that are over for longer than thirty days."""
    oldest = _day(now - KEPT_DAYS * DAYS)
    with suppress(OSError):
        for day in folder.iterdir():
            if _is_day(day.name) and day.name < oldest:
                shutil.rmtree(day, ignore_errors=True)


def days_since(since: float, now: float) -> tuple[str, ...]:
    """Names of the folders that hold what was said from `since` to `now`, seconds since 1970."""
    first, last = int(since // DAYS), int(now // DAYS)
    return tuple(_day(day * DAYS) for day in range(max(first, last - KEPT_DAYS), last + 1))


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _is_day(name: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", name))
