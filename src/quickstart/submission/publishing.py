"""Windows on their way to a public address, and which of them may be named in a submission."""

import asyncio
import logging
import time
from collections.abc import Mapping

from quickstart.chain.ids import Id32, format_digest
from quickstart.chain.transactions import Manifest
from quickstart.data.window import Window
from quickstart.errors import DataUnreadableError
from quickstart.ledger.records import Published
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.storage import Publisher
from quickstart.units import MINUTES

log = logging.getLogger(__name__)

VERIFIED_FOR_MS = int(10 * MINUTES * 1000)
"""A public copy read back within this time need not be read again before a signature."""


class PublishingDesk:
    """Uploads windows and remembers whose public copy was read back, and when."""

    def __init__(self, publisher: Publisher, writer: LedgerWriter) -> None:
        self._publisher = publisher
        self._writer = writer
        self._published: dict[Id32, Published] = {
            published.window: published
            for published in writer.ledger.published()
            if published.url == publisher.storage.public_url(published.window)
        }
        self.running: set[Id32] = set()
        self.unpublishable: dict[Id32, str] = {}

    @property
    def published(self) -> Mapping[Id32, Published]:
        """Windows whose public copy was compared recently enough to sign for."""
        oldest = time.time_ns() // 1_000_000 - VERIFIED_FOR_MS
        return {window: entry for window, entry in self._published.items() if entry.verified_ms >= oldest}

    def manifest(self, window: Id32) -> Manifest:
        entry = self._published[window]
        return Manifest(entry.url, entry.window, entry.size)

    async def publish(self, window: Window) -> None:
        """Uploads, reads back, remembers. A window that cannot be read back is given up for this run."""
        self.running.add(window.checksum)
        try:
            manifest = await asyncio.to_thread(self._publisher.publish, window.data, window.checksum)
            entry = Published(window.checksum, manifest.url, manifest.size, time.time_ns() // 1_000_000)
            await self._writer.write(lambda ledger: ledger.publish(entry))
            self._published[window.checksum] = entry
        except DataUnreadableError as error:
            self.unpublishable[window.checksum] = str(error)
            log.error("window %s cannot be published: %s", format_digest(window.checksum), error)
        finally:
            self.running.discard(window.checksum)
