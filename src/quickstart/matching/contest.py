"""Which model wins a window, and by how much more than the certified errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import ModelColumns, Rows

SMALLEST_ERROR = 1e-6
"""A unit for margins where a certified error is zero; about the rounding of a float32 loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """m models on r windows. All arrays are (m, r).

    `margin`: float64, how far the model stays ahead of every other if all errors are at their worst; positive
    for the safe winner only, -inf where a model has no entry. `unit`: float64, the sum of the two loss errors
    in it. `contender`: bool, the model wins if the errors are kind to it.
    """

    margin: NDArray[np.float64]
    unit: NDArray[np.float64]
    contender: NDArray[np.bool_]


def contest(columns: Sequence[ModelColumns], rows: Rows | slice) -> Contest:
    """Judges the models of one target on the windows `rows`."""
    losses = np.stack([column.losses[rows] for column in columns]).astype(np.float64)
    errors = np.stack([column.loss_errors[rows] for column in columns]).astype(np.float64)
    complete = np.isfinite(losses).all(axis=0)
    lowest = np.where(complete, losses - errors, 0.0)
    highest = np.where(complete, losses + errors, 0.0)
    contender = complete & (lowest <= highest.min(axis=0))
    margin = np.full(losses.shape, np.inf)
    unit = np.full(losses.shape, SMALLEST_ERROR)
    if len(columns) > 1:
        for model in range(len(columns)):
            others = lowest.copy()
            others[model] = np.inf
            rival = others.argmin(axis=0)[None, :]
            margin[model] = np.take_along_axis(others, rival, axis=0)[0] - highest[model]
            unit[model] += errors[model] + np.take_along_axis(errors, rival, axis=0)[0]
    margin[:, ~complete] = -np.inf
    return Contest(margin, unit, contender)


def contenders(columns: Sequence[ModelColumns], n: int, block: int = 1 << 16) -> NDArray[np.bool_]:
    """bool (m, n): `Contest.contender` of all rows, in blocks so that a large bank needs little memory."""
    found = np.empty((len(columns), n), np.bool_)
    for start in range(0, n, block):
        found[:, start : start + block] = contest(columns, slice(start, min(start + block, n))).contender
    return found
