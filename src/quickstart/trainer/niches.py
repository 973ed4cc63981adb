"""Where the present models are weak: losses by kind of data, and what a stake would buy there. Pure, on arrays."""

import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quickstart.chain.ids import Id32
from quickstart.trainer.evaluation import Floats, assigned_share, assignments, mean_direction, random_targets


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Windows that all present models have scored. `losses`: float32 (models, n), nats per byte; `embeddings`: of each
    window by its best model, float32 (n, width); `kinds` and `data`: n of each.
    """

    losses: Floats
    embeddings: Floats
    kinds: Sequence[str]
    data: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Niche:
    """One kind of data. `loss`: the best model's, mean; `zlib`: what a plain compressor needs, both in nats per byte;
    `lead`: by how much the best model leads the second; `nearby`: share of random targets for which this kind's mean
    embedding is nearer than every other kind's; `assigned`: share of targets a stake would get with that embedding.
    """

    kind: str
    windows: int
    loss: float
    zlib: float
    lead: float
    nearby: float
    assigned: float

    @property
    def weakness(self) -> float:
        """Above 1 the best model predicts this kind worse than zlib does."""
        return self.loss / self.zlib


@dataclass(frozen=True, slots=True)
class Holding:
    """One present model: its stake in shannons, the share of random targets it is assigned, and of windows it wins."""

    model_id: Id32
    stake: int
    assigned: float
    won: float


def niches(scored: Scored, models: Mapping[Id32, tuple[int, Floats]], stake: int, per_target: int) -> tuple[Niche, ...]:
    """One per kind, the weakest first. `models`: id -> (stake, published embedding); `stake`: what we would have."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, kind in enumerate(scored.kinds):
        rows[kind].append(row)
    directions = {kind: mean_direction(scored.embeddings[of_kind]) for kind, of_kind in rows.items()}
    nearby = _nearest(directions)
    ordered = np.sort(scored.losses, axis=0)
    best = ordered[0]
    lead = ordered[1] - best if len(ordered) > 1 else np.zeros_like(best)
    found = [
        Niche(
            kind=kind,
            windows=len(of_kind),
            loss=float(best[of_kind].mean()),
            zlib=float(np.mean([zlib_nats(scored.data[row]) for row in of_kind])),
            lead=float(lead[of_kind].mean()),
            nearby=nearby[kind],
            assigned=assigned_share(stake, directions[kind], models, per_target),
        )
        for kind, of_kind in rows.items()
    ]
    return tuple(sorted(found, key=lambda niche: (-niche.weakness, niche.kind)))


def holdings(
    scored: Scored, model_ids: Sequence[Id32], models: Mapping[Id32, tuple[int, Floats]], per_target: int
) -> tuple[Holding, ...]:
    """The present models, the most assigned first; `model_ids` in the order of the rows of `scored.losses`."""
    width = len(next(iter(models.values()))[1])
    chosen = assignments(models, random_targets(width, seed=0), per_target)
    winners = scored.losses.argmin(axis=0)
    won = {model_id: float((winners == row).mean()) for row, model_id in enumerate(model_ids)}
    found = [
        Holding(model_id, stake, sum(model_id in ids for ids in chosen) / len(chosen), won.get(model_id, 0.0))
        for model_id, (stake, _) in models.items()
    ]
    return tuple(sorted(found, key=lambda holding: (-holding.assigned, -holding.won, holding.model_id)))


def zlib_nats(data: bytes) -> float:
    """Nats per byte of zlib at its strongest: a yardstick for how predictable data is, not a limit."""
    return 8 * math.log(2) * len(zlib.compress(data, 9)) / len(data)


def _nearest(directions: Mapping[str, Floats]) -> dict[str, float]:
    names = list(directions)
    means = np.stack([direction / np.linalg.norm(direction) for direction in directions.values()])
    nearest = (random_targets(means.shape[1], seed=0) @ means.T).argmax(axis=1)
    return {name: float((nearest == row).mean()) for row, name in enumerate(names)}
