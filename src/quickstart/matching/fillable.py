"""Which targets the bank could have filled: float64 brute force, on purpose without the matcher's parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import BankView
from quickstart.chain.ids import Id32
from quickstart.matching.values import MatchTarget

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Nearest:
    """The window that comes nearest to a target with a safe winner.

    `distance`: at worst, 1 - cosine and its certified error; below the threshold the target can be filled. `model`:
    the winner's place among the target's models.
    """

    distance: float
    model: int


def fillable(view: BankView, targets: Sequence[MatchTarget]) -> set[Id32]:
    """Ids of the targets that have at least one window to send: safe winner, safely within the threshold."""
    found = nearest(view, targets)
    return {
        target.target_id
        for target in targets
        if target.target_id in found and found[target.target_id].distance < target.distance_threshold
    }


def nearest(view: BankView, targets: Sequence[MatchTarget]) -> dict[Id32, Nearest]:
    """By id, how near the bank comes to each target.

    Left out are targets with a model that is not in the view, or is of another width, and those without a direction or
    any window with a safe winner.
    """
    by_models: dict[tuple[Id32, ...], list[MatchTarget]] = {}
    for target in targets:
        widths = {view.models[w].width if w in view.models else None for w in target.models}
        if widths == {len(target.embedding)}:
            by_models.setdefault(target.models, []).append(target)
    found: dict[Id32, Nearest] = {}
    for models, group in by_models.items():
        wanted = np.stack([target.embedding for target in group]).astype(np.float64)
        norms = np.linalg.norm(wanted, axis=1)
        usable = np.isfinite(norms) & (norms > 0)
        wanted[usable] /= norms[usable, None]
        least = np.full(len(group), np.inf)
        winner = np.zeros(len(group), np.int64)
        for start in range(0, view.n, _BLOCK):
            for model, distances in _distances(view, models, wanted, slice(start, start + _BLOCK)):
                nearer = distances < least
                least[nearer], winner[nearer] = distances[nearer], model
        for target, distance, model, good in zip(group, least.tolist(), winner.tolist(), usable, strict=True):
            if good and np.isfinite(distance):
                found[target.target_id] = Nearest(distance, model)
    return found


def _distances(
    view: BankView, models: tuple[Id32, ...], wanted: NDArray[np.float64], rows: slice
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """For each model that wins some window of this block safely: its place, and float64 (k,), the least distance of
    each target to one of those windows.
    """
    losses = np.stack([view.models[weights].losses[rows] for weights in models]).astype(np.float64)
    errors = np.stack([view.models[weights].loss_errors[rows] for weights in models]).astype(np.float64)
    winners = np.where(np.isnan(losses).any(axis=0), -1, np.nan_to_num(losses).argmin(axis=0))
    for model, weights in enumerate(models):
        others = [other for other in range(len(models)) if other != model]
        safe = winners == model
        for other in others:
            safe &= losses[model] + errors[model] < losses[other] - errors[other]
        chosen = np.flatnonzero(safe) + rows.start
        if not len(chosen):
            continue
        columns = view.models[weights]
        stored = np.empty((len(chosen), columns.width), np.float32)
        columns.gather(chosen, stored)
        unit = stored / np.linalg.norm(stored.astype(np.float64), axis=1)[:, None]
        yield model, (1.0 - wanted @ unit.T + columns.distance_errors[chosen]).min(axis=1)
