"""Which targets the bank could have filled: float64 brute force, on purpose without the matcher's parts."""

from collections.abc import Sequence

import numpy as np

from quickstart.bank.view import BankView
from quickstart.chain.ids import Id32
from quickstart.matching.values import MatchTarget

_BLOCK = 1024


def fillable(view: BankView, targets: Sequence[MatchTarget]) -> set[Id32]:
    """Ids of the targets that have at least one window to send: safe winner, safely within the threshold.

    Targets with a model that is not in the view, or is of another width, are not fillable.
    """
    by_models: dict[tuple[Id32, ...], list[MatchTarget]] = {}
    for target in targets:
        widths = {view.models[w].width if w in view.models else None for w in target.models}
        if widths == {len(target.embedding)}:
            by_models.setdefault(target.models, []).append(target)
    found: set[Id32] = set()
    for models, group in by_models.items():
        wanted = np.stack([target.embedding for target in group]).astype(np.float64)
        thresholds = np.array([target.distance_threshold for target in group])
        norms = np.linalg.norm(wanted, axis=1)
        usable = np.isfinite(norms) & (norms > 0)
        wanted[usable] /= norms[usable, None]
        filled = np.zeros(len(group), np.bool_)
        for start in range(0, view.n, _BLOCK):
            filled |= _filled_by(view, models, wanted, thresholds, slice(start, start + _BLOCK))
        found.update(target.target_id for target, hit, good in zip(group, filled, usable, strict=True) if hit and good)
    return found


def _filled_by(
    view: BankView,
    models: tuple[Id32, ...],
    wanted: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    thresholds: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rows: slice,
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """bool (k,): the targets that a window of this block fills."""
    losses = np.stack([view.models[weights].losses[rows] for weights in models]).astype(np.float64)
    errors = np.stack([view.models[weights].loss_errors[rows] for weights in models]).astype(np.float64)
    filled = np.zeros(len(wanted), np.bool_)
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
        distances = 1.0 - wanted @ unit.T
        filled |= (distances + columns.distance_errors[chosen] < thresholds[:, None]).any(axis=1)
    return filled
