"""`logs`: what the deployment has said in the last thirty days, from the volume that keeps it."""

import argparse
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from rich.console import Console

from quickstart.cli.arguments import LOG_LEVELS
from quickstart.cli.rendering import print_json
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.events import Event, days_since, parse_line
from quickstart.modal_app.names import LOG_VOLUME
from quickstart.units import DAYS, HOURS, MINUTES

STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
UNITS = {"m": MINUTES, "h": HOURS, "d": DAYS}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey; events quote strangers."""

_AGO = re.compile(r"(\d{1,6})([mhd])")


def run_logs(arguments: argparse.Namespace) -> int:
    """Prints what was said, the oldest first.

    Raises:
        UsageError: a time that is none, or nothing is deployed.
    """
    now = time.time()
    since = moment(arguments.since, now)
    events = chosen(_read(since, now), since, arguments.level, arguments.grep)[-arguments.limit :]
    if arguments.json:
        print_json({"events": [_document(event) for event in events]})
        return EXIT_DONE
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for event in events:
        fields = "".join(f" {name}={value}" for name, value in event.fields.items())
        told = f"{_time(event.at_ms)} {event.level:<8} {event.message}{fields}"
        console.print(_CONTROL.sub("?", told), style=STYLES.get(event.level))
    if not events:
        console.print(f"nothing was said since {_time(int(since * 1000))}; what is kept begins with the next run")
    return EXIT_DONE


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of `30m`, `6h`, `2d` ago, or of a date or time in ISO's form, UTC if it names no zone;
    nothing is older than that.

    Raises:
        UsageError: neither.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return max(0.0, now - int(ago[1]) * UNITS[ago[2]])
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"--since {text[:40]!r} is no time: write 30m, 6h, 2d, or 2026-11-22T18:00") from None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def chosen(events: Iterable[Event], since: float, level: str, words: str | None) -> list[Event]:
    """Those at `level` or above from `since` on that hold `words`, in the order of time. Pure."""
    levels = LOG_LEVELS[LOG_LEVELS.index(level) :]
    found = [
        event
        for event in events
        if event.at_ms >= since * 1000
        and event.level in levels
        and (words is None or words.casefold() in event.line().casefold())
    ]
    return sorted(found, key=lambda event: event.at_ms)


def _read(since: float, now: float) -> Iterator[Event]:
    """Every event of the days in question."""
    import modal

    days = days_since(since, now)
    with modal_errors():
        volume = modal.Volume.from_name(LOG_VOLUME).hydrate()
        paths = [entry.path for entry in volume.listdir("/", recursive=True)]
        wanted = [path for path in paths if path.strip("/").partition("/")[0] in days and path.endswith(".jsonl")]
        for path in sorted(wanted):
            text = b"".join(volume.read_file(path)).decode("utf-8", "replace")
            yield from filter(None, map(parse_line, text.splitlines()))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _document(event: Event) -> dict[str, object]:
    return {
        "at": datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "level": event.level,
        "logger": event.logger,
        "message": event.message,
        "place": event.place,
        "fields": dict(event.fields),
    }
