"""Work beside the pages: done when somebody looks and it was last done a while ago. Nobody looking, nothing is done."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

SHARE = 10
"""Work that takes long is done less often: it rests for so many times as long as it took."""


class Aside:
    """`work`, in a thread of its own, one at a time. `every`: seconds from one beginning to the next at least;
    `clock`: seconds.
    """

    def __init__(self, work: Callable[[], None], every: float, clock: Callable[[], float]) -> None:
        self._work = work
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._next: float | None = None
        self._thread: threading.Thread | None = None

    def nudge(self) -> None:
        """Begins the work if it is time."""
        with self._lock:
            if (self._thread is not None and self._thread.is_alive()) or self._clock() < (self._next or 0.0):
                return
            self._thread = threading.Thread(target=self._once, name="aside", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until the work under way has ended, or `seconds` have passed."""
        if (thread := self._thread) is not None:
            thread.join(seconds)

    def _once(self) -> None:
        began = self._clock()
        try:
            self._work()
        except Exception:
            # The thread's outermost boundary: pages go on with what they have, and show its age.
            log.exception("work beside the pages failed")
        ended = self._clock()
        self._next = max(began + self._every, ended + SHARE * (ended - began))
