"""Making targets: a random direction, the models it goes to, what it pays (`soma-protocol` §11.6)."""

from collections.abc import Sequence

import arrgen
import numpy as np

from quickstart.chain.objects import TargetContents
from quickstart.chain.protocol import assign_models
from quickstart.chain.transactions import FloatVector
from quickstart.devnet.state import ChainState, Model


def direction(seed: int, width: int) -> FloatVector:
    """Standard normal float32 (width,), the same numbers as everywhere on the network."""
    return np.asarray(arrgen.normal_array(seed, [width], 0.0, 1.0), dtype=np.float32)


def new_target(state: ChainState, models: Sequence[Model], seed: int) -> TargetContents:
    """An open target of this epoch for `models` (the active ones, ascending by id, at least one)."""
    embedding = direction(seed, state.parameters.target_embedding_dim)
    assigned = assign_models(
        embedding,
        [model.model_id for model in models],
        [model.stake for model in models],
        np.stack([model.embedding for model in models]),
        state.parameters.target_models_per_target,
    )
    return TargetContents(
        embedding=embedding,
        model_ids=assigned,
        distance_threshold=state.threshold,
        reward=state.reward_per_target,
        generation_epoch=state.epoch,
    )
