"""Directions of many dimensions on a plane: principal components by singular values. Pure, numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST_POINTS = 600
"""Points of a group that are used: the plane of a few hundred is that of all, and costs a fraction of a second."""


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """`points`: float32 (n, 2) by group. `shares`: of all variance, what either axis shows."""

    points: Mapping[str, Floats]
    shares: tuple[float, float]


def atlas(groups: Mapping[str, Floats]) -> Atlas:
    """Projects groups of vectors, each float32 (n, width), all of one width, onto the plane in which they differ most.

    Vectors are scaled to length one first: matching knows directions only. Those without a direction are left out, and
    of a large group evenly spaced ones are taken. The signs of the axes are fixed, so the same vectors give the same
    picture.
    """
    units = {name: _units(vectors) for name, vectors in groups.items()}
    everything = np.concatenate([one for one in units.values() if len(one)] or [np.zeros((0, 2), np.float32)])
    if len(everything) < 2:
        return Atlas({name: np.zeros((len(one), 2), np.float32) for name, one in units.items()}, (0.0, 0.0))
    centre = everything.mean(axis=0)
    _, lengths, axes = np.linalg.svd(everything - centre, full_matrices=False)
    plane = axes[:2] * np.where(axes[:2].sum(axis=1) < 0, -1.0, 1.0)[:, None]
    total = float((lengths**2).sum()) or 1.0
    shares = [float(length**2) / total for length in lengths[:2]] + [0.0, 0.0]
    points = {name: ((one - centre) @ plane.T).astype(np.float32) for name, one in units.items() if len(one)}
    empty = np.zeros((0, 2), np.float32)
    return Atlas({name: points.get(name, empty) for name in units}, (shares[0], shares[1]))


def _units(vectors: Floats) -> Floats:
    if len(vectors) > MOST_POINTS:
        vectors = vectors[np.linspace(0, len(vectors) - 1, MOST_POINTS).astype(np.int64)]
    lengths = np.linalg.norm(vectors, axis=1) if len(vectors) else np.zeros(0)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.asarray(vectors[usable] / lengths[usable, None], np.float32) if len(vectors) else vectors
