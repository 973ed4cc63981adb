"""Windows on their way to a public address, and which of them may be named in a submission."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from quickstart.chain.backoff import Backoff, Breaker
from quickstart.chain.ids import Id32, format_digest
from quickstart.chain.transactions import Manifest
from quickstart.data.window import Window
from quickstart.errors import BusyError, DataUnreadableError, NetworkError, UnreachableError
from quickstart.ledger.records import Published
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import now_ms
from quickstart.submission.storage import Publisher
from quickstart.units import MINUTES, SECONDS

T = TypeVar("T")

log = logging.getLogger(__name__)

VERIFIED_FOR_MS = int(10 * MINUTES * 1000)
"""A public copy read back within this time need not be read again before a signature."""

PUBLISHERS = 8
"""Uploads and readings at a time, in threads of their own: they may have to wait for minutes as a host tells them."""

BACKOFF = Backoff(first=2 * SECONDS, longest=1 * MINUTES)


class PublishingDesk:
    """Uploads windows and remembers whose public copy was read back, and when. `clock`: milliseconds since 1970.

    A bucket that fails after it has worked is left alone for a while, and then tried with one upload.
    """

    def __init__(
        self,
        publisher: Publisher,
        writer: LedgerWriter,
        clock: Callable[[], int] = now_ms,
        breaker: Breaker | None = None,
    ) -> None:
        self.publisher = publisher
        self._writer = writer
        self.clock = clock
        self._breaker = breaker or Breaker(BACKOFF)
        self._threads = ThreadPoolExecutor(PUBLISHERS, "publishing")
        self._has_worked = False
        self._published: dict[Id32, Published] = {
            published.window: published
            for published in writer.ledger.published()
            if published.url == publisher.storage.public_url(published.window)
        }
        self.running: set[Id32] = set()
        self.unpublishable: dict[Id32, str] = {}

    def close(self) -> None:
        """Starts nothing more; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def published(self) -> Mapping[Id32, Published]:
        """Windows whose public copy was compared recently enough to sign for."""
        oldest = self.clock() - VERIFIED_FOR_MS
        return {window: entry for window, entry in self._published.items() if entry.verified_ms >= oldest}

    @property
    def publishers(self) -> int:
        """Uploads that may run at a time now: one after a failure, none while the bucket is left alone."""
        if self._breaker.is_open:
            return 0
        return 1 if self._breaker.failures else PUBLISHERS

    def manifest(self, window: Id32) -> Manifest:
        entry = self._published[window]
        return Manifest(entry.url, entry.window, entry.size)

    def distrust(self, window: Id32) -> None:
        """Its public copy is not what it was: it must be read back before it is signed for again."""
        self._published.pop(window, None)

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Runs what waits for a host."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def publish(self, window: Window) -> None:
        """Uploads, reads back, remembers. A window that cannot be read back is given up for this run.

        Raises:
            UsageError, NetworkError: the bucket has never worked, and a person can mend it.
        """
        self.running.add(window.checksum)
        try:
            manifest = await self.in_thread(lambda: self._published_copy(window))
            entry = Published(window.checksum, manifest.url, manifest.size, self.clock())
            await self._writer.write(lambda ledger: ledger.publish(entry))
            self._published[window.checksum] = entry
            self._has_worked = True
            self._breaker.succeeded()
        except DataUnreadableError as error:
            self.unpublishable[window.checksum] = str(error)
            log.error("window %s cannot be published: %s", format_digest(window.checksum), error)
        except (NetworkError, UnreachableError) as error:
            if not self._has_worked and not isinstance(error, BusyError):
                raise
            pause = self._breaker.failed(getattr(error, "retry_after_seconds", None))
            log.warning("the bucket is left alone for %.0f s: %s", pause, error)
        finally:
            self.running.discard(window.checksum)

    def _published_copy(self, window: Window) -> Manifest:
        """Puts a window and reads it back. One that was readable earlier may have been lost: it is put once more."""
        try:
            return self.publisher.publish(window.data, window.checksum)
        except DataUnreadableError:
            if window.checksum not in self._published:
                raise
            return self.publisher.publish(window.data, window.checksum, again=True)
