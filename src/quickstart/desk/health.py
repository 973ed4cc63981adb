"""Is it running: what ledger, lease, chain and Modal say, each with its age. One that is silent takes only its own
part with it. Pure; times in ms since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from quickstart.chain.shared_lease import TTL_SECONDS
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, FillState
from quickstart.modal_app.names import FIRING_HOUR
from quickstart.units import DAYS, HOURS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What a source told: `value` as of `at_ms`. With a `trouble` it told nothing now, and `at_ms` is when it last did
    (None: never that we know).
    """

    source: str
    at_ms: int | None
    value: T | None = None
    trouble: str | None = None

    @property
    def known(self) -> bool:
        return self.trouble is None

    def age_ms(self, now_ms: int) -> int | None:
        """How old it is; a clock that was set back makes nothing younger than now."""
        return None if self.at_ms is None else max(0, now_ms - self.at_ms)


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where runs happen: this machine, or Modal.

    `at_work`: who signs there now, since `since_ms`; `last_ms`: the last sign of a run; `next_ms`: when the schedule
    starts one, None where none does; `stopped`: since when and by whom the schedule is stopped; `progress`: what the
    run last told; `gpu_calls`: scoring calls in flight.
    """

    at_work: str | None = None
    since_ms: int | None = None
    last_ms: int | None = None
    next_ms: int | None = None
    stopped: str | None = None
    progress: str | None = None
    gpu_calls: int = 0


@dataclass(frozen=True, slots=True)
class Signer:
    """Who holds the wallet's lease in the bucket, where all machines look, since when; last renewed at `renewed_ms`."""

    who: str
    since_ms: int
    renewed_ms: int

    def is_alive(self, now_ms: int) -> bool:
        """Whether it has renewed as a living one does; else its lease is over, or ends soon."""
        return now_ms - self.renewed_ms <= TTL_SECONDS * 1000


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits: transactions whose outcome is not known (the oldest signed at `oldest_ms`), fills not yet claimed."""

    pending: int
    oldest_ms: int | None
    open_fills: int


@dataclass(frozen=True, slots=True)
class EpochClock:
    """The chain's epoch and when it may end."""

    epoch: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Health:
    """All of it for one wallet. `modal` and `bucket` are None where nothing of them was asked for; a `bucket` whose
    lease is free has no value.
    """

    now_ms: int
    here: Reading[Workplace]
    modal: Reading[Workplace] | None
    bucket: Reading[Signer] | None
    chain: Reading[EpochClock]
    queue: Reading[Queue]
    alarms: Reading[tuple[Alarm, ...]]

    @property
    def sources(self) -> Mapping[str, Reading[object]]:
        """Every source by its part here."""
        parts = {name: getattr(self, name) for name in ("here", "modal", "bucket", "chain", "queue", "alarms")}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def at_work(self) -> str | None:
        """Who signs for the wallet now, as far as is known."""
        for place in (self.here, self.modal):
            if place is not None and place.value is not None and place.value.at_work:
                return place.value.at_work
        signer = self.bucket.value if self.bucket is not None else None
        return signer.who if signer is not None and signer.is_alive(self.now_ms) else None


def queue_of(ledger: Ledger) -> Queue:
    pending = ledger.pending()
    oldest = min((intent.created_ms for intent in pending), default=None)
    return Queue(len(pending), oldest, ledger.fill_counts().get(FillState.FILLED, 0))


def open_alarms(ledger: Ledger) -> tuple[Alarm, ...]:
    return tuple(alarm for alarm in ledger.alarms() if alarm.cleared_ms is None)


def next_firing_ms(now_ms: int) -> int:
    """When Modal's schedule starts the next cycle: the firing hour, UTC."""
    day, hour = int(DAYS * 1000), int(FIRING_HOUR * HOURS * 1000)
    return (now_ms - hour) // day * day + day + hour
