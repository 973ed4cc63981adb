"""Beside a run: takes requests in, tells where it stands, and ends it when it is stopped or its time is over."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from quickstart.modal_app.account import described
from quickstart.modal_app.names import CYCLE_SEEN, DISARMED, PROGRESS
from quickstart.modal_app.requests import StoreRequests
from quickstart.modal_app.store import Store
from quickstart.submission.alarms import now_ms
from quickstart.submission.progress import Progress, progress_line

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LINE_EVERY_SECONDS = 10.0


class Attendant:
    """A thread that talks to the store, so that the loop never waits for it. `end` is called at most once.

    `deadline`: seconds from now. `stopped`: what the store said of a stop when we began; only a later one counts.
    `is_cycle`: that it works is a sign of the cycle's life.
    """

    def __init__(
        self,
        store: Store,
        call_id: str,
        requests: StoreRequests,
        deadline: float,
        stopped: str | None,
        end: Callable[[str], None],
        *,
        is_cycle: bool = False,
    ) -> None:
        self._store = store
        self._call_id = call_id
        self._requests = requests
        self._started = time.monotonic()
        self._deadline = deadline
        self._end = end
        self._stopped = stopped
        self._is_cycle = is_cycle
        self._progress: Progress | None = None
        self._line_due = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="attendant", daemon=True)

    def show(self, progress: Progress) -> None:
        """A `Reporter`: remembers, and never waits."""
        self._progress = progress

    def __enter__(self) -> "Attendant":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _attend(self) -> None:
        ended = False
        while not self._over.wait(LOOK_SECONDS):
            reason = self._look()
            if reason is not None and not ended:
                ended = True
                log.info("this run ends: %s", reason)
                self._end(reason)
        self._look()

    def _look(self) -> str | None:
        """One round; why the run must end, if it must."""
        try:
            self._requests.exchange()
            self._tell()
            stopped: str | None = self._store.get(DISARMED, None)
        except Exception as error:  # noqa: BLE001 - Modal's Dict may fail for a moment; the run does not depend on it
            log.warning("Modal: %s", described(error))
            stopped = self._stopped
        if stopped is not None and stopped != self._stopped:
            return "stopped"
        if time.monotonic() - self._started > self._deadline:
            return "its time is over, the next run goes on"
        return None

    def _tell(self) -> None:
        if self._progress is None:
            return
        line = progress_line(self._progress, time.monotonic() - self._started)
        self._store.put(PROGRESS, (self._call_id, line))
        if time.monotonic() >= self._line_due or self._over.is_set():
            self._line_due = time.monotonic() + LINE_EVERY_SECONDS
            if self._is_cycle:
                self._store.put(CYCLE_SEEN, now_ms())
            log.info("%s", line)
