"""One run of the product for one wallet on a `PureNode`: what `Session.run` puts together, but for sockets and files
of scores. All of it is the product's own; what is different are the edges that come in as arguments.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import httpx

from quickstart import clock
from quickstart.bank import Bank
from quickstart.chain.backoff import Breaker
from quickstart.chain.client import READ_BACKOFF, Endpoints, NetworkReader
from quickstart.chain.coins import CoinPool
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import Lease
from quickstart.executors.base import Executor, ScoreAnswer, ScoreRequest
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.actions import Policy
from quickstart.submission.board_watch import INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.driver import EPOCH_OVER, INTERRUPTED, Driver
from quickstart.submission.fills import record_settled
from quickstart.submission.opening import first_board, open_coins
from quickstart.submission.outbox import Outbox
from quickstart.submission.premises import Network, Plan
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.requests import RequestBox
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.submission.session import PATIENCE_SECONDS
from quickstart.submission.storage import Publisher, Storage, object_key
from quickstart.trainer.office import Office
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.trainer.vault import Vault

MakeClient = Callable[[Endpoints], Awaitable[Any]]


class NothingToScore:
    """The executor of a bank whose scores are all there."""

    capacity = 1

    def __enter__(self) -> "NothingToScore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def spawn(self, request: ScoreRequest) -> None:
        raise AssertionError("everything was scored already")

    def poll(self) -> tuple[ScoreAnswer, ...]:
        return ()


@dataclass
class MemoryStorage:
    """A bucket in memory, and the web host that shows it."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, data: bytes, checksum: Id32, *, again: bool = False) -> str:
        self.objects[f"/{object_key(checksum)}"] = data
        return self.public_url(checksum)

    def put_file(self, path: Path, checksum: Id32, *, again: bool = False) -> str:
        return self.put(path.read_bytes(), checksum, again=again)

    def remove(self, checksums: Iterable[Id32]) -> None:
        for checksum in checksums:
            self.objects.pop(f"/{object_key(checksum)}", None)

    def public_url(self, checksum: Id32) -> str:
        return f"https://bucket.example/{object_key(checksum)}"

    def answer(self, request: httpx.Request) -> httpx.Response:
        data = self.objects.get(request.url.path)
        if data is None:
            return httpx.Response(404)
        if (asked := request.headers.get("range")) is not None:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            place = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
            return httpx.Response(206, headers=place, stream=httpx.ByteStream(data[first : last + 1]))
        return httpx.Response(200, stream=httpx.ByteStream(data))

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer))


class Edges(Protocol):
    """Where a run touches the world; a test may stand in between."""

    def lease(self) -> Lease: ...
    def writer(self, ledger: Ledger) -> LedgerWriter: ...
    def storage(self) -> Storage: ...
    def client(self) -> httpx.Client: ...
    def wallet(self) -> Wallet: ...
    async def connect(self, endpoints: Endpoints) -> Any: ...


@dataclass
class ProductRun:
    """`work` is a whole run, until it is stopped or its policy ends it; everything in it dies with the loop's tasks."""

    folder: Path
    bank: Bank
    weights_names: dict[Id32, Id32]
    edges: Edges
    policy: Policy
    endpoints: Endpoints
    epochs: int | None = None
    executor: Executor = field(default_factory=NothingToScore)
    simulated: bool = False
    ledger: Ledger | None = None
    outbox: Outbox | None = None
    driver: Driver | None = None
    office: Office | None = None
    recovered: int = 0
    _clean: list[Callable[[], None]] = field(default_factory=list)

    async def open(self) -> None:
        """As a session does: the lease, the books, what an earlier run left open, the coins."""
        lease = self.edges.lease().__enter__()
        self._clean.append(lambda: lease.__exit__(None, None, None))
        self.ledger = ledger = Ledger(self.folder / "ledger.sqlite")
        wallet = self.edges.wallet()
        # Pauses are drawn as in the product, but from a seed, and counted on the loop's clock.
        backoff = replace(READ_BACKOFF, uniform=random.Random(0).uniform)
        breaker = Breaker(backoff, clock.now)
        reader = NetworkReader(await self.edges.connect(self.endpoints), self.endpoints.rpc, breaker=breaker)
        network = Network("pure", self.endpoints)
        board = await first_board(reader, network, may_advance=False)
        writer = self.edges.writer(ledger)
        lanes = Lanes(self.endpoints, self.policy.lanes, self.edges.connect)
        self.outbox = outbox = Outbox(wallet, lease, writer, lanes, reader, CoinPool(ledger.coins()), record_settled)
        recovered = await outbox.recover()
        self.recovered = len(recovered)
        if recovered:
            await asyncio.sleep(INDEX_LAG_SECONDS)
        plan = Plan(self.policy, epochs=0, windows=0, sources=())
        outbox.pool = await open_coins(reader, writer, wallet, network, plan, board)
        desk = ScoringDesk(self.bank, self.executor, self.weights_names)
        client = self.edges.client()
        self._clean += [desk.close, client.close]
        storage = self.edges.storage()
        vault = Vault(self.folder / "vault", wallet, storage, client)
        publisher = Publisher(storage, client)
        # A simulation's epochs are counted from its loop's beginning.
        wall_clock = clock.now if self.simulated else time.time
        reveals = RevealDesk(wallet.address, reader, vault, outbox, ledger, wall_clock)
        self.office = Office(wallet, network, reader, ledger, writer, outbox, vault, publisher, reveals, self.folder)
        self.driver = Driver(
            owner=wallet.address,
            reader=reader,
            watch=BoardWatch(reader, board),
            desk=desk,
            publishing=PublishingDesk(publisher, writer),
            outbox=outbox,
            reveals=reveals,
            writer=writer,
            requests=RequestBox(self.folder / "requests"),
            report=lambda progress: None,
        )
        reader.patience_seconds = reader.away_seconds = PATIENCE_SECONDS

    async def work(self) -> None:
        """Opens, then works through epochs: `epochs` of them, or until it is stopped."""
        await self.open()
        assert self.driver is not None
        done = 0
        try:
            while self.epochs is None or done < self.epochs:
                reason = await self.driver.run_epoch(self.policy)
                done += 1
                if reason == INTERRUPTED:
                    break
                if reason != EPOCH_OVER and done != self.epochs:
                    await self.driver.await_epoch()
        finally:
            await self.driver.close()

    def end(self) -> None:
        """Gives everything back; after a crash this is what the operating system does."""
        for step in reversed(self._clean):
            step()
        self._clean.clear()
        if self.ledger is not None:
            self.ledger.close()
