"""From an order to a finished model in a folder: start, train, meet the present models, choose the embedding."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from quickstart.chain.board import Board
from quickstart.chain.ids import Id32
from quickstart.data.window import Source
from quickstart.errors import UsageError, WeightsError
from quickstart.scoring.engine import Architecture, Engine, Weights
from quickstart.scoring.weights import parse_weights
from quickstart.scoring.weights_store import WeightsStore
from quickstart.trainer.batches import held_out_windows, kind_of
from quickstart.trainer.evaluation import Contestant, Expectation, by_kind, embedding_to_publish, expectation
from quickstart.trainer.model import TrainableModel
from quickstart.trainer.plan import TrainingPlan
from quickstart.trainer.products import Product, write_product
from quickstart.trainer.rivals import Rival, best_of, contestant, rivals
from quickstart.trainer.training import StepReport, Training
from quickstart.units import SHANNONS_PER_SOMA

log = logging.getLogger(__name__)

BEST, SCRATCH = "best", "scratch"
STAKES = (1, 10, 100, 1_000)
"""Stakes in SOMA whose outcome is shown beside the one that is meant."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make. `start`: `best` present model, `scratch`, or a safetensors file. `architecture`: from scratch.

    `windows`: held-out ones it is evaluated on. `stake`: shannons it is meant to have.
    """

    plan: TrainingPlan
    sources: tuple[Source, ...]
    folder: Path
    start: str
    architecture: Architecture
    windows: int
    stake: int
    device: str


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A finished model and its evaluation; `finished` is False when training was stopped before its end."""

    product: Product
    evaluation: dict[str, Any]
    finished: bool


async def make(
    order: Order,
    board: Board | None,
    store: WeightsStore,
    engine: Engine,
    stop: Callable[[], bool],
    report: Callable[[StepReport], None],
) -> Made:
    """Trains and evaluates; the work is done in a thread. `board`: the network to meet, None for none."""
    return await asyncio.to_thread(_make, order, board, store, engine, stop, report)


def _make(
    order: Order,
    board: Board | None,
    store: WeightsStore,
    engine: Engine,
    stop: Callable[[], bool],
    report: Callable[[StepReport], None],
) -> Made:
    windows = held_out_windows(order.sources, order.windows, order.plan.seed)
    present = rivals(board.models.values(), windows, store, engine) if board else {}
    model = _start(order, present).to(torch.device(order.device))
    training = Training(order.plan, model, order.sources, order.folder)
    finished = training.run(stop, report)
    plain = training.model.export()
    own = contestant(parse_weights(plain), windows, engine, order.stake)
    others = {model_id: rival.result for model_id, rival in present.items()}
    own = replace(own, published=embedding_to_publish(own, list(others.values())))
    kinds = by_kind([kind_of(window) for window in windows], own.losses, [other.losses for other in others.values()])
    product = Product(plain, own.published)
    return Made(product, write_product(order.folder, product, kinds, _outlook(own, others, board)), finished)


def _start(order: Order, present: Mapping[Id32, Rival]) -> TrainableModel:
    checkpointing = order.plan.checkpointing
    weights: Weights | None = None
    if order.start == BEST:
        best = best_of(dict(present))
        if best is None:
            raise UsageError("there is no present model to start from: give --start scratch")
        weights = best.weights
    elif order.start != SCRATCH:
        weights = _read_weights(Path(order.start))
    if weights is None:
        return TrainableModel(order.architecture, seed=order.plan.seed, checkpointing=checkpointing)
    return TrainableModel.of(weights, checkpointing=checkpointing)


def _read_weights(path: Path) -> Weights:
    try:
        return parse_weights(path.read_bytes())
    except (OSError, WeightsError) as error:
        raise UsageError(f"--start {path} is no model ({error}): give best, scratch or a safetensors file") from error


def _outlook(own: Contestant, others: Mapping[Id32, Contestant], board: Board | None) -> dict[str, Expectation]:
    """What the meant stake brings, and others; nothing without a network."""
    if board is None:
        return {}
    epoch = board.epoch
    stakes = sorted({own.stake, *(stake * SHANNONS_PER_SOMA for stake in STAKES)})
    return {
        str(stake): expectation(
            replace(own, stake=stake), others, epoch.distance_threshold, epoch.reward_per_target, epoch.parameters
        )
        for stake in stakes
    }
