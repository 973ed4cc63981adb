"""The target that replaces a filled one, from the digest of the transaction that fills it (§2, §11.2, §11.6, §16).

Nobody has to be asked for it: of our own fills the digest is known before they are sent, of others' from the
checkpoint stream. Nor is it taken on trust: effects name the digest of every object they write, and that of a target
covers each of its fields, so what is computed is proven before it is used.
"""

from dataclasses import dataclass

import arrgen
import numpy as np
from numpy.typing import NDArray

from quickstart.chain.board import Board, Epoch, OpenTarget
from quickstart.chain.ids import Id32, derive_id, target_seed
from quickstart.chain.objects import ObjectType, SharedOwner, TargetContents, object_digest
from quickstart.chain.protocol import assign_models

SEED_CREATION = 1
ID_CREATION = 2
"""A submission skips creation number 0, draws the seed with 1, and gives the target number 2 (§11.2)."""

INITIAL_VERSION = 1
"""Initial shared version in the owner of a new target."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A new target as the effects of the filling transaction name it; `digest` is that transaction's."""

    digest: Id32
    version: int
    object_digest: Id32

    @property
    def target_id(self) -> Id32:
        return spawned_id(self.digest)


def spawned_id(digest: Id32) -> Id32:
    """Id of the target that a submission spawns."""
    return derive_id(digest, ID_CREATION)


@dataclass(frozen=True, slots=True, eq=False)
class SpawnRule:
    """What a new target follows from besides a digest. `stakes` in shannons; `embeddings`: float32 (models, width)."""

    epoch: Epoch
    model_ids: tuple[Id32, ...]
    stakes: tuple[int, ...]
    embeddings: NDArray[np.float32]

    @classmethod
    def of(cls, board: Board) -> "SpawnRule | None":
        """The rule of a board; None where nothing spawns or can be computed: no model, or one of another width."""
        models = [model for _, model in sorted(board.models.items())]
        if not models or any(len(model.embedding) != board.width for model in models):
            return None
        return cls(
            board.epoch,
            tuple(model.model_id for model in models),
            tuple(model.stake for model in models),
            np.stack([model.embedding for model in models]),
        )

    def target(self, digest: Id32) -> OpenTarget:
        """The target that the submission with this digest spawns if it executes now, fills, and the budget allows."""
        parameters = self.epoch.parameters
        drawn = arrgen.normal_array(target_seed(digest, SEED_CREATION), [parameters.target_embedding_dim], 0.0, 1.0)
        embedding = np.asarray(drawn, dtype=np.float32)
        models = assign_models(
            embedding, self.model_ids, self.stakes, self.embeddings, parameters.target_models_per_target
        )
        return OpenTarget(
            spawned_id(digest),
            embedding,
            models,
            self.epoch.distance_threshold,
            self.epoch.reward_per_target,
            self.epoch.number,
        )


def is_proven(target: OpenTarget, spawned: Spawned) -> bool:
    """Whether the chain's digest of the new object is that of `target`, field by field."""
    contents = TargetContents(
        embedding=target.embedding,
        model_ids=target.model_ids,
        distance_threshold=target.distance_threshold,
        reward=target.reward,
        generation_epoch=target.generation_epoch,
    )
    computed = object_digest(
        ObjectType.TARGET,
        target.target_id,
        contents.encode(),
        spawned.version,
        SharedOwner(INITIAL_VERSION),
        spawned.digest,
    )
    return computed == spawned.object_digest
