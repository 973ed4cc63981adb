"""How far the checkpoint stream may be relied on: whether it keeps the board alone, or snapshots have to."""

import time

from quickstart import clock
from quickstart.chain.checkpoints import time_ms
from quickstart.wire import soma_pb2 as pb

LATE_MS = 3_000
"""A checkpoint that takes so much longer than the fastest one of the run tells of the past; so does a stream that has
not told of a fill of our own after so long.
"""


class StreamTrust:
    """What the stream has deserved. `proven`: it tells everything, a snapshot has found nothing that it had not told.

    Moments are of `clock.now`. `since`: when the present subscription was first heard, None between two;
    `heard_at`: when it was last; `doubted_at`: when it last failed to tell something.
    """

    def __init__(self, late_ms: int = LATE_MS) -> None:
        self._late_ms = late_ms
        self.proven = False
        self.since: float | None = None
        self.heard_at = 0.0
        self.doubted_at = 0.0
        self._fastest_ms: int | None = None

    def heard(self) -> None:
        self.heard_at = clock.now()
        if self.since is None:
            self.since = self.heard_at

    def is_late(self, message: pb.Checkpoint) -> bool:
        """Compared with the fastest checkpoint of the run, so that the two clocks need not agree."""
        made_ms = time_ms(message)
        if made_ms is None:
            return False
        taken_ms = time.time_ns() // 1_000_000 - made_ms
        self._fastest_ms = taken_ms if self._fastest_ms is None else min(self._fastest_ms, taken_ms)
        return taken_ms - self._fastest_ms > self._late_ms

    def interrupted(self) -> None:
        self.since = None
        self.doubt()

    def doubt(self) -> None:
        """It does not tell something in full."""
        self.proven = False
        self.doubted_at = clock.now()

    def judge(self, shown_at: float, agrees: bool) -> None:
        """A snapshot that shows everything up to `shown_at` agrees with what the stream has told, or does not."""
        self.proven = agrees and self.since is not None and shown_at >= max(self.since, self.doubted_at)
