"""The board: what is open on the network now, as a value changed by events.

Snapshots make a board, events keep it (`apply`), and comparing it with a later snapshot gives the events in
between (`changes`). Whether events come from snapshots or from a stream, the board is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.protocol import NEWEST_PROTOCOL, Parameters
from quickstart.chain.transactions import FloatVector, Manifest


@dataclass(frozen=True, slots=True, eq=False)
class OpenTarget:
    """An open target. `embedding`: float32 (width,); `model_ids` in the order they were assigned; `reward` in shannons.

    `distance_threshold` is the chain's float32, widened.
    """

    target_id: Id32
    embedding: FloatVector
    model_ids: tuple[Id32, ...]
    distance_threshold: float
    reward: int
    generation_epoch: int


@dataclass(frozen=True, slots=True, eq=False)
class ActiveModel:
    """A revealed model. `decryption_key`: 32 bytes; `stake` in shannons; `embedding`: float32 (width,)."""

    model_id: Id32
    owner: Id32
    manifest: Manifest
    decryption_key: bytes
    embedding: FloatVector
    stake: int

    @property
    def weights_id(self) -> Id32:
        """Names the weights without opening them: the encrypted file and the key. Another key makes others of it."""
        return sealed_weights_id(self.manifest, self.decryption_key)

    def same_weights(self, other: "ActiveModel") -> bool:
        return self.manifest == other.manifest and self.decryption_key == other.decryption_key


def sealed_weights_id(manifest: Manifest, decryption_key: bytes) -> Id32:
    """See `ActiveModel.weights_id`."""
    return blake2b_256(manifest.checksum + decryption_key)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's rules: number, start (ms since 1970), parameters, threshold of new targets, reward in shannons, and
    the protocol version they are of.
    """

    number: int
    start_ms: int
    parameters: Parameters
    distance_threshold: float
    reward_per_target: int
    protocol_version: int = NEWEST_PROTOCOL

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.parameters.epoch_duration_ms


@dataclass(frozen=True, slots=True)
class TargetOpened:
    target: OpenTarget


@dataclass(frozen=True, slots=True)
class TargetFilled:
    """The target is no longer open: filled by somebody, or expired."""

    target_id: Id32


@dataclass(frozen=True, slots=True)
class ModelsChanged:
    models: Mapping[Id32, ActiveModel]


@dataclass(frozen=True, slots=True)
class EpochChanged:
    epoch: Epoch


Event: TypeAlias = TargetOpened | TargetFilled | ModelsChanged | EpochChanged


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Everything open in one epoch. Both mappings are by id and never changed in place."""

    epoch: Epoch
    models: Mapping[Id32, ActiveModel]
    targets: Mapping[Id32, OpenTarget]

    @property
    def width(self) -> int:
        return self.epoch.parameters.target_embedding_dim

    def apply(self, event: Event) -> "Board":
        """The board after one event. A new epoch closes every target: those of older epochs have expired."""
        if isinstance(event, TargetOpened):
            return replace(self, targets={**self.targets, event.target.target_id: event.target})
        if isinstance(event, TargetFilled):
            return replace(self, targets={k: v for k, v in self.targets.items() if k != event.target_id})
        if isinstance(event, ModelsChanged):
            return replace(self, models=event.models)
        live = {k: v for k, v in self.targets.items() if v.generation_epoch >= event.epoch.number}
        return replace(self, epoch=event.epoch, targets=live)


def changes(before: Board, after: Board) -> tuple[Event, ...]:
    """The events that turn one board into another; `before` with all of them applied has the content of `after`."""
    events: list[Event] = []
    if before.epoch != after.epoch:
        events.append(EpochChanged(after.epoch))
    if _models_differ(before.models, after.models):
        events.append(ModelsChanged(after.models))
    events.extend(TargetFilled(target_id) for target_id in before.targets.keys() - after.targets.keys())
    events.extend(
        TargetOpened(target) for target_id, target in after.targets.items() if target_id not in before.targets
    )
    return tuple(events)


def _models_differ(before: Mapping[Id32, ActiveModel], after: Mapping[Id32, ActiveModel]) -> bool:
    if before.keys() != after.keys():
        return True
    return any(
        not model.same_weights(after[model_id])
        or model.stake != after[model_id].stake
        or not np.array_equal(model.embedding, after[model_id].embedding)
        for model_id, model in before.items()
    )
