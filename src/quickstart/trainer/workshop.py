"""From an order to a finished model in a folder: start, train, meet the present models, choose the embedding."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from quickstart.chain.board import Board
from quickstart.chain.ids import Id32
from quickstart.data.window import Source, Window
from quickstart.errors import StateError, UsageError, WeightsError
from quickstart.scoring.engine import Architecture, Engine, Weights
from quickstart.scoring.tensor_file import FileAt
from quickstart.scoring.weights import open_weights
from quickstart.scoring.weights_store import WeightsStore
from quickstart.trainer.batches import held_out_windows, kind_of
from quickstart.trainer.evaluation import Contestant, Expectation, by_kind, embedding_to_publish, expectation
from quickstart.trainer.metrics import StepReport
from quickstart.trainer.model import TrainableModel
from quickstart.trainer.plan import TrainingPlan
from quickstart.trainer.products import Product, write_product, write_weights
from quickstart.trainer.rivals import Rival, best_of, contestant, rivals
from quickstart.trainer.training import Training
from quickstart.units import SHANNONS_PER_SOMA

log = logging.getLogger(__name__)

BEST, SCRATCH = "best", "scratch"
BEGUN = "architecture.json"
"""In the folder of a run: what it trains. A run that goes on needs no other model to begin with."""

STAKES = (1, 10, 100, 1_000)
"""Stakes in SOMA whose outcome is shown beside the one that is meant."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to make. `start`: `best` present model, `scratch`, or a safetensors file. `architecture`: from scratch.

    `windows`: held-out ones it is evaluated on. `stake`: shannons it is meant to have. `owner`: whose present models
    it would replace, and does not meet.
    """

    plan: TrainingPlan
    sources: tuple[Source, ...]
    folder: Path
    start: str
    architecture: Architecture
    windows: int
    stake: int
    device: str
    owner: Id32 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What became of an order: after `step` steps, the last with `loss`. `product` and `evaluation` are there when
    that is all of them, and not when training was stopped before; `weights`: checksum of the product's.
    """

    step: int
    loss: float | None
    product: Product | None = None
    weights: Id32 | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)


def make(
    order: Order,
    board: Board | None,
    store: WeightsStore,
    engine: Engine,
    stop: Callable[[], bool],
    report: Callable[[StepReport], None],
    checkpointed: Callable[[], None] = lambda: None,
) -> Made:
    """Trains, and evaluates what was trained to its end. `board`: the network to meet, None for none. `checkpointed`
    is called after each checkpoint.
    """
    windows = held_out_windows(order.sources, order.windows, order.plan.seed)
    present: dict[Id32, Rival] | None = None
    training = _going_on(order, checkpointed)
    if training is None:
        present = _rivals(board, windows, store, engine) if order.start == BEST else None
        training = _training(order, _fresh(order, present or {}), checkpointed)
    loss: float | None = None

    def heard(done: StepReport) -> None:
        nonlocal loss
        loss = done.loss
        report(done)

    if not training.run(stop, heard):
        return Made(training.step, loss)
    draft = write_weights(order.folder, training.model.export())
    weights = open_weights(FileAt(draft))
    own = contestant(weights, windows, engine, order.stake)
    if present is None:
        present = _rivals(board, windows, store, engine)
    ours = {model_id for model_id in present if board and board.models[model_id].owner == order.owner}
    others = {model_id: rival.result for model_id, rival in present.items() if model_id not in ours}
    own = replace(own, published=embedding_to_publish(own, list(others.values())))
    kinds = by_kind([kind_of(window) for window in windows], own.losses, [other.losses for other in others.values()])
    losses = {
        "loss": float(own.losses.mean()),
        "present_loss": min((float(present[model_id].result.losses.mean()) for model_id in ours), default=None),
    }
    outlook = _outlook(own, others, board)
    product, document = write_product(order.folder, draft, own.published, kinds, outlook, losses)
    return Made(training.step, loss, product, weights.checksum, document)


def _rivals(board: Board | None, windows: list[Window], store: WeightsStore, engine: Engine) -> dict[Id32, Rival]:
    return rivals(board.models.values(), windows, store, engine) if board else {}


def _training(order: Order, model: TrainableModel, checkpointed: Callable[[], None]) -> Training:
    return Training(order.plan, model.to(torch.device(order.device)), order.sources, order.folder, checkpointed)


def _going_on(order: Order, checkpointed: Callable[[], None]) -> Training | None:
    """The run that has begun in this folder, with the numbers of its last checkpoint; None if there is none.

    Raises:
        UsageError: it is something else than was asked for.
    """
    try:
        begun = Architecture(**json.loads((order.folder / BEGUN).read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{order.folder / BEGUN} cannot be read ({error}): name another --out") from error
    if order.start == SCRATCH and begun != order.architecture:
        raise UsageError(f"{order.folder} holds a run of another architecture: give the same, or name another --out")
    training = _training(order, TrainableModel(begun, checkpointing=order.plan.checkpointing), checkpointed)
    return training if training.step else None


def _fresh(order: Order, present: Mapping[Id32, Rival]) -> TrainableModel:
    """The model to begin with; what it is goes into the folder."""
    model = _first(order, present)
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        (order.folder / BEGUN).write_text(json.dumps(asdict(model.architecture)))
    except OSError as error:
        raise StateError(f"{order.folder} cannot be written ({error.strerror}): name another --out") from error
    return model


def _first(order: Order, present: Mapping[Id32, Rival]) -> TrainableModel:
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
        return open_weights(FileAt(path))
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
