"""A devnet in this process and on this event loop, spoken to by the real SDK, and what a wallet needs to use it.

The loop runs only while a test runs something on it (`LiveDevnet.run`), so tests may look into the node between calls.
"""

import asyncio
import hashlib
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.coins import Coin, CoinPool
from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import FileLease
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import Kind, Manifest, SubmitData, TransactionData
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.faults import Faults
from quickstart.devnet.inputs import SignedTransaction
from quickstart.devnet.keys import DevnetKey, devnet_key
from quickstart.devnet.server import DevnetServer
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.fills import record_settled
from quickstart.submission.outbox import AlsoRecord, NotSent, Outbox, Settled

T = TypeVar("T")
SOMA = 1_000_000_000
BOND = 66_560

QUICK = {
    "rpc_port": 0,
    "faucet_port": 0,
    "scoring_port": 0,
    "admin_port": 0,
    "audit": False,
    "seed": 7,
    "latency_seconds": 0.0,
    "index_lag_seconds": 0.0,
    "checkpoint_seconds": 0.0,
    "unknown_object_seconds": 0.5,
}

_secrets = count(1)


class LiveDevnet:
    """One server for a module's tests."""

    def __init__(self, runner: asyncio.Runner, config: DevnetConfig) -> None:
        self.runner = runner
        self.server = DevnetServer(config)
        runner.run(self.server.start())
        self.endpoints = Endpoints(self.server.urls.rpc)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    @property
    def node(self) -> Any:
        return self.server.node

    @property
    def faults(self) -> Faults:
        return self.server.faults

    def executed(self) -> int:
        """Transactions on the chain so far."""
        return len(self.node.state.effects)

    def open_targets(self) -> list[Id32]:
        state = self.node.state
        return sorted(
            target_id
            for target_id, target in state.targets()
            if target.status is TargetStatus.OPEN and target.generation_epoch == state.epoch
        )

    def fund(self, owner: Id32, *amounts: int) -> list[Coin]:
        """New coins of an address, from the faucet."""
        coins = []
        for amount in amounts:
            given = self.node.give(owner, amount, 1)
            coins.append(Coin(self.node.state.objects[given.object_ids[0]].ref, amount))
        return coins

    def chain_coins(self, owner: Id32) -> dict[Id32, Coin]:
        coins = self.node.state.coins(owner)
        return {stored.object_id: Coin(stored.ref, stored.contents.balance) for stored in coins}

    def act_as(self, wallet: Wallet, kind: Kind, gas: Coin) -> None:
        """Another program with the same key sends something, past our ledger."""
        transaction = TransactionData(kind, wallet.address, (gas.ref,))
        signed = SignedTransaction(0, transaction, bytes(64), bytes(32))
        applied = self.node._apply(signed)
        assert applied.effects.failure is None

    def act_as_key(self, key: DevnetKey, kind: Kind, gas: Coin) -> None:
        """Somebody else sends something."""
        transaction = TransactionData(kind, key.address, (gas.ref,))
        applied = self.node._apply(SignedTransaction(0, transaction, key.sign(transaction), key.public))
        assert applied.effects.failure is None

    def submission(self, target_id: Id32, coin: Coin) -> SubmitData:
        target = self.node.state.target(target_id)
        manifest = Manifest("http://127.0.0.1:9/d", hashlib.blake2b(target_id, digest_size=32).digest(), 1024)
        embedding = np.asarray(target.embedding, np.float32)
        return SubmitData(target_id, manifest, target.model_ids[0], embedding, 0.5, (1.0,), coin.ref)

    def fill_by_stranger(self, target_id: Id32) -> None:
        key = devnet_key("a stranger")
        coin = self.fund(key.address, SOMA)[0]
        self.act_as_key(key, self.submission(target_id, coin), coin)

    def next_epoch(self) -> int:
        return self.run(self.node.advance_epoch())


@contextmanager
def running(**changes: Any) -> Iterator[LiveDevnet]:
    """A devnet with everything quick, all audits off."""
    with asyncio.Runner() as runner:
        live = LiveDevnet(runner, DevnetConfig(**{**QUICK, **changes}))
        try:
            yield live
        finally:
            runner.run(live.server.stop())


def new_wallet() -> Wallet:
    """A key nobody else in this process has."""
    return Wallet(hashlib.blake2b(b"test wallet %d" % next(_secrets), digest_size=32).digest())


@dataclass
class Office:
    """One run of a wallet: lease, ledger, lanes, outbox. `close` and `reopen` are what a crash and a restart are."""

    live: LiveDevnet
    folder: Path
    wallet: Wallet
    lanes: int = 8
    also_record: AlsoRecord = record_settled
    ledger: Ledger = field(init=False)
    lease: FileLease = field(init=False)
    reader: NetworkReader = field(init=False)
    lane_pool: Lanes = field(init=False)
    outbox: Outbox = field(init=False)

    def open(self, coins: list[Coin] | None = None) -> "Office":
        self.ledger = Ledger(self.folder / "ledger.sqlite")
        if coins is not None:
            self.ledger.keep_coins(coins)
        self.lease = FileLease(self.folder / "lease", "test")
        self.lease.__enter__()
        endpoints = self.live.endpoints
        self.reader = NetworkReader(self.live.run(connect(endpoints)), endpoints.rpc)
        self.lane_pool = Lanes(endpoints, self.lanes)
        self.outbox = Outbox(
            self.wallet,
            self.lease,
            LedgerWriter(self.ledger),
            self.lane_pool,
            self.reader,
            CoinPool(self.ledger.coins()),
            self.also_record,
        )
        return self

    def close(self) -> None:
        self.lease.__exit__(None, None, None)
        self.ledger.close()

    def reopen(self) -> "Office":
        """Forgets everything but the files."""
        self.close()
        return self.open()

    def take(self) -> Coin:
        """The richest idle coin, reserved."""
        coin = self.outbox.pool.idle[0]
        assert self.outbox.pool.hold((coin,))
        return coin

    async def submit(self, target_id: Id32, coin: Coin | None = None) -> Settled | NotSent:
        coin = coin or self.take()
        details = {"bond": BOND, "reward": 12_685_185, "window": "00" * 32}
        return await self.outbox.send(
            self.live.submission(target_id, coin),
            (coin,),
            1,
            purpose=IntentKind.SUBMIT,
            subject=target_id,
            epoch=self.live.node.state.epoch,
            details=details,
        )

    def assert_right(self) -> None:
        """Pool, ledger and chain hold the same coins, and the books sum up to them."""
        on_chain = self.live.chain_coins(self.wallet.address)
        assert {coin.coin_id: coin for coin in self.outbox.pool.idle} == on_chain
        assert self.outbox.pool.reserved == frozenset()
        assert {coin.coin_id: coin for coin in self.ledger.coins()} == on_chain
        received = sum(self.received)
        assert received + sum(self.ledger.totals().values()) == sum(coin.balance for coin in on_chain.values())

    received: list[int] = field(default_factory=list)


@contextmanager
def office(live: LiveDevnet, folder: Path, *amounts: int, **options: Any) -> Iterator[Office]:
    """An open office whose wallet holds coins of `amounts`."""
    wallet = new_wallet()
    own = Office(live, folder, wallet, received=list(amounts), **options)
    own.open(live.fund(wallet.address, *amounts))
    try:
        yield own
    finally:
        own.close()
