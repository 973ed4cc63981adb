"""Transactions as values, and their bytes (`soma-protocol` §2, §3).

Every kind this product or its devnet meets is a frozen dataclass with `encode()`; `TransactionData` adds
sender and gas, and gives the bytes that are signed and the digest that names the transaction before it is sent.
Ids, addresses and digests are 32 raw bytes; amounts are shannons; embeddings are float32 arrays.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256

FloatVector: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One version of one object: what a transaction names as a coin."""

    object_id: Id32
    version: int
    digest: Id32

    def encode(self) -> bytes:
        return self.object_id + bcs.u64(self.version) + bcs.byte_string(self.digest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where bytes lie and how to check them: public URL, BLAKE2b-256 checksum, size in bytes."""

    url: str
    checksum: Id32
    size: int

    def encode(self) -> bytes:
        return b"\x00" + bcs.string(self.url) + b"\x00" + bcs.byte_string(self.checksum) + bcs.u64(self.size)


@dataclass(frozen=True, slots=True)
class TransferCoin:
    index: ClassVar[int] = 9
    coin: ObjectRef
    amount: int | None
    recipient: Id32

    def encode(self) -> bytes:
        return self.coin.encode() + bcs.option(self.amount, bcs.u64) + self.recipient


@dataclass(frozen=True, slots=True)
class PayCoins:
    index: ClassVar[int] = 10
    coins: tuple[ObjectRef, ...]
    amounts: tuple[int, ...]
    recipients: tuple[Id32, ...]

    def encode(self) -> bytes:
        return (
            bcs.vector(self.coins, ObjectRef.encode)
            + b"\x01"
            + bcs.vector(self.amounts, bcs.u64)
            + bcs.vector(self.recipients, bytes)
        )


@dataclass(frozen=True, slots=True)
class TransferObjects:
    index: ClassVar[int] = 11
    objects: tuple[ObjectRef, ...]
    recipient: Id32

    def encode(self) -> bytes:
        return bcs.vector(self.objects, ObjectRef.encode) + self.recipient


@dataclass(frozen=True, slots=True)
class CreateModel:
    index: ClassVar[int] = 14
    stake: int
    commission_bps: int
    architecture_version: int

    def encode(self) -> bytes:
        return bcs.u64(self.stake) + bcs.u64(self.commission_bps) + bcs.u64(self.architecture_version)


@dataclass(frozen=True, slots=True)
class CommitModel:
    index: ClassVar[int] = 15
    model_id: Id32
    manifest: Manifest
    weights_commitment: Id32
    embedding_commitment: Id32
    key_commitment: Id32

    def encode(self) -> bytes:
        commitments = (self.weights_commitment, self.embedding_commitment, self.key_commitment)
        return self.model_id + self.manifest.encode() + b"".join(map(bcs.byte_string, commitments))


@dataclass(frozen=True, slots=True, eq=False)
class RevealModel:
    index: ClassVar[int] = 16
    model_id: Id32
    decryption_key: bytes
    embedding: FloatVector

    def encode(self) -> bytes:
        return self.model_id + bcs.byte_string(self.decryption_key) + bcs.tensor(self.embedding)


@dataclass(frozen=True, slots=True)
class AddStakeToModel:
    index: ClassVar[int] = 17
    model_id: Id32
    coin: ObjectRef
    amount: int | None

    def encode(self) -> bytes:
        return self.model_id + self.coin.encode() + bcs.option(self.amount, bcs.u64)


@dataclass(frozen=True, slots=True)
class SetModelCommissionRate:
    index: ClassVar[int] = 18
    model_id: Id32
    commission_bps: int

    def encode(self) -> bytes:
        return self.model_id + bcs.u64(self.commission_bps)


@dataclass(frozen=True, slots=True)
class _NamesModel:
    model_id: Id32

    def encode(self) -> bytes:
        return self.model_id


class DeactivateModel(_NamesModel):
    index: ClassVar[int] = 19


class ReportModel(_NamesModel):
    index: ClassVar[int] = 20


class UndoReportModel(_NamesModel):
    index: ClassVar[int] = 21


@dataclass(frozen=True, slots=True, eq=False)
class SubmitData:
    """A claim to a target: `distance` is 1 - cosine, `loss` the winning model's, both float32 on the wire."""

    index: ClassVar[int] = 22
    target_id: Id32
    manifest: Manifest
    model_id: Id32
    embedding: FloatVector
    distance: float
    loss: tuple[float, ...]
    bond_coin: ObjectRef

    def encode(self) -> bytes:
        return (
            self.target_id
            + self.manifest.encode()
            + self.model_id
            + bcs.tensor(self.embedding)
            + bcs.tensor([self.distance])
            + bcs.tensor(self.loss)
            + self.bond_coin.encode()
        )


@dataclass(frozen=True, slots=True)
class _NamesTarget:
    target_id: Id32

    def encode(self) -> bytes:
        return self.target_id


class ClaimRewards(_NamesTarget):
    index: ClassVar[int] = 23


class ReportSubmission(_NamesTarget):
    index: ClassVar[int] = 24


class UndoReportSubmission(_NamesTarget):
    index: ClassVar[int] = 25


@dataclass(frozen=True, slots=True)
class OtherKind:
    """A kind the product never sends (validators, staking): kept as its BCS payload so that digests still agree."""

    index: int
    payload: bytes
    coins: tuple[ObjectRef, ...] = field(default=())

    def encode(self) -> bytes:
        return self.payload


Kind: TypeAlias = (
    TransferCoin
    | PayCoins
    | TransferObjects
    | CreateModel
    | CommitModel
    | RevealModel
    | AddStakeToModel
    | SetModelCommissionRate
    | DeactivateModel
    | ReportModel
    | UndoReportModel
    | SubmitData
    | ClaimRewards
    | ReportSubmission
    | UndoReportSubmission
    | OtherKind
)


@dataclass(frozen=True, slots=True)
class TransactionData:
    """What is signed. `gas` coins are merged into the first; together with the kind's own coins they are its inputs."""

    kind: Kind
    sender: Id32
    gas: tuple[ObjectRef, ...]

    def encode(self) -> bytes:
        return (
            b"\x00"
            + bcs.uleb128(self.kind.index)
            + self.kind.encode()
            + self.sender
            + bcs.vector(self.gas, ObjectRef.encode)
        )

    def digest(self) -> Id32:
        """Names the transaction for ever; known before it is signed or sent."""
        return digest_of(self.encode())

    def signing_hash(self) -> Id32:
        """The 32 bytes an ed25519 key signs."""
        return blake2b_256(b"\x00\x00\x01" + self.encode())

    def coins(self) -> tuple[ObjectRef, ...]:
        """Every owned object the transaction names, once each, gas first."""
        kind = self.kind
        named: tuple[ObjectRef, ...] = ()
        if isinstance(kind, TransferCoin | AddStakeToModel):
            named = (kind.coin,)
        elif isinstance(kind, PayCoins | OtherKind):
            named = kind.coins
        elif isinstance(kind, TransferObjects):
            named = kind.objects
        elif isinstance(kind, SubmitData):
            named = (kind.bond_coin,)
        return tuple(dict.fromkeys(self.gas + named))


def digest_of(transaction_bytes: bytes) -> Id32:
    """Digest of encoded `TransactionData`."""
    return blake2b_256(b"TransactionData::" + transaction_bytes)
