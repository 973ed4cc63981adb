"""Being polite to a host: waits as long as it says, backs off with jitter, and gives up on it in the end."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from quickstart.errors import SourceError
from quickstart.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

T = TypeVar("T")

BUSY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""


class TransientError(Exception):
    """An attempt failed in a way that another may not. `after`: seconds the host asks us to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class GivenUpError(Exception):
    """One request failed again and again while the host answered others: that one thing is broken."""


@dataclass(slots=True)
class Patience:
    """How long a host is waited for; shared by all threads that talk to it. Times in seconds.

    A Retry-After holds back every thread. `limit`: the breaker; a host that has answered nothing for that long is
    taken for dead. `attempts`: for one request, counted only while the host answers others.
    """

    host: str
    limit: float = 10 * MINUTES
    attempts: int = 6
    first_delay: float = 0.5 * SECONDS
    longest_delay: float = 30 * SECONDS
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _silent_since: float | None = None
    _answers: int = 0
    _not_before: float = 0.0

    def call(self, attempt: Callable[[], T]) -> T:
        """The result of `attempt`, tried again whenever it raises `TransientError`.

        Raises:
            GivenUpError: it failed too often while others did not.
            SourceError: the host has been silent for `limit`, or asks us to stay away for longer than that.
        """
        answers, failures, in_vain = self._answers, 0, 0
        while True:
            self._wait()
            try:
                result = attempt()
            except TransientError as failure:
                failures += 1
                if self._answers > answers:  # others were served meanwhile
                    answers, in_vain = self._answers, in_vain + 1
                if in_vain >= self.attempts:
                    raise GivenUpError(str(failure)) from failure
                self._hold_back(failure, failures)
                continue
            except Exception:
                self._answered()  # a refusal, or bytes that are none: the host is there
                raise
            self._answered()
            return result

    def _answered(self) -> None:
        with self._lock:
            self._silent_since = None
            self._answers += 1

    def _wait(self) -> None:
        delay = self._not_before - self.clock()
        if delay > 0:
            self.sleep(delay)

    def _hold_back(self, failure: TransientError, failures: int) -> None:
        """Waits before the next attempt; jitter keeps threads and wallets from coming back all at once."""
        now = self.clock()
        if failure.after is None:
            delay = min(self.longest_delay, self.first_delay * 2.0 ** (failures - 1)) * (0.5 + self.jitter())
        else:
            delay = failure.after * (1.0 + 0.1 * self.jitter())
        with self._lock:
            silent_since = self._silent_since = now if self._silent_since is None else self._silent_since
            is_dead = now + delay - silent_since > self.limit
            if failure.after is not None and not is_dead:
                self._not_before = max(self._not_before, now + delay)
        if is_dead:
            raise SourceError(
                f"{self.host} has answered nothing useful for {now - silent_since:.0f} s ({failure}); what was fetched "
                "is kept, run the same command later to go on"
            ) from failure
        log.info("%s: %s, waiting %.1f s", self.host, failure, delay)
        self.sleep(delay)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; None if absent or unreadable."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
