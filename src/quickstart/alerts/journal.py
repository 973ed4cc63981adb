"""What stands, what was told of it, and what still has to be told: one small file, written before anything is sent.

A letter leaves the journal when its channel has taken it, never before: after a crash one may come twice, none is lost.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from quickstart.alerts.alert import Alert, AlertKind, Judgement
from quickstart.desk.health import Workplace
from quickstart.durable import write_durably
from quickstart.errors import StateError

FILE, LOCK = "alerts.json", "alerts.lock"
"""In the state folder."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One thing to tell by one channel: that an alert stands, or that it is over (`cleared`), as of `at_ms`."""

    channel: str
    alert: Alert
    cleared: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Rest:
    """A channel that failed so often in a row is left alone until `until_ms`; `trouble`: what it said, for people."""

    failures: int
    until_ms: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Journal:
    """`began_ms`: the first look; `armed_ms`: since when the schedule on Modal was seen armed, None while it is not;
    `channels`: those that were told so far.
    """

    began_ms: int
    armed_ms: int | None = None
    standing: tuple[Alert, ...] = ()
    letters: tuple[Letter, ...] = ()
    rests: Mapping[str, Rest] = field(default_factory=dict)
    channels: tuple[str, ...] = ()

    def armed(self, place: Workplace | None, now_ms: int) -> "Journal":
        """With what was seen of the schedule; None says nothing."""
        if place is None:
            return self
        return replace(self, armed_ms=None if place.stopped is not None else self.armed_ms or now_ms)

    @property
    def names(self) -> frozenset[tuple[AlertKind, str]]:
        return frozenset((alert.kind, alert.key) for alert in self.standing)

    def noted(self, judgements: Iterable[Judgement], now_ms: int, channels: Iterable[str]) -> "Journal":
        """What is new stands from now on, what is over no longer does, and each of `channels` has a letter of each
        change; one that is new has a letter of everything that stands. Those of other channels are dropped.

        What is over and back before a channel took the news of its end needs no letter there.
        """
        names = tuple(channels)
        found: dict[tuple[AlertKind, str], Alert] = {}
        judged: set[tuple[AlertKind, str]] = set()
        for judgement in judgements:
            found.update({(alert.kind, alert.key): alert for alert in judgement.alerts})
            judged |= judgement.judged
        before = {(alert.kind, alert.key): alert for alert in self.standing}
        over = [
            alert
            for name, alert in before.items()
            if name not in found and (alert.kind, alert.key.partition("/")[0]) in judged
        ]
        new = [alert for name, alert in found.items() if name not in before]
        # The reason may change; since when, and that it was told, do not.
        kept = [
            replace(found.get(name, alert), since_ms=alert.since_ms)
            for name, alert in before.items()
            if alert not in over
        ]
        letters = [letter for letter in self.letters if letter.channel in names]
        for channel in names:
            if channel not in self.channels:
                letters += [Letter(channel, alert, False, now_ms) for alert in (*kept, *new)]
                continue
            for alert in new:
                end = next((one for one in letters if _is_of(one, channel, alert) and one.cleared), None)
                if end is None:
                    letters.append(Letter(channel, alert, False, now_ms))
                else:
                    letters.remove(end)
            letters += [Letter(channel, alert, True, now_ms) for alert in over]
        return replace(self, standing=(*kept, *new), letters=tuple(letters), channels=names)

    def delivered(self, letter: Letter) -> "Journal":
        """The channel took it."""
        rests = {name: rest for name, rest in self.rests.items() if name != letter.channel}
        return replace(self, letters=tuple(one for one in self.letters if one is not letter), rests=rests)

    def failed(self, channel: str, rest: Rest) -> "Journal":
        return replace(self, rests={**self.rests, channel: rest})


def _is_of(letter: Letter, channel: str, alert: Alert) -> bool:
    return (letter.channel, letter.alert.kind, letter.alert.key) == (channel, alert.kind, alert.key)


def read(folder: Path, now_ms: int) -> Journal:
    """The journal of a folder; a new one where there is none.

    Raises:
        StateError: it cannot be read, or makes no sense.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Journal(now_ms)
    except (OSError, UnicodeDecodeError) as error:
        what = type(error).__name__
        raise StateError(f"{path} cannot be read ({what}); mend its permissions, or delete it") from error
    try:
        return _parsed(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError(f"{path} is damaged: delete it; what stands is told again then") from error


def write(folder: Path, journal: Journal) -> None:
    """Makes it durable.

    Raises:
        StateError: it cannot be written.
    """
    try:
        write_durably(folder / FILE, json.dumps(asdict(journal), indent=1).encode())
    except OSError as error:
        raise StateError(f"{folder / FILE} cannot be written ({error.strerror}); free disk space") from error


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether nobody else uses the journal until the end of the block.

    Raises:
        StateError: the folder cannot be written.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateError(f"{folder} cannot be used ({error.strerror}); mend its permissions") from error
    try:
        free = False
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        yield free
    finally:
        os.close(handle)


def _parsed(document: Mapping[str, Any]) -> Journal:
    return Journal(
        int(document["began_ms"]),
        None if document["armed_ms"] is None else int(document["armed_ms"]),
        tuple(map(_alert, document["standing"])),
        tuple(Letter(**{**letter, "alert": _alert(letter["alert"])}) for letter in document["letters"]),
        {name: Rest(**rest) for name, rest in document["rests"].items()},
        tuple(map(str, document.get("channels", ()))),
    )


def _alert(document: Mapping[str, Any]) -> Alert:
    return Alert(**{**document, "kind": AlertKind(document["kind"])})
