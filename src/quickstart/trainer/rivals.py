"""The network's present models on held-out windows: whom a model of ours would meet."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quickstart.chain.board import ActiveModel
from quickstart.chain.ids import Id32, format_id
from quickstart.data.window import Window
from quickstart.errors import WeightsError
from quickstart.scoring.engine import Engine, Weights
from quickstart.scoring.weights_store import WeightsStore
from quickstart.trainer.evaluation import Contestant, Floats

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """One present model: its weights, and how it does on the windows."""

    weights: Weights
    result: Contestant


def rivals(
    models: Iterable[ActiveModel], windows: Sequence[Window], store: WeightsStore, engine: Engine
) -> dict[Id32, Rival]:
    """Every model whose weights can be had and used; the others are told of and left out."""
    found: dict[Id32, Rival] = {}
    for model in models:
        try:
            weights = store.fetch(model.manifest, model.decryption_key)
            found[model.model_id] = Rival(weights, contestant(weights, windows, engine, model.stake, model.embedding))
        except WeightsError as error:
            log.error("model %s is left out of the evaluation: %s", format_id(model.model_id), error)
    return found


def contestant(
    weights: Weights, windows: Sequence[Window], engine: Engine, stake: int, published: Floats | None = None
) -> Contestant:
    """A model scored on the windows; `published` is zero until it is chosen.

    Raises:
        WeightsError: the model gives NaN or infinity.
    """
    shard = engine.score(weights, [window.data for window in windows])
    if shard.failures:
        raise WeightsError(f"{len(shard.failures)} windows have no result, the first: {shard.failures[0].reason}")
    own = shard.embeddings[0] * 0 if published is None else published
    return Contestant(stake, own, shard.losses, shard.embeddings)


def best_of(found: dict[Id32, Rival]) -> Rival | None:
    """The model with the lowest mean loss on the windows."""
    return min(found.values(), key=lambda rival: float(rival.result.losses.mean()), default=None)
