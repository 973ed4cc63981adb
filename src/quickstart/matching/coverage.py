"""Coverage: the share of random targets the bank can fill.

It is the quality measure of a bank, and needs no network: targets are random directions (`soma-protocol` §2).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import BankView, Rows
from quickstart.chain.ids import Id32
from quickstart.matching.contest import contest
from quickstart.matching.resident import stream

_CONTEST_ROWS = 1 << 16


def coverage(view: BankView, models: Sequence[Id32], threshold: float, seed: int, samples: int = 400) -> float:
    """Share of `samples` random directions that a safe winner among `models` fills at distance `threshold`.

    The standard error is at most 0.5 / sqrt(samples).
    """
    if not _ready(view, models):
        return 0.0
    directions = random_directions(view.models[models[0]].width, seed, samples)
    filled = np.zeros(samples, np.bool_)
    for _, hits in _hits(view, models, directions, threshold):
        filled |= hits.any(axis=1)
    return float(filled.mean())


def _ready(view: BankView, models: Sequence[Id32]) -> bool:
    """Whether the bank has entries of all these models, in one width."""
    return all(weights in view.models for weights in models) and (
        len({view.models[weights].width for weights in models}) == 1
    )


def random_directions(width: int, seed: int, samples: int) -> NDArray[np.float32]:
    """float32 (samples, width): directions spread evenly over the sphere."""
    normal = np.random.default_rng(seed).standard_normal((samples, width))
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    return normal.astype(np.float32)


def _hits(
    view: BankView, models: Sequence[Id32], directions: NDArray[np.float32], threshold: float
) -> Iterator[tuple[Rows, NDArray[np.bool_]]]:
    """Blocks of rows that have a safe winner, and bool (samples, rows): which directions each fills."""
    columns = [view.models[weights] for weights in models]
    with ThreadPoolExecutor(1) as pool:
        for start in range(0, view.n, _CONTEST_ROWS):
            judged = contest(columns, slice(start, min(start + _CONTEST_ROWS, view.n)))
            for model, column in enumerate(columns):
                rows = np.flatnonzero(judged.margin[model] > 0) + start
                for block in stream(column, rows, pool, ahead=1):
                    cosines = directions @ block.unit.T
                    yield block.rows, cosines - column.distance_errors[block.rows] > 1.0 - threshold
