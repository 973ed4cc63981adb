"""The devnet's chain as a node in this process, with things that go wrong: no sockets, any clock.

It executes what its pure state machine executes; it locks coins, lags and refuses as the served node does. What it
adds is a memory of everything that ever reached it, which the promises are judged by.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from quickstart.chain.bcs import Reader
from quickstart.chain.ids import Id32
from quickstart.chain.objects import TargetStatus
from quickstart.chain.transactions import ObjectRef, SubmitData, TransactionData
from quickstart.devnet.config import VALIDATOR_FUNDS, DevnetConfig
from quickstart.devnet.decoding import decode_transaction
from quickstart.devnet.effects import Effects, Refusal, UnknownObject, locked
from quickstart.devnet.execution import check
from quickstart.devnet.genesis import RIVAL, genesis
from quickstart.devnet.index import Index
from quickstart.devnet.inputs import Applied, ChainInput, EpochEnd, FaucetRequest, SignedTransaction, apply
from quickstart.devnet.keys import DevnetKey, devnet_key, signature_is_valid
from quickstart.devnet.state import ChainState

INDEX_LAG_SECONDS = 0.3
UNKNOWN_OBJECT_SECONDS = 5.0

STALL_SECONDS = 25.0
"""Silence after which the SDK's client gives a connection up (`soma-protocol` §16)."""

_SIGNED_PREFIX, _SIGNATURE_PREFIX = b"\x01\x00\x00\x01", b"\x01\x61\x00"
_SIGNATURE_BYTES, _KEY_BYTES = 64, 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """One transaction that reached the node for the first time. `outcome`: "executed", "failed" or "refused"; None
    while it is under way."""

    transaction: TransactionData
    digest: Id32
    outcome: str | None = None


class NotAnsweredError(Exception):
    """The call gets no answer. `sent`: the request may have had an effect all the same."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


@dataclass
class PureNode:
    """A chain and the faults of the way to it; times are seconds of `clock`.

    `dead_until`: nothing connects, and connections break. `frozen_until`: nothing is read or answered. `lose_replies`:
    so many transactions are applied and never answered. `steal`: so many submissions find that somebody was faster.
    `arrivals`: every transaction that came, by digest, in order. `events`: what happened, with its time, as text.
    """

    config: DevnetConfig
    state: ChainState
    clock: Callable[[], float]
    latency_seconds: float = 0.15
    dead_until: float = 0.0
    frozen_until: float = 0.0
    lose_replies: int = 0
    steal: int = 0
    arrivals: dict[Id32, Arrival] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    index: Index = field(default_factory=lambda: Index(INDEX_LAG_SECONDS))
    _locks: dict[tuple[Id32, int], Id32] = field(default_factory=dict)
    _running: dict[Id32, "asyncio.Task[Effects]"] = field(default_factory=dict)

    @classmethod
    def at_first_epoch(cls, config: DevnetConfig, clock: Callable[[], float], seed: int = 0) -> "PureNode":
        """A new chain behind its first epoch change, so that there are targets."""
        state = genesis(config, seed.to_bytes(32, "little"), 0)
        apply(state, EpochEnd(0))
        return cls.on(config, state, clock)

    @classmethod
    def on(cls, config: DevnetConfig, state: ChainState, clock: Callable[[], float]) -> "PureNode":
        """A node on a copy of a state: objects are immutable, so that copying is cheap."""
        copy = replace(
            state,
            objects=dict(state.objects),
            deleted=dict(state.deleted),
            models=dict(state.models),
            model_reports=dict(state.model_reports),
            validators=dict(state.validators),
            effects=dict(state.effects),
        )
        node = cls(config, copy, clock)
        node.index.load(copy, ())
        return node

    async def answer(self, *, sent: bool = False) -> None:
        """Returns when a message gets through.

        Raises:
            NotAnsweredError: it does not.
        """
        if self.clock() < self.dead_until:
            raise NotAnsweredError(sent=sent)
        frozen = self.frozen_until - self.clock()
        if frozen > STALL_SECONDS:
            await asyncio.sleep(STALL_SECONDS)
            raise NotAnsweredError(sent=True)
        if frozen > 0:
            await asyncio.sleep(frozen)

    async def execute(self, signed: bytes) -> Effects:
        """As ExecuteTransaction: first effects again for what was executed before.

        Raises:
            Refusal: it was not executed.
            NotAnsweredError: nobody knows.
        """
        if self.clock() < self.dead_until:
            raise NotAnsweredError(sent=False)
        transaction, signature, public_key = read_signed(signed)
        if not signature_is_valid(transaction, signature, public_key):
            raise ValueError("Invalid user signature: Signature is not valid: Fail to verify user sig")
        # What a frozen node was sent lies in its buffers, and is executed when it thaws, also if its client has gone.
        work = self._begin(SignedTransaction(0, transaction, signature, public_key))
        await asyncio.wait({work}, timeout=STALL_SECONDS)
        if not work.done():
            raise NotAnsweredError(sent=True)
        effects = work.result()
        if self.lose_replies > 0:
            self.lose_replies -= 1
            self.note("reply lost", effects.digest)
            raise NotAnsweredError(sent=True)
        await self.answer(sent=True)
        return effects

    def _begin(self, given: SignedTransaction) -> "asyncio.Task[Effects]":
        digest = given.transaction.digest()
        self.arrivals.setdefault(digest, Arrival(given.transaction, digest))
        task = self._running.get(digest)
        if task is None:
            task = self._running[digest] = asyncio.create_task(self._sequence(given, digest))
            task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Effects]") -> None:
        self._running = {digest: other for digest, other in self._running.items() if other is not task}
        if not task.cancelled():
            task.exception()  # whoever sent it may have gone

    async def _sequence(self, given: SignedTransaction, digest: Id32) -> Effects:
        transaction = given.transaction
        coins = [(ref.object_id, ref.version) for ref in transaction.coins()]
        await asyncio.sleep(max(0.0, self.frozen_until - self.clock()))
        done = self.state.effects.get(digest)
        if done is not None:
            return done
        try:
            await self._wait_for_inputs(transaction)
            self._lock(transaction.coins(), digest)
            try:
                await asyncio.sleep(self.latency_seconds)
                if isinstance(transaction.kind, SubmitData) and self.steal > 0:
                    self.steal -= 1
                    self.fill_by_rival(transaction.kind.target_id, transaction.kind)
                check(self.state, transaction)
                effects = self.apply(given).effects
            finally:
                for coin in coins:
                    self._locks.pop(coin, None)
        except Refusal as refusal:
            self._decide(digest, "refused")
            self.note("refused", digest, refusal.message.split(",")[0])
            raise
        assert effects is not None
        self._decide(digest, "failed" if effects.failure else "executed")
        self.note(type(transaction.kind).__name__, digest, effects.failure.kind.name if effects.failure else "done")
        return effects

    def _decide(self, digest: Id32, outcome: str) -> None:
        self.arrivals[digest] = replace(self.arrivals[digest], outcome=outcome)

    def _lock(self, refs: tuple[ObjectRef, ...], digest: Id32) -> None:
        for ref in refs:
            if (ref.object_id, ref.version) in self._locks:
                raise locked(ref, self._locks[ref.object_id, ref.version])
        self._locks.update({(ref.object_id, ref.version): digest for ref in refs})

    async def _wait_for_inputs(self, transaction: TransactionData) -> None:
        try:
            check(self.state, transaction)
        except UnknownObject:
            await asyncio.sleep(UNKNOWN_OBJECT_SECONDS)
            check(self.state, transaction)

    def apply(self, given: ChainInput) -> Applied:
        applied = apply(self.state, given)
        self.index.record(self.clock(), self.state, 0, applied)
        return applied

    def note(self, what: str, digest: Id32 | None = None, detail: object = "") -> None:
        self.events.append(f"{self.clock():.3f} {what} {digest.hex()[:16] if digest else ''} {detail}".rstrip())

    # -- what others do

    def end_epoch(self) -> int:
        self.apply(EpochEnd(int(self.clock() * 1000)))
        self.note("epoch", None, self.state.epoch)
        return self.state.epoch

    def give(self, owner: Id32, amount: int) -> Applied:
        return self.apply(FaucetRequest(int(self.clock() * 1000), owner, amount, 1))

    def act(self, key: DevnetKey, transaction: TransactionData) -> Effects:
        """Somebody sends something and it is executed at once."""
        given = SignedTransaction(0, transaction, key.sign(transaction), key.public)
        effects = self.apply(given).effects
        assert effects is not None
        self.note("another's " + type(transaction.kind).__name__, effects.digest)
        return effects

    def fill_by_rival(self, target_id: Id32, claim: SubmitData) -> None:
        """Another key makes the same claim first, if the target is still to be had."""
        target = self.state.target(target_id)
        if target is None or target.status is not TargetStatus.OPEN:
            return
        rival = devnet_key(RIVAL)
        coin = self.state.objects[self.give(rival.address, VALIDATOR_FUNDS).object_ids[0]].ref
        self.act(rival, TransactionData(replace(claim, bond_coin=coin), rival.address, (coin,)))

    def is_free(self, ref: ObjectRef) -> bool:
        """Whether no transaction under way names the coin."""
        return (ref.object_id, ref.version) not in self._locks

    @property
    def quiet(self) -> bool:
        """Nothing is under way."""
        return not self._running


def read_signed(signed: bytes) -> tuple[TransactionData, bytes, bytes]:
    """Transaction, signature and public key of what `Wallet.sign` makes (§3, "signed tx").

    Raises:
        ValueError: other bytes.
    """
    tail = len(_SIGNATURE_PREFIX) + _SIGNATURE_BYTES + _KEY_BYTES
    read = Reader(signed[-tail:])
    if signed[: len(_SIGNED_PREFIX)] != _SIGNED_PREFIX or read.take(len(_SIGNATURE_PREFIX)) != _SIGNATURE_PREFIX:
        raise ValueError("not a signed transaction")
    return (
        decode_transaction(signed[len(_SIGNED_PREFIX) : -tail]),
        read.take(_SIGNATURE_BYTES),
        read.take(_KEY_BYTES),
    )
