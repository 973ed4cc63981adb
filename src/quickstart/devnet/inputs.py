"""Everything that can change a chain, as values: what the journal keeps and a restart replays."""

from dataclasses import dataclass

from quickstart.chain import bcs
from quickstart.chain.ids import Id32
from quickstart.chain.objects import ObjectType
from quickstart.chain.transactions import TransactionData
from quickstart.devnet.decoding import decode_transaction
from quickstart.devnet.effects import Effects
from quickstart.devnet.epochs import advance_epoch
from quickstart.devnet.execution import execute
from quickstart.devnet.genesis import faucet
from quickstart.devnet.state import ChainState


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction whose signature was checked before it came here."""

    time_ms: int
    transaction: TransactionData
    signature: bytes
    public_key: bytes

    def encode(self) -> bytes:
        signed = bcs.byte_string(self.transaction.encode()) + self.signature + self.public_key
        return b"\x01" + bcs.u64(self.time_ms) + signed


@dataclass(frozen=True, slots=True)
class FaucetRequest:
    """`coins` coins of `amount` shannons each for `address`."""

    time_ms: int
    address: Id32
    amount: int
    coins: int

    def encode(self) -> bytes:
        return b"\x02" + bcs.u64(self.time_ms) + self.address + bcs.u64(self.amount) + bcs.u64(self.coins)


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The epoch ends at `time_ms`."""

    time_ms: int

    def encode(self) -> bytes:
        return b"\x03" + bcs.u64(self.time_ms)


ChainInput = SignedTransaction | FaucetRequest | EpochEnd


@dataclass(frozen=True, slots=True)
class Applied:
    """What one input did: the digest that names it, the ids it touched, and a transaction's effects.

    `ends_epoch`: it was a system transaction that made `epoch` the current one.
    """

    digest: Id32
    epoch: int
    time_ms: int
    object_ids: tuple[Id32, ...]
    effects: Effects | None
    ends_epoch: bool = False


def decode_input(encoded: bytes) -> ChainInput:
    """Inverse of the inputs' `encode`.

    Raises:
        ValueError: the bytes are not an input.
    """
    read = bcs.Reader(encoded)
    tag, time_ms = read.u8(), read.u64()
    if tag == 1:
        transaction = decode_transaction(read.byte_string())
        signed = SignedTransaction(time_ms, transaction, read.take(64), read.take(32))
        read.finish()
        return signed
    if tag == 2:
        request = FaucetRequest(time_ms, read.take(32), read.u64(), read.u64())
        read.finish()
        return request
    if tag == 3:
        read.finish()
        return EpochEnd(time_ms)
    raise ValueError(f"unknown input {tag}")


def apply(state: ChainState, given: ChainInput) -> Applied:
    """Changes the state by one input.

    Raises:
        Refusal: a transaction that cannot be sequenced; the state is unchanged.
    """
    if isinstance(given, EpochEnd):
        change = advance_epoch(state, given.time_ms)
        return Applied(change.digest, state.epoch, given.time_ms, change.target_ids, None, ends_epoch=True)
    if isinstance(given, FaucetRequest):
        digest, coins = faucet(state, given.address, given.amount, given.coins)
        return Applied(digest, state.epoch, given.time_ms, tuple(coin.object_id for coin in coins), None)
    effects = execute(state, given.transaction)
    touched = tuple(c.object_id for c in effects.changed if c.object_type is not ObjectType.SYSTEM_STATE)
    return Applied(effects.digest, effects.epoch, given.time_ms, touched, effects)
