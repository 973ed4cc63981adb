"""Coverage: the share of random targets the bank can fill, and which kind of window raises it most.

It is the quality measure of a bank, and needs no network: targets are random directions (`soma-protocol` §2).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import BankView, Rows
from quickstart.chain.ids import Id32
from quickstart.matching.contest import contest
from quickstart.matching.resident import stream

_CONTEST_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class GroupGain:
    """What one group of windows (a source, a kind of file) does for coverage.

    `windows`: how many can be sent at all. `alone`: the share of directions the group fills by itself;
    `only`: the share that no other group fills. `gain_per_window`: the mean loss of coverage when one of its
    windows is left out, which is what the next window of that group is expected to add.
    """

    group: str
    windows: int
    alone: float
    only: float
    gain_per_window: float


def coverage(view: BankView, models: Sequence[Id32], threshold: float, seed: int, samples: int = 400) -> float:
    """Share of `samples` random directions that a safe winner among `models` fills at distance `threshold`.

    The standard error is at most 0.5 / sqrt(samples).
    """
    if not _ready(view, models):
        return 0.0
    directions = _directions(view.models[models[0]].width, seed, samples)
    filled = np.zeros(samples, np.bool_)
    for _, hits in _hits(view, models, directions, threshold):
        filled |= hits.any(axis=1)
    return float(filled.mean())


def gain_by_group(
    view: BankView,
    models: Sequence[Id32],
    threshold: float,
    groups: Sequence[str],
    seed: int,
    samples: int = 400,
) -> list[GroupGain]:
    """The groups of windows, the one whose next window raises coverage most first.

    Raises:
        ValueError: `groups` does not name every row of the view.
    """
    if len(groups) != view.n:
        raise ValueError(f"{len(groups)} group names for {view.n} windows")
    names, numbers = np.unique(np.array(groups, np.str_), return_inverse=True)
    windows = np.zeros(len(names), np.int64)
    fills = np.zeros((len(names), samples), np.int64)  # how many windows of the group fill the direction
    if _ready(view, models):
        directions = _directions(view.models[models[0]].width, seed, samples)
        for rows, hits in _hits(view, models, directions, threshold):
            of_group = numbers[rows][:, None] == np.arange(len(names))
            windows += of_group.sum(axis=0)
            fills += (hits.astype(np.float32) @ of_group.astype(np.float32)).T.astype(np.int64)
    total = fills.sum(axis=0)
    gains = [
        GroupGain(
            group=str(name),
            windows=int(windows[i]),
            alone=float((fills[i] > 0).mean()),
            only=float(((fills[i] > 0) & (fills[i] == total)).mean()),
            gain_per_window=float(((fills[i] == 1) & (total == 1)).mean() / max(windows[i], 1)),
        )
        for i, name in enumerate(names)
    ]
    return sorted(gains, key=lambda gain: (-gain.gain_per_window, -gain.only, gain.group))


def _ready(view: BankView, models: Sequence[Id32]) -> bool:
    """Whether the bank has entries of all these models, in one width."""
    return all(weights in view.models for weights in models) and (
        len({view.models[weights].width for weights in models}) == 1
    )


def _directions(width: int, seed: int, samples: int) -> NDArray[np.float32]:
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
