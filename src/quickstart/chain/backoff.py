"""How long to leave a service alone that is busy or away: at least as long as it asks, longer each time, with jitter.

Jitter, so that many clients that failed together do not come back together.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from quickstart import clock


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses in seconds: `first`, then twice as long each time up to `longest`, of which a random half is left out.

    `uniform`: a random number between two.
    """

    first: float
    longest: float
    uniform: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int, asked: float | None = None) -> float:
        """The pause after so many failures in a row; never less than the service asked for."""
        own = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return max(asked or 0.0, self.uniform(own / 2, own))


class Breaker:
    """Open while a service that failed is left alone; then one call tries it, and more once that has succeeded."""

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = clock.now) -> None:
        self._backoff = backoff
        self.clock = clock
        self._closed_at = 0.0
        self.failures = 0

    @property
    def is_open(self) -> bool:
        return self.failures > 0 and self.clock() < self._closed_at

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, asked: float | None = None) -> float:
        """Opens it; for how many seconds. What fails while it is open was under way before, and says nothing new."""
        if not self.is_open:
            self.failures += 1
        pause = self._backoff.pause(self.failures, asked)
        self._closed_at = max(self._closed_at, self.clock() + pause)
        return pause
