"""The chain's state: objects, models, validators, and the scalars of an epoch. Everything in it is immutable
but it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum

import numpy as np

from quickstart.chain import bcs
from quickstart.chain.ids import SYSTEM_STATE_ID, ZERO_ID, Id32, blake2b_256
from quickstart.chain.objects import ObjectType, Owner, SharedOwner, TargetContents, object_digest
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import FloatVector, Manifest, ObjectRef
from quickstart.devnet.config import ChainRules
from quickstart.devnet.effects import Effects, ObjectState

QUORUM = 6667
"""Voting power, of 10,000, that makes a report true."""


@dataclass(frozen=True, slots=True)
class Coin:
    """Shannons."""

    balance: int

    def encode(self) -> bytes:
        return bcs.u64(self.balance)


@dataclass(frozen=True, slots=True)
class StakedSoma:
    """A receipt for stake in a pool; `principal` in shannons."""

    pool_id: Id32
    activation_epoch: int
    principal: int

    def encode(self) -> bytes:
        return self.pool_id + bcs.u64(self.activation_epoch) + bcs.u64(self.principal)


Contents = Coin | StakedSoma | TargetContents


def type_of(contents: Contents) -> ObjectType:
    if isinstance(contents, Coin):
        return ObjectType.COIN
    return ObjectType.TARGET if isinstance(contents, TargetContents) else ObjectType.STAKED_SOMA


@dataclass(frozen=True, slots=True, eq=False)
class StoredObject:
    """One version of one object."""

    object_id: Id32
    version: int
    owner: Owner
    contents: Contents
    previous_transaction: Id32
    digest: Id32

    @classmethod
    def of(
        cls, object_id: Id32, version: int, owner: Owner, contents: Contents, previous_transaction: Id32
    ) -> "StoredObject":
        """The object with its digest computed."""
        encoded = contents.encode()
        digest = object_digest(type_of(contents), object_id, encoded, version, owner, previous_transaction)
        return cls(object_id, version, owner, contents, previous_transaction, digest)

    @property
    def object_type(self) -> ObjectType:
        return type_of(self.contents)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.object_id, self.version, self.digest)

    @property
    def state(self) -> ObjectState:
        return ObjectState(self.version, self.digest, self.owner)


class ModelStatus(Enum):
    CREATED = "created"
    PENDING = "pending"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a commit binds its reveal to. `embedding` is H(bcs tensor), `key` H(the 32-byte key)."""

    manifest: Manifest
    weights: Id32
    embedding: Id32
    key: Id32
    epoch: int


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model and its staking pool. Stakes in shannons; `embedding` float32 (width,), empty until
    revealed."""

    model_id: Id32
    owner: Id32
    pool_id: Id32
    stake: int
    commission_bps: int
    next_commission_bps: int
    create_epoch: int
    status: ModelStatus = ModelStatus.CREATED
    architecture_version: int = 1
    commitment: Commitment | None = None
    pending_update: Commitment | None = None
    decryption_key: bytes = b""
    embedding: FloatVector = field(default_factory=lambda: np.empty(0, np.float32))
    pending_stake: int = 0
    activation_epoch: int | None = None
    deactivation_epoch: int | None = None

    @property
    def is_active(self) -> bool:
        return self.status is ModelStatus.ACTIVE


@dataclass(slots=True)
class ChainState:
    """The whole chain. Changed only by `execution.execute`, `epochs.advance_epoch` and `faucet`.

    `deleted`: id -> version at which an object ceased to be. `slashed`: shannons of stake that left the
    supply; `minted`: shannons that genesis and the faucet made. `effects`: of every executed transaction, by
    digest."""

    rules: ChainRules
    chain_id: Id32
    parameters: Parameters
    pool: int
    threshold: float
    epoch: int = 0
    epoch_start_ms: int = 0
    reward_per_target: int = 0
    generated: int = 0
    hits: int = 0
    hits_ema: int = 0
    fees: int = 0
    minted: int = 0
    slashed: int = 0
    faucet_requests: int = 0
    system_version: int = 1
    system_transaction: Id32 = ZERO_ID
    objects: dict[Id32, StoredObject] = field(default_factory=dict)
    deleted: dict[Id32, int] = field(default_factory=dict)
    models: dict[Id32, Model] = field(default_factory=dict)
    model_reports: dict[Id32, frozenset[Id32]] = field(default_factory=dict)
    validators: dict[Id32, int] = field(default_factory=dict)
    effects: dict[Id32, Effects] = field(default_factory=dict)

    def active_models(self) -> list[Model]:
        """Ascending by id, as assignment iterates them."""
        return [model for _, model in sorted(self.models.items()) if model.is_active]

    def target_budget(self) -> int:
        """Shannons that may become target rewards in one epoch."""
        return self.rules.emission_per_epoch * self.parameters.target_reward_allocation_bps // 10_000

    def can_fund_target(self, pool: int, generated: int) -> bool:
        """Whether pool and budget allow one more target (§11.2)."""
        reward = self.reward_per_target
        return pool >= reward and generated * reward + reward <= self.target_budget()

    def voting_power(self, voters: frozenset[Id32]) -> int:
        return sum(self.validators.get(voter, 0) for voter in voters)

    def target(self, target_id: Id32) -> TargetContents | None:
        stored = self.objects.get(target_id)
        return stored.contents if stored and isinstance(stored.contents, TargetContents) else None

    def targets(self) -> Iterator[tuple[Id32, TargetContents]]:
        """Every target that is not claimed yet."""
        for object_id, stored in self.objects.items():
            if isinstance(stored.contents, TargetContents):
                yield object_id, stored.contents

    def coins(self, owner: Id32) -> list[StoredObject]:
        """An address's coins, ascending in balance. Walks all objects: for the devnet's own few
        transactions."""
        mine = [
            (stored.contents.balance, object_id, stored)
            for object_id, stored in self.objects.items()
            if isinstance(stored.contents, Coin) and not isinstance(stored.owner, SharedOwner)
            if stored.owner.address == owner
        ]
        return [stored for *_, stored in sorted(mine, key=lambda item: item[:2])]

    def balance(self, owner: Id32) -> int:
        return sum(s.contents.balance for s in self.coins(owner) if isinstance(s.contents, Coin))

    def system_object(self) -> ObjectState:
        """The SystemState object as effects show it. Its contents here are the epoch's scalars: the digest
        changes with them, but is not the network's."""
        scalars = (self.epoch, self.pool, self.generated, self.hits, self.fees, len(self.models))
        owner = SharedOwner(1)
        contents = b"".join(map(bcs.u64, scalars))
        digest = object_digest(
            ObjectType.SYSTEM_STATE,
            SYSTEM_STATE_ID,
            contents,
            self.system_version,
            owner,
            self.system_transaction,
        )
        return ObjectState(self.system_version, digest, owner)

    def supply(self) -> int:
        """Shannons in coins, pool, uncollected fees, target rewards, bonds and stakes; equals minted -
        slashed."""
        held = self.pool + self.fees + sum(m.stake + m.pending_stake for m in self.models.values())
        for stored in self.objects.values():
            contents = stored.contents
            if isinstance(contents, Coin):
                held += contents.balance
            elif isinstance(contents, TargetContents):
                held += contents.reward + contents.bond
        return held

    def fingerprint(self) -> Id32:
        """Hash of everything: two chains with the same inputs have the same."""
        parts = [repr(getattr(self, f.name)) for f in fields(self) if f.name not in _HASHED_APART]
        parts += [f"{s.object_id.hex()} {s.version} {s.digest.hex()}" for _, s in sorted(self.objects.items())]
        for _, model in sorted(self.models.items()):
            values = [getattr(model, f.name) for f in fields(model) if f.name != "embedding"]
            parts.append(repr(values) + model.embedding.tobytes().hex())
        parts += [repr(sorted((k, sorted(v)) for k, v in self.model_reports.items()))]
        return blake2b_256("\n".join(parts).encode())


_HASHED_APART = frozenset({"objects", "models", "model_reports"})
