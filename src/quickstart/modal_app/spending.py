"""What GPUs cost today, from what containers report and what Modal bills, and how much more may be started."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from quickstart.modal_app.store import Store

log = logging.getLogger(__name__)

UNKNOWN_SHARD_SECONDS = 300.0
"""What a shard is taken to need before the first one has come back."""

NEWEST_SHARE = 0.25
"""Weight of the newest shard in the running mean of their seconds."""

SPENT = "spent"
"""Keys of the store that begin with this and a slash hold a day's count."""


def today() -> str:
    """The day in UTC, as the schedule counts days."""
    return day_of(time.time())


def day_of(at: float) -> str:
    """The same of a time, in seconds since 1970."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


@dataclass(frozen=True, slots=True)
class Tariff:
    """`dollars_per_second` of a container at work or idle; `overhead_seconds`: its start, and its idling at the end."""

    dollars_per_day: float
    dollars_per_second: float
    overhead_seconds: float


class Spending:
    """Dollars of one day. Kept in the store, so that a restarted submitter goes on counting.

    A container's time counts from its start to when it was last known to live, and an overhead once. `bill`: what
    Modal itself says that a day has cost so far, or None; the larger of the two counts.
    """

    def __init__(
        self, store: Store, tariff: Tariff, bill: Callable[[str], float | None], day: Callable[[], str] = today
    ) -> None:
        self._store = store
        self._tariff = tariff
        self._bill = bill
        self._day = day
        self._opened = ""
        self._seconds = 0.0
        self._kept_seconds = 0.0
        self._before: dict[str, float] = {}
        self._alive: dict[str, float] = {}
        self._shard_seconds = UNKNOWN_SHARD_SECONDS
        self._told = ""

    @property
    def dollars(self) -> float:
        self._open()
        return max(self._seconds * self._tariff.dollars_per_second, self._bill(self._opened) or 0.0)

    @property
    def capped(self) -> bool:
        """Whether the day's dollars are spent."""
        return self.dollars >= self._tariff.dollars_per_day

    @property
    def shards_left(self) -> int:
        """How many shards may be in flight at once: what they will cost fits into what is left of the day."""
        dollars = self.dollars
        left = self._tariff.dollars_per_day - dollars
        number = max(0, int(left / (self._shard_seconds * self._tariff.dollars_per_second)))
        if number == 0 and self._told != self._opened:
            self._told = self._opened
            log.warning(
                "no GPUs any more today: the cap is $%.2f a day (QUICKSTART_GPU_DOLLARS_PER_DAY), about $%.2f spent; "
                "matching, submitting and claiming go on",
                self._tariff.dollars_per_day,
                dollars,
            )
        return number

    def summary(self) -> dict[str, float | None]:
        """Dollars of the day: ours, the cap, and Modal's own count where it gives one."""
        dollars, billed = self.dollars, self._bill(self._opened)
        return {
            "dollars_today": round(dollars, 4),
            "billed": None if billed is None else round(billed, 4),
            "cap": self._tariff.dollars_per_day,
        }

    def scored(self, container: str, alive_seconds: float, work_seconds: float) -> None:
        """A container has answered: `alive_seconds` since it started, `work_seconds` of them for this answer."""
        self._shard_seconds += NEWEST_SHARE * (work_seconds - self._shard_seconds)
        self.lived({container: alive_seconds})

    def lived(self, alive_seconds: Mapping[str, float]) -> None:
        """How long containers have lived at least, as far as is known by now; that never becomes less."""
        self._open()
        for container, seconds in alive_seconds.items():
            seen = self._alive.get(container, self._before.get(container))
            if seen is None:
                self._seconds += seconds + self._tariff.overhead_seconds
            else:
                self._seconds += max(0.0, seconds - seen)
            self._alive[container] = max(seconds, seen or 0.0)
        if self._seconds != self._kept_seconds:
            self._store.put(f"{SPENT}/{self._opened}", {"seconds": self._seconds, "alive": dict(self._alive)})
            self._kept_seconds = self._seconds

    def _open(self) -> None:
        """Begins a day, with what was counted of it already. Containers of the day before may live on: what they had
        lived by then is that day's.
        """
        day = self._day()
        if day != self._opened:
            kept = self._kept(day)
            before = self._kept((date.fromisoformat(day) - timedelta(days=1)).isoformat())
            self._before = {**before["alive"], **self._alive}
            self._alive = dict(kept["alive"])
            self._seconds = self._kept_seconds = kept["seconds"]
            self._opened = day

    def _kept(self, day: str) -> dict[str, Any]:
        kept: dict[str, Any] = self._store.get(f"{SPENT}/{day}", None) or {"seconds": 0.0, "alive": {}}
        return kept
