"""One round: what stands is noted, then told; what a channel did not take stays in the journal for the next round."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeAlias

from quickstart.alerts import journal as journals
from quickstart.alerts.alert import Judgement
from quickstart.alerts.channels import Channel, Message, Standing, scrubbed
from quickstart.alerts.journal import Journal, Letter, Rest
from quickstart.chain.backoff import Backoff
from quickstart.desk.asking import begin
from quickstart.errors import BusyError, QuickstartError
from quickstart.units import HOURS, MINUTES

log = logging.getLogger(__name__)

CHANNEL_SECONDS = 20.0
"""How long a channel may take for one message, however slowly it answers."""

REST = Backoff(first=1 * MINUTES, longest=1 * HOURS)
"""How long a channel that failed is left alone."""

Look: TypeAlias = Callable[[Journal, int], tuple[Journal, Iterable[Judgement]]]
"""Given the journal and the time: the journal with what was seen of the schedule, and what stands."""


@dataclass(frozen=True, slots=True)
class Teller:
    """`folder`: of the journal; `secrets`: values that no text may hold; `clock`: ms since 1970; `keep`: called when
    the journal has changed, for a folder that is a copy of one elsewhere; `seconds`: for one message.
    """

    folder: Path
    channels: Sequence[Channel]
    secrets: tuple[str, ...]
    clock: Callable[[], int]
    keep: Callable[[], None] = lambda: None
    rest: Backoff = REST
    seconds: float = CHANNEL_SECONDS

    def round(self, look: Look) -> Journal | None:
        """Looks, notes, logs what is new, and tells; the journal as it is then, None while somebody else is at it.

        Raises:
            StateError: the journal cannot be read or written; nothing is told then.
        """
        with journals.locked(self.folder) as free:
            if not free:
                return None
            now_ms = self.clock()
            before = journals.read(self.folder, now_ms)
            seen, judgements = look(before, now_ms)
            cleaned = (without_secrets(one, self.secrets) for one in judgements)
            after = seen.noted(cleaned, now_ms, [channel.name for channel in self.channels])
            if after != before or after.letters or not (self.folder / journals.FILE).exists():
                self._write(after)  # what cannot be kept would be told in every round
            for alert in after.standing:
                if (alert.kind, alert.key) not in before.names:
                    log.warning("alert: %s: %s", alert.kind.value, alert.text)
            for channel in self.channels:
                after = self._tell(channel, after)
            return after

    def _tell(self, channel: Channel, journal: Journal) -> Journal:
        """Everything that waits for one channel, in order, until it takes one no more."""
        rest = journal.rests.get(channel.name)
        for letter in [one for one in journal.letters if one.channel == channel.name]:
            if rest is not None and self._rests(rest):
                break
            try:
                begin(partial(channel.send, message_of(letter)), self.seconds)()
            except QuickstartError as error:
                rest = self._rest_after(rest, error)
                journal = journal.failed(channel.name, rest)
                log.warning("alerts: %s; tried again later", rest.trouble)
            else:
                journal, rest = journal.delivered(letter), None
            self._write(journal)
        return journal

    def _rests(self, rest: Rest) -> bool:
        """A clock that was set back makes no rest longer than the longest."""
        return self.clock() < rest.until_ms <= self.clock() + int(self.rest.longest * 1000)

    def _rest_after(self, before: Rest | None, error: QuickstartError) -> Rest:
        failures = (before.failures if before else 0) + 1
        asked = error.retry_after_seconds if isinstance(error, BusyError) else None
        pause = min(self.rest.longest, self.rest.pause(failures, asked))
        return Rest(failures, self.clock() + int(pause * 1000), scrubbed(str(error), self.secrets))

    def _write(self, journal: Journal) -> None:
        journals.write(self.folder, journal)
        self.keep()


def without_secrets(judgement: Judgement, secrets: tuple[str, ...]) -> Judgement:
    """The same, fit to leave the house."""
    alerts = (replace(alert, text=scrubbed(alert.text, secrets)) for alert in judgement.alerts)
    return replace(judgement, alerts=tuple(alerts))


def message_of(letter: Letter) -> Message:
    """A letter's message."""
    alert = letter.alert
    standing = Standing.CLEARED if letter.cleared else Standing.RAISED
    return Message(standing, alert.kind.value, alert.key, alert.text, _iso(alert.since_ms), _iso(letter.at_ms))


def trial(now_ms: int) -> Message:
    """What `uv run alerts test` sends."""
    moment = _iso(now_ms)
    return Message(Standing.TEST, "test", "nothing is wrong", "alerts come here", moment, moment)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
