"""Views and targets made of arrays, and the definition of a match as slow and plain as possible."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstart.bank import BankView, ModelColumns
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.matching import MatchTarget


def name(kind: str, number: int) -> Id32:
    return blake2b_256(f"{kind} {number}".encode())


def make_columns(
    embeddings: np.ndarray,
    losses: np.ndarray,
    distance_errors: np.ndarray,
    loss_errors: np.ndarray,
    block: int = 7,
) -> ModelColumns:
    """Columns over blocks of a few rows, as shards would make them."""
    half = embeddings.astype(np.float16)
    n, width = half.shape
    rows = np.arange(n)
    return ModelColumns(
        width=width,
        segments=tuple(half[start : start + block] for start in range(0, n, block)),
        segment=(rows // block).astype(np.int32),
        index=(rows % block).astype(np.int32),
        losses=losses.astype(np.float32),
        inverse_norms=(1 / np.linalg.norm(half.astype(np.float64), axis=1)).astype(np.float32),
        distance_errors=distance_errors.astype(np.float32),
        loss_errors=loss_errors.astype(np.float32),
    )


def make_view(columns: Sequence[ModelColumns], n: int) -> BankView:
    checksums = np.random.default_rng(n).integers(0, 256, (n, 32), np.uint8)
    return BankView(n, {name("model", i): column for i, column in enumerate(columns)}, (0,), (checksums,))


def random_view(
    seed: int,
    n: int = 40,
    models: int = 3,
    width: int = 8,
    missing: float = 0.1,
    loss_step: float = 0.0,
    distance_error: float = 0.02,
    loss_error: float = 0.02,
) -> BankView:
    """Random entries; `loss_step` rounds the losses so that ties occur; errors vary from row to row."""
    random = np.random.default_rng(seed)
    columns = []
    for _ in range(models):
        losses = random.normal(2, 0.2, n)
        if loss_step:
            losses = np.round(losses / loss_step) * loss_step
        losses[random.random(n) < missing] = np.nan
        columns.append(
            make_columns(
                random.standard_normal((n, width)),
                losses,
                distance_error * random.random(n),
                loss_error * random.integers(0, 3, n),
            )
        )
    return make_view(columns, n)


def random_targets(
    seed: int, view: BankView, count: int, per_target: int = 3, threshold: float = 0.6
) -> list[MatchTarget]:
    random = np.random.default_rng([seed, 1])
    names = list(view.models)
    width = next(iter(view.models.values())).width
    return [
        MatchTarget(
            target_id=name("target", number),
            embedding=random.standard_normal(width).astype(np.float32) * np.float32(random.uniform(0.1, 10)),
            models=tuple(names[i] for i in random.permutation(len(names))[:per_target]),
            distance_threshold=float(np.float32(threshold + random.normal(0, 0.1))),
        )
        for number in range(count)
    ]


@dataclass(frozen=True)
class Entry:
    """What the definition says of one window and model."""

    distance: float
    distance_margin: float
    loss_margin: float
    safe: bool


def oracle(view: BankView, target: MatchTarget) -> dict[tuple[int, int], Entry]:
    """All (row, model index) that could be right, by the definition, one number at a time."""
    found = {}
    columns = [view.models[weights] for weights in target.models]
    wanted = target.embedding.astype(np.float64)
    for row in range(view.n):
        losses = [float(column.losses[row]) for column in columns]
        errors = [float(column.loss_errors[row]) for column in columns]
        if any(loss != loss for loss in losses):
            continue
        best_case = min(loss + error for loss, error in zip(losses, errors, strict=True))
        for i, column in enumerate(columns):
            others = [losses[k] - errors[k] for k in range(len(columns)) if k != i]
            loss_margin = min(others, default=float("inf")) - (losses[i] + errors[i])
            stored = view.embedding(target.models[i], row).astype(np.float64)
            distance = 1 - stored @ wanted / (np.linalg.norm(stored) * np.linalg.norm(wanted))
            error = float(column.distance_errors[row])
            margin = target.distance_threshold - distance - error
            if losses[i] - errors[i] <= best_case and distance - error <= target.distance_threshold:
                found[row, i] = Entry(distance, margin, loss_margin, margin > 0 and loss_margin > 0)
    return found
