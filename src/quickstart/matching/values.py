"""The values that enter and leave matching."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.ids import Id32


@dataclass(frozen=True, slots=True, eq=False)
class MatchTarget:
    """An open target. `embedding`: float32 (width,). `models`: weights checksums in the target's own order.

    `distance_threshold` is the float32 value of the chain.
    """

    target_id: Id32
    embedding: NDArray[np.float32]
    models: tuple[Id32, ...]
    distance_threshold: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One window that a model would win for one target.

    `model_index` counts in the target's models. `distance` (1 - cosine of the stored embedding) and `loss`
    are float32 values. The margins are what is left after the certified errors:

        distance_margin = distance_threshold - distance - distance error loss_margin     = min over other
        models (loss - loss error) - (loss + loss error), inf for a single model

    Both are positive, or `needs_exact` is True: then the entry may be right, but only exact scores can tell.
    `safety`: the smaller of the two leads (before the errors are taken off) in units of their certified
    errors; sendable candidates have more than 1.
    """

    target_id: Id32
    row: int
    window_checksum: Id32
    model_index: int
    distance: float
    loss: float
    distance_margin: float
    loss_margin: float
    safety: float
    needs_exact: bool


@dataclass(frozen=True, slots=True)
class Matches:
    """A target's candidates, best first. `uncertain` ones are never sent, but are worth an exact score."""

    sendable: tuple[Candidate, ...] = ()
    uncertain: tuple[Candidate, ...] = ()
