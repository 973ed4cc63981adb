"""On-chain objects, their bytes and digests (`soma-protocol` §2, §3).

Effects name a coin's new digest but never its balance; rebuilding the digest from the balance the rules predict
proves that the prediction is right.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.transactions import FloatVector, Manifest


class ObjectType(IntEnum):
    SYSTEM_STATE = 0
    COIN = 1
    STAKED_SOMA = 2
    TARGET = 3


@dataclass(frozen=True, slots=True)
class AddressOwner:
    address: Id32

    def encode(self) -> bytes:
        return b"\x00" + self.address


@dataclass(frozen=True, slots=True)
class SharedOwner:
    initial_version: int

    def encode(self) -> bytes:
        return b"\x01" + bcs.u64(self.initial_version)


Owner = AddressOwner | SharedOwner


def object_digest(
    object_type: ObjectType,
    object_id: Id32,
    contents: bytes,
    version: int,
    owner: Owner,
    previous_transaction: Id32,
) -> Id32:
    """Digest of one version of an object; `contents` come without the id in front."""
    body = (
        bcs.uleb128(object_type)
        + bcs.u64(version)
        + bcs.byte_string(object_id + contents)
        + owner.encode()
        + bcs.byte_string(previous_transaction)
    )
    return blake2b_256(b"Object::" + body)


def coin_digest(coin_id: Id32, balance: int, version: int, owner: Id32, previous_transaction: Id32) -> Id32:
    """Digest of a coin of `balance` shannons."""
    return object_digest(ObjectType.COIN, coin_id, bcs.u64(balance), version, AddressOwner(owner), previous_transaction)


class TargetStatus(Enum):
    OPEN = "open"
    FILLED = "filled"
    CLAIMED = "claimed"


@dataclass(frozen=True, slots=True, eq=False)
class TargetContents:
    """A target as the chain stores it. Embeddings: float32 (width,); reward and bond in shannons."""

    embedding: FloatVector
    model_ids: tuple[Id32, ...]
    distance_threshold: float
    reward: int
    generation_epoch: int
    status: TargetStatus = TargetStatus.OPEN
    fill_epoch: int = 0
    submitter: Id32 | None = None
    winning_model: Id32 | None = None
    winning_owner: Id32 | None = None
    bond: int = 0
    manifest: Manifest | None = None
    winning_embedding: FloatVector | None = None
    winning_distance: float | None = None
    winning_loss: tuple[float, ...] | None = None
    reporters: frozenset[Id32] = frozenset()

    def encode(self) -> bytes:
        status = {TargetStatus.OPEN: b"\x00", TargetStatus.CLAIMED: b"\x02"}.get(
            self.status, b"\x01" + bcs.u64(self.fill_epoch)
        )
        return (
            bcs.tensor(self.embedding)
            + bcs.vector(self.model_ids, bytes)
            + bcs.tensor([self.distance_threshold])
            + bcs.u64(self.reward)
            + bcs.u64(self.generation_epoch)
            + status
            + bcs.option(self.submitter, bytes)
            + bcs.option(self.winning_model, bytes)
            + bcs.option(self.winning_owner, bytes)
            + bcs.u64(self.bond)
            + bcs.option(self.manifest, Manifest.encode)
            + bcs.option(self.winning_embedding, bcs.tensor)
            + bcs.option(self.winning_distance, lambda distance: bcs.tensor([distance]))
            + bcs.option(self.winning_loss, bcs.tensor)
            + bcs.vector(sorted(self.reporters), bytes)
        )

    @classmethod
    def decode(cls, contents: bytes) -> "TargetContents":
        """Inverse of `encode`; `contents` without the id in front.

        Raises:
            ValueError: the bytes are not a target.
        """
        read = bcs.Reader(contents)
        embedding = read.tensor()
        model_ids = tuple(read.vector(lambda: read.take(32)))
        threshold = float(read.tensor()[0])
        reward, generation_epoch = read.u64(), read.u64()
        tag = read.uleb128()
        status = (TargetStatus.OPEN, TargetStatus.FILLED, TargetStatus.CLAIMED)[tag] if tag < 3 else None
        if status is None:
            raise ValueError(f"unknown target status {tag}")
        fill_epoch = read.u64() if status is TargetStatus.FILLED else 0
        submitter, model, owner = (read.option(lambda: read.take(32)) for _ in range(3))
        bond = read.u64()
        manifest = read.option(lambda: _read_manifest(read))
        winning_embedding = read.option(read.tensor)
        distance = read.option(read.tensor)
        loss = read.option(read.tensor)
        reporters = frozenset(read.vector(lambda: read.take(32)))
        read.finish()
        return cls(
            embedding=embedding,
            model_ids=model_ids,
            distance_threshold=threshold,
            reward=reward,
            generation_epoch=generation_epoch,
            status=status,
            fill_epoch=fill_epoch,
            submitter=submitter,
            winning_model=model,
            winning_owner=owner,
            bond=bond,
            manifest=manifest,
            winning_embedding=winning_embedding,
            winning_distance=None if distance is None else float(distance[0]),
            winning_loss=None if loss is None else tuple(map(float, np.asarray(loss))),
            reporters=reporters,
        )


def _read_manifest(read: bcs.Reader) -> Manifest:
    read.uleb128()
    url = read.string()
    read.uleb128()
    checksum = read.byte_string()
    return Manifest(url, checksum, read.u64())
