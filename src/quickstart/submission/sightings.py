"""When each target was born, seen and matched: what the latency of a submission is made of."""

from dataclasses import dataclass, replace
from typing import Any

from quickstart.chain.ids import Id32
from quickstart.ledger.records import Origin, Timing

KEPT = 4096
"""Sightings kept at most, the latest: many more than can be open or in flight."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One target's times, ms since 1970. `birth_ms` is the chain's clock, None where no checkpoint told it;
    `known_ms`, `matched_ms` (None: nothing fits it yet) and `left_ms` (None: it is open) are ours. `order`: how many
    became known before it.
    """

    origin: Origin
    known_ms: int
    order: int
    birth_ms: int | None = None
    matched_ms: int | None = None
    left_ms: int | None = None

    @property
    def open_ms(self) -> int | None:
        """How long it was open; None while it is."""
        since = self.known_ms if self.birth_ms is None else min(self.birth_ms, self.known_ms)
        return None if self.left_ms is None else max(0, self.left_ms - since)

    def timing(self, target_id: Id32, signed_ms: int, landed_ms: int) -> Timing:
        """With when our submission was signed and executed. A birth after the sighting: the chain's clock is ahead."""
        birth_ms = None if self.birth_ms is None else min(self.birth_ms, self.known_ms)
        matched_ms = signed_ms if self.matched_ms is None else self.matched_ms
        return Timing(target_id, self.origin, birth_ms, self.known_ms, matched_ms, signed_ms, landed_ms)


class Sightings:
    """The latest sightings. A target keeps its own until many others have come after it, also when it is filled."""

    def __init__(self) -> None:
        self._seen: dict[Id32, Sighting] = {}
        self._births: dict[Id32, int] = {}
        self._count = 0

    def get(self, target_id: Id32) -> Sighting | None:
        return self._seen.get(target_id)

    def add(self, target_id: Id32, origin: Origin, now_ms: int) -> None:
        """Notes that a target is known from now on; only the first time counts."""
        if target_id not in self._seen:
            self._seen[target_id] = Sighting(origin, now_ms, self._count, self._births.get(target_id))
            self._count += 1
            forget_oldest(self._seen, KEPT)

    def order(self, target_id: Id32) -> int:
        """The place of a target among those that became known; -1 for one that is not."""
        seen = self._seen.get(target_id)
        return -1 if seen is None else seen.order

    def born(self, target_id: Id32, birth_ms: int) -> None:
        """Notes a birth, which may be told before or after the target is known."""
        self._births[target_id] = birth_ms
        forget_oldest(self._births, KEPT)
        if (seen := self._seen.get(target_id)) is not None:
            self._seen[target_id] = replace(seen, birth_ms=birth_ms)

    def matched(self, target_id: Id32, now_ms: int) -> None:
        """Notes that something fits a known target; only the first time counts."""
        if (seen := self._seen.get(target_id)) is not None and seen.matched_ms is None:
            self._seen[target_id] = replace(seen, matched_ms=now_ms)

    def left(self, target_id: Id32, now_ms: int) -> None:
        """Notes that a known target is open no more; only the first time counts."""
        if (seen := self._seen.get(target_id)) is not None and seen.left_ms is None:
            self._seen[target_id] = replace(seen, left_ms=now_ms)


def forget_oldest(table: dict[Id32, Any], most: int) -> None:
    """Drops what came first, in place, until `most` entries are left."""
    while len(table) > most:
        del table[next(iter(table))]
