"""Constants of the network's V1 evaluator, and the two comparisons of its audit (`soma-protocol` §13)."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from arrgen import normal_array
from numpy.typing import NDArray

SEQUENCE_TOKENS = 1024
SEQUENCES_PER_BATCH = 16
MAX_DATA_BYTES = SEQUENCE_TOKENS * SEQUENCES_PER_BATCH
"""Above one batch the network's own loss changes from run to run, so nothing longer is scored."""

PAD = 256
EOS = 257
VOCABULARY = 264

LAYER_NORM_EPSILON = 1e-5
ROTARY_BASE = 10_000.0

SIGREG_SLICES = 256
SIGREG_POINTS = 17
SIGREG_T_MAX = 3.0
SIGREG_WEIGHT = 0.02

AUDIT_SEED = 0
TOLERANCE = 0.01


def distance(embedding: NDArray[Any], target: NDArray[Any]) -> float:
    """1 - cosine of two vectors of one shape (width,), in float64; NaN if one is zero or not finite."""
    first, second = np.asarray(embedding, np.float64), np.asarray(target, np.float64)
    with np.errstate(all="ignore"):
        cosine = (first @ second) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(1.0 - cosine)


def within_tolerance(x: float | Sequence[float], y: float | Sequence[float]) -> bool:
    """The audit's comparison of claimed and recomputed values (§13), over all elements; shapes must be equal.

    An element agrees if both are equal (infinities of one sign too), both are NaN, or
    |x - y| < max(0.01, 0.01 max(|x|, |y|)).
    """
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.shape != second.shape:
        return False
    pairs = zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)
    return all(_agree(a, b) for a, b in pairs)


def _agree(x: float, y: float) -> bool:
    if x == y or (math.isnan(x) and math.isnan(y)):
        return True
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    return abs(x - y) < max(TOLERANCE, TOLERANCE * max(abs(x), abs(y)))


@lru_cache(maxsize=8)
def sigreg_projection(width: int, seed: int) -> NDArray[np.float64]:
    """A of §13: float64 (width, 256), standard normal numbers of `seed`, each column divided by its norm;
    read-only.
    """
    noise = normal_array(seed, [width, SIGREG_SLICES], 0.0, 1.0).astype(np.float64)
    projection: NDArray[np.float64] = noise / np.linalg.norm(noise, axis=0)
    projection.flags.writeable = False
    return projection


def sigreg_step() -> float:
    """Distance of two of the 17 points t = 0, 3/16, ..., 3."""
    return SIGREG_T_MAX / (SIGREG_POINTS - 1)


@lru_cache(maxsize=1)
def sigreg_window() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """φ(t) = exp(-t²/2) and the weights w(t) φ(t) at the 17 points, float64 (17,) each.

    w is the trapezoid rule over [-3, 3] folded onto [0, 3]: 3/16 at both ends and 3/8 between.
    """
    points = np.arange(SIGREG_POINTS) * sigreg_step()
    characteristic = np.exp(-(points**2) / 2)
    trapezoid = np.full(SIGREG_POINTS, 2 * sigreg_step())
    trapezoid[[0, -1]] = sigreg_step()
    return characteristic, trapezoid * characteristic
