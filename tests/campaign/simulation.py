"""A wallet's life on a `PureNode`, on a clock that jumps: runs that die anywhere and start again, on one folder."""

import asyncio
import atexit
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np

from quickstart.bank import Bank
from quickstart.chain.board import sealed_weights_id
from quickstart.chain.client import Endpoints
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import FileLease, Lease
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import SubmitData, TransactionData
from quickstart.data.window import WINDOW_BYTES, Provenance, Window
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.state import ChainState
from quickstart.devnet.state import Coin as CoinContents
from quickstart.errors import QuickstartError
from quickstart.executors.base import Executor
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import FillState
from quickstart.ledger.writer import LedgerWriter
from quickstart.scoring.engine import CertifiedError, ScoredShard
from quickstart.submission.actions import Policy
from quickstart.submission.storage import Storage
from tests.campaign.fail_points import Watched
from tests.campaign.product_run import MemoryStorage, NothingToScore, ProductRun
from tests.campaign.pure_node import PureNode, read_signed
from tests.campaign.pure_sdk import BASE_URL, PureSdk
from tests.campaign.virtual_time import VirtualLoop

T = TypeVar("T")

SOMA = 1_000_000_000
CONFIG = DevnetConfig(models=2, targets=8, audit=False)
SECRET = hashlib.blake2b(b"the wallet of the campaign", digest_size=32).digest()
ENDPOINTS = Endpoints(BASE_URL)


class PowerCutError(KeyboardInterrupt):
    """The machine stops here. Of KeyboardInterrupt's kind, so that it goes through the event loop at once."""


def _lose_power() -> None:
    raise PowerCutError


def _tell_unless_cut(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that a power cut went through is not asked what became of it."""
    if not isinstance(context.get("exception"), PowerCutError):
        loop.default_exception_handler(context)


def scratch_folder() -> Path:
    """A new folder in memory where there is such a place: these ledgers need not survive the machine."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="campaign-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True, slots=True)
class ScoredBank:
    """A bank with all scores in it. `names`: the models' sealed weights -> weights. `executor`: makes exact ones."""

    bank: Bank
    names: dict[Id32, Id32]
    executor: Executor = field(default_factory=NothingToScore)


@cache
def made_up_bank(windows: int = 12) -> ScoredBank:
    """Windows and scores that were drawn, not computed: for what is not about their truth."""
    bank = Bank(scratch_folder() / "bank")
    draw = np.random.default_rng(11)
    data = [draw.integers(0, 256, WINDOW_BYTES, np.uint8).tobytes() for _ in range(windows)]
    shard = bank.add_windows([Window.cut(piece, Provenance("made up", "draw", n)) for n, piece in enumerate(data)])
    names: dict[Id32, Id32] = {}
    for model in first_epoch().state.active_models():
        assert model.commitment is not None
        weights = hashlib.blake2b(b"weights of " + model.model_id, digest_size=32).digest()
        names[sealed_weights_id(model.commitment.manifest, model.decryption_key)] = weights
        embeddings = draw.standard_normal((windows, CONFIG.dim)).astype(np.float32)
        losses = draw.uniform(1.0, 3.0, windows).astype(np.float32)
        bank.add_scores(
            shard, ScoredShard(weights, "drawn", embeddings, losses, CertifiedError(1e-6, 1e-6)), created_at=1
        )
    bank.refresh()
    return ScoredBank(bank, names)


@cache
def first_epoch() -> PureNode:
    """The chain that every simulation begins with a copy of."""
    return PureNode.at_first_epoch(CONFIG, lambda: 0.0)


@dataclass
class SimulatedEdges:
    node: PureNode
    folder: Path
    storage_: MemoryStorage

    def lease(self) -> Lease:
        return FileLease(self.folder / "lease", "submit")

    def writer(self, ledger: Ledger) -> LedgerWriter:
        return LedgerWriter(ledger)

    def storage(self) -> Storage:
        return self.storage_

    def client(self) -> httpx.Client:
        return self.storage_.client()

    def wallet(self) -> Wallet:
        return Wallet(SECRET)

    async def connect(self, endpoints: Endpoints) -> Any:
        return PureSdk(self.node)


class Simulation:
    """The world: loop, chain, the wallet's folder, and at most one run of the product at a time.

    `counts`: what happened, by name. `cut_at`: so many points from now (`fail_points`), or at the next one of that
    name, the power fails, or what `strike` does happens instead.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        coins: Iterable[int] = (SOMA,),
        epochs: int | None = None,
        scores: ScoredBank | None = None,
    ) -> None:
        """`epochs`: how many of them each run works through; None for as many as come."""
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(_tell_unless_cut)
        self.node = PureNode.on(CONFIG, first_epoch().state, self.loop.time)
        self.owner = Wallet(SECRET).address
        self.folder = scratch_folder()
        self.policy = policy or Policy(max_hits_per_epoch=None, patient=True)
        self.epochs = epochs
        self.scores = scores or made_up_bank()
        self.edges = SimulatedEdges(self.node, self.folder, MemoryStorage())
        self.run: ProductRun | None = None
        self.ended_by: BaseException | None = None
        self.counts: Counter[str] = Counter()
        self.cut_at: int | str | None = None
        self.strike: Callable[[], None] = _lose_power
        self._task: asyncio.Task[None] | None = None
        for amount in coins:
            self.node.give(self.owner, amount)
        self.pass_time(1.0)

    # -- the run

    def start(self, policy: Policy | None = None) -> None:
        self._make_run(policy)
        assert self.run is not None
        self._task = self.loop.create_task(self.run.work())
        self.counts["starts"] += 1
        self.pass_time(0.0)

    def attempt(self, work: Callable[[ProductRun], Coroutine[Any, Any, T]], seconds: float = 3600.0) -> T | None:
        """Opens a run and does one thing with it; None where the power fails meanwhile. Raises what that raises."""
        run = self._make_run(None)

        async def opened() -> T:
            await run.open()
            return await work(run)

        task = self.loop.create_task(opened())
        try:
            self.loop.run_until_complete(asyncio.wait({task}, timeout=seconds))
        except PowerCutError:
            self.crash()
            return None
        try:
            return task.result()
        finally:
            self._abandon()

    def open_run(self) -> ProductRun:
        """A run that settles what an earlier one left and then waits to be told what to do."""
        run = self._make_run(None)
        self.loop.run(run.open())
        return run

    def _make_run(self, policy: Policy | None) -> ProductRun:
        assert self.run is None
        self.run = ProductRun(
            self.folder,
            self.scores.bank,
            self.scores.names,
            Watched(self.edges, self._reached),
            policy or self.policy,
            ENDPOINTS,
            self.epochs,
            self.scores.executor,
            simulated=True,
        )
        self.ended_by = None
        return self.run

    def _reached(self, point: str) -> None:
        self.node.note(point)
        if isinstance(self.cut_at, int):
            self.cut_at = self.cut_at - 1 or point
        if self.cut_at == point:
            self.cut_at = None
            self.counts[f"cut at {point}"] += 1
            self.strike()

    def pass_time(self, seconds: float) -> None:
        """Time passes for everything; a run that ends by itself or loses its power is cleared away."""
        try:
            self.loop.pass_time(seconds)
        except PowerCutError:
            self.crash()
        self._clear_if_over()

    def _clear_if_over(self) -> None:
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            with suppress(asyncio.CancelledError):
                self.ended_by = task.exception()
            if self.ended_by is not None and not isinstance(self.ended_by, QuickstartError):
                raise self.ended_by
            if self.ended_by is not None:
                self.counts[f"run ended by {type(self.ended_by).__name__}"] += 1
            self._forget_run()

    def crash(self) -> None:
        """The run's process is gone: nothing of it happens any more, what it handed to the node goes on."""
        self.counts["crashes"] += 1
        self._abandon()

    def _abandon(self) -> None:
        ended: list[asyncio.Task[Any]] = []
        while tasks := asyncio.all_tasks(self.loop) - set(self.node._running.values()):
            ended += tasks
            for task in tasks:
                task.cancel()
            with suppress(PowerCutError):  # an action that the cut went through is looked at by its driver
                self.loop.step()
        self.loop.step()  # the wait that was cut off may have left a stop
        for task in ended:
            if not task.cancelled():
                task.exception()
        self._task = None
        self._forget_run()

    def _forget_run(self) -> None:
        if self.run is not None:
            self.run.end()
            self.run = None

    def open_up(self, seconds: float = 60.0) -> None:
        """Passes time until the run has settled what an earlier one left, and compared its books with the chain."""
        end = self.loop.time() + seconds
        while self.run is not None and self.run.driver is None and self.loop.time() < end:
            self.pass_time(0.1)

    def stop(self) -> None:
        """Ctrl-C, and the end of what is in flight."""
        if self.run is not None and self.run.driver is not None:
            self.run.driver.stop()
        self.settle()

    def settle(self, seconds: float = 900.0) -> None:
        """Passes time until the run has ended, for at most so long."""
        end = self.loop.time() + seconds
        while self._task is not None and self.loop.time() < end:
            self.pass_time(0.5)

    def heal(self) -> None:
        """Nothing is wrong any more."""
        self.node.dead_until = self.node.frozen_until = 0.0
        self.node.lose_replies = self.node.steal = 0
        self.cut_at = None

    def close(self) -> None:
        self._abandon()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        for task in self.node._running.values():
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- others with our key, or without

    def our_coins(self) -> list[Coin]:
        """As the chain has them, ascending in balance."""
        return [
            Coin(stored.ref, stored.contents.balance)
            for stored in self.node.state.coins(self.owner)
            if isinstance(stored.contents, CoinContents)
        ]

    def open_targets(self) -> list[Id32]:
        state = self.node.state
        return sorted(
            target_id
            for target_id, target in state.targets()
            if target.status is TargetStatus.OPEN and target.generation_epoch == state.epoch
        )

    def act_as_owner(self, transaction: TransactionData) -> None:
        """Another program with the same key, past our ledger and lease."""
        signed = Wallet(SECRET).sign(transaction.encode())
        self.node.apply(SignedTransaction(0, *read_signed(signed)))

    def books(self) -> Ledger:
        """The ledger of the run, or a second look at its file."""
        if self.run is not None and self.run.ledger is not None:
            return self.run.ledger
        return Ledger(self.folder / "ledger.sqlite")

    def differences(self) -> list[str]:
        """Where the ledger is not as the chain: pending intents, coins, money, fills. For moments of rest."""
        ledger = self.books()
        try:
            return differences(ledger, self.node.state, self.owner)
        finally:
            if self.run is None:
                ledger.close()


def differences(ledger: Ledger, state: ChainState, owner: Id32) -> list[str]:
    """See `Simulation.differences`."""
    found: list[str] = []
    on_chain = {
        stored.object_id: Coin(stored.ref, stored.contents.balance)
        for stored in state.coins(owner)
        if isinstance(stored.contents, CoinContents)
    }
    if ledger.pending():
        found.append(f"{len(ledger.pending())} intents are pending")
    if {coin.coin_id: coin for coin in ledger.coins()} != on_chain:
        found.append("the ledger's coins are not the chain's")
    balance, money = sum(coin.balance for coin in on_chain.values()), sum(ledger.totals().values())
    if balance != money:
        found.append(f"the books say {money}, the chain {balance}: {money - balance} shannons too many")
    filled = {i for i, target in state.targets() if target.submitter == owner}
    known = {fill.target_id for fill in ledger.fills(FillState.FILLED)}
    if filled != known:
        found.append(f"{len(filled - known)} fills are unknown, {len(known - filled)} are not on the chain")
    return found


def conflicts(node: PureNode, owner: Id32) -> list[str]:
    """What one wallet must never have sent, judged by what reached the node.

    Two different transactions, neither refused, that name one coin version; two submissions to one target of which
    neither was refused or failed; the same for claims.
    """
    named: Counter[tuple[Id32, int]] = Counter()
    about: Counter[tuple[str, Id32]] = Counter()
    for arrival in node.arrivals.values():
        if arrival.transaction.sender != owner or arrival.outcome == "refused":
            continue
        named.update((ref.object_id, ref.version) for ref in arrival.transaction.coins())
        target_id = getattr(arrival.transaction.kind, "target_id", None)
        if target_id is not None and arrival.outcome != "failed":
            about[type(arrival.transaction.kind).__name__, target_id] += 1
    found = [f"coin {i.hex()[:8]} version {v} was named {n} times" for (i, v), n in named.items() if n > 1]
    return found + [f"{n} live {kind} for {i.hex()[:8]}" for (kind, i), n in about.items() if n > 1]


def submissions(node: PureNode, owner: Id32) -> int:
    """Fills that this wallet made."""
    return sum(
        arrival.outcome == "executed" and isinstance(arrival.transaction.kind, SubmitData)
        for arrival in node.arrivals.values()
        if arrival.transaction.sender == owner
    )
