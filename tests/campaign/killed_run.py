"""A run of the product in a process of its own, on a served devnet with the real SDK, that is killed at a point.

Killed means SIGKILL to itself right at the point: nothing of the process goes on, no buffer is written, no lock is
given back but by the operating system.
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from quickstart.bank import Bank
from quickstart.chain.client import Endpoints, connect
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import FileLease, Lease
from quickstart.chain.shared_lease import AllOf, SharedLease
from quickstart.errors import QuickstartError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.settings import S3Settings
from quickstart.submission.actions import Policy
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.s3_lease import S3LeaseStore
from quickstart.submission.storage import Storage
from tests.campaign.fail_points import Watched
from tests.campaign.product_run import ProductRun


@dataclass(frozen=True, slots=True)
class BucketLease:
    """A lease in a bucket besides the file's: where, under which command's name, and how long it holds."""

    settings: S3Settings
    key: str
    command: str
    ttl_seconds: float
    renew_seconds: float

    def made(self, folder: Path) -> Lease:
        store = S3LeaseStore(self.settings)
        times = {"ttl_seconds": self.ttl_seconds, "renew_seconds": self.renew_seconds}
        shared = SharedLease(store, self.key, self.command, close=store.close, **times)
        return AllOf(FileLease(folder / "lease", self.command), shared)


@dataclass(frozen=True, slots=True)
class FolderEdges:
    """Edges that outlive a process: files for the lease, the books and the bucket; the devnet's own address."""

    folder: Path
    secret: bytes
    bucket: BucketLease | None = None

    def lease(self) -> Lease:
        return self.bucket.made(self.folder) if self.bucket else FileLease(self.folder / "lease", "submit")

    def writer(self, ledger: Ledger) -> LedgerWriter:
        return LedgerWriter(ledger)

    def storage(self) -> Storage:
        return FolderStorage(self.folder / "public", "https://bucket.example")

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._show))

    def _show(self, request: httpx.Request) -> httpx.Response:
        file = self.folder / "public" / request.url.path.lstrip("/")
        return httpx.Response(200, stream=httpx.ByteStream(file.read_bytes())) if file.exists() else httpx.Response(404)

    def wallet(self) -> Wallet:
        return Wallet(self.secret)

    async def connect(self, endpoints: Endpoints) -> Any:
        return await connect(endpoints)


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What a child process is to do. `kill_at`: the point it is killed at, if it gets there. `bucket`: the lease
    it needs besides its folder's. `epochs`: see `ProductRun`.
    """

    folder: Path
    secret: bytes
    endpoints: Endpoints
    bank: Path
    weights_names: dict[Id32, Id32]
    policy: Policy
    kill_at: str | None = None
    bucket: BucketLease | None = None
    epochs: int | None = 1


def carry_out(order: RunOrder) -> None:
    """The child's whole life. What it logs is in `log` of its folder; what ended it, if not its work, in `said`."""
    logging.basicConfig(filename=order.folder / "log", level=logging.WARNING, force=True)

    def reached(point: str) -> None:
        if point == order.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    edges = Watched(FolderEdges(order.folder, order.secret, order.bucket), reached)
    run = ProductRun(
        order.folder, Bank(order.bank), order.weights_names, edges, order.policy, order.endpoints, order.epochs
    )
    try:
        asyncio.run(run.work())
    except QuickstartError as error:
        (order.folder / "said").write_text(f"{type(error).__name__}: {error}")
        sys.exit(error.exit_code)
    finally:
        run.end()
