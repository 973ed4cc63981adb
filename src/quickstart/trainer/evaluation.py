"""What a model would win: its losses on held-out windows against the network's present models. Pure, on arrays."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from arrgen import normal_array
from numpy.typing import NDArray

from quickstart.chain.ids import Id32
from quickstart.chain.protocol import Parameters, assign_models
from quickstart.units import basis_points

Floats = NDArray[np.float32]

DIRECTIONS = 400
"""Random targets that shares are measured on: a share of one half is then within 5 % of the truth, mostly."""

OURS: Id32 = b"\xff" * 32
"""Stands for a model that has no id yet; ids decide nothing but the order of equals."""


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A model on n windows. `losses`: (n,); `embeddings`: of the windows, (n, width), both float32. `published`: the
    embedding that decides which targets it is assigned, float32 (width,). `stake` in shannons.
    """

    stake: int
    published: Floats
    losses: Floats
    embeddings: Floats


@dataclass(frozen=True, slots=True)
class KindResult:
    """How a model does on one kind of data. Losses are means, in nats per byte; `best_rival` None without rivals."""

    kind: str
    windows: int
    won: int
    loss: float
    best_rival: float | None

    @property
    def share(self) -> float:
        return self.won / self.windows


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a stake and an embedding bring. `assigned`: share of targets; `won`: share of all fills that it wins.

    `reward_per_epoch`: shannons for the owner at `fills` fills an epoch, whoever makes them.
    """

    stake: int
    assigned: float
    won: float
    fills: int
    reward_per_epoch: int


def won_windows(own: Floats, rivals: Sequence[Floats]) -> NDArray[np.bool_]:
    """bool (n,): where `own` losses are below every rival's."""
    best = np.min(np.stack(rivals), axis=0) if rivals else np.full_like(own, np.inf)
    won: NDArray[np.bool_] = own < best
    return won


def by_kind(kinds: Sequence[str], own: Floats, rivals: Sequence[Floats]) -> tuple[KindResult, ...]:
    """Results per kind, the kinds with most windows first."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, kind in enumerate(kinds):
        rows[kind].append(row)
    won = won_windows(own, rivals)
    best = np.min(np.stack(rivals), axis=0) if rivals else None
    results = [
        KindResult(
            kind,
            len(of_kind),
            int(won[of_kind].sum()),
            float(own[of_kind].mean()),
            None if best is None else float(best[of_kind].mean()),
        )
        for kind, of_kind in rows.items()
    ]
    return tuple(sorted(results, key=lambda result: (-result.windows, result.kind)))


def embedding_to_publish(own: Contestant, rivals: Sequence[Contestant]) -> Floats:
    """Where the wins are: the mean of the unit embeddings of the windows it wins, float32 (width,).

    Of a model that wins none: of the tenth of the windows where it is nearest to winning.
    """
    losses = [rival.losses for rival in rivals]
    rows = np.flatnonzero(won_windows(own.losses, losses))
    if not rows.size:
        behind = own.losses - np.min(np.stack(losses), axis=0)
        rows = np.argsort(behind, kind="stable")[: max(1, len(behind) // 10)]
    return mean_direction(own.embeddings[rows])


def mean_direction(embeddings: Floats) -> Floats:
    """Mean of the rows, each scaled to length one; float32 (width,)."""
    wide = embeddings.astype(np.float64)
    mean: Floats = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0).astype(np.float32)
    return mean


def random_targets(width: int, seed: int, count: int = DIRECTIONS) -> Floats:
    """Directions as the network draws them (§2): float32 (count, width)."""
    targets: Floats = normal_array(seed, [count, width], 0.0, 1.0).astype(np.float32)
    return targets


def assignments(
    models: Mapping[Id32, tuple[int, Floats]], targets: Floats, per_target: int
) -> tuple[tuple[Id32, ...], ...]:
    """The models of each target by the network's rule (§11.6). `models`: id -> (stake, published embedding)."""
    ids = sorted(models)
    stakes = [models[model_id][0] for model_id in ids]
    embeddings = np.stack([models[model_id][1] for model_id in ids])
    return tuple(assign_models(target, ids, stakes, embeddings, per_target) for target in targets)


def assigned_share(stake: int, published: Floats, models: Mapping[Id32, tuple[int, Floats]], per_target: int) -> float:
    """Share of random targets that a model with this stake and embedding would be assigned to beside `models`."""
    chosen = assignments({**models, OURS: (stake, published)}, random_targets(len(published), seed=0), per_target)
    return sum(OURS in ids for ids in chosen) / len(chosen)


def expectation(
    own: Contestant, rivals: Mapping[Id32, Contestant], threshold: float, reward: int, parameters: Parameters
) -> Expectation:
    """What `own` would earn at its stake beside `rivals`.

    A fill of a target is a window whose winner's embedding lies within `threshold` of it, any as likely as another;
    of a target that no window here hits, any window.
    """
    everybody = {**rivals, OURS: own}
    targets = random_targets(len(own.published), seed=0)
    models = {model_id: (one.stake, one.published) for model_id, one in everybody.items()}
    chosen = assignments(models, targets, parameters.target_models_per_target)
    shares = []
    for target, ids in zip(targets, chosen, strict=True):
        if OURS not in ids:
            continue
        losses = np.stack([everybody[model_id].losses for model_id in ids])
        winner = losses.argmin(axis=0)
        ours = winner == ids.index(OURS)
        distances = np.stack([_distances(everybody[model_id].embeddings, target) for model_id in ids])
        hit = np.take_along_axis(distances, winner[None], axis=0)[0] <= threshold
        shares.append(float(ours[hit].mean() if hit.any() else ours.mean()))
    won = sum(shares) / len(targets)
    fills = parameters.target_hits_per_epoch
    per_fill = basis_points(reward, parameters.target_model_reward_share_bps)
    return Expectation(own.stake, len(shares) / len(targets), won, fills, int(per_fill * fills * won))


def _distances(embeddings: Floats, target: Floats) -> Floats:
    lengths = np.linalg.norm(embeddings, axis=1) * np.linalg.norm(target)
    distances: Floats = 1 - (embeddings @ target) / lengths
    return distances
