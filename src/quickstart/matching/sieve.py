"""The float32 sieve: which rows of a block may fill which targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import BankView
from quickstart.chain.ids import Id32
from quickstart.matching.contest import SMALLEST_ERROR, contest
from quickstart.matching.resident import Block
from quickstart.matching.values import MatchTarget

SIEVE_SLACK = 1e-5
"""More than a float32 product of unit vectors of width 2048 is ever off; what passes is computed again."""

Models = tuple[Id32, ...]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TargetGroup:
    """k targets with the same models in the same order.

    `positions`: int64 (k,), in the caller's list. `units`: float32 (k, width), embeddings of length one.
    `cutoffs`: float32 (k,), 1 - threshold: the cosine that fills the target.
    """

    models: Models
    positions: NDArray[np.int64]
    units: NDArray[np.float32]
    cutoffs: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What the sieve let through, as columns (h,).

    `position`: int64, of the target in the caller's list; `model`: int64, in the target's models; `row`:
    int64; `sendable`: bool; `safety`, `loss_margin`, `loss_unit`: float64 (see `Candidate` and `Contest`).
    """

    position: NDArray[np.int64]
    model: NDArray[np.int64]
    row: NDArray[np.int64]
    sendable: NDArray[np.bool_]
    safety: NDArray[np.float64]
    loss_margin: NDArray[np.float64]
    loss_unit: NDArray[np.float64]

    @classmethod
    def join(cls, parts: Sequence["Hits"]) -> "Hits":
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("position", "model", "row", "sendable", "safety", "loss_margin", "loss_unit")
            )
        )

    def take(self, which: NDArray[np.int64]) -> "Hits":
        return Hits(
            self.position[which],
            self.model[which],
            self.row[which],
            self.sendable[which],
            self.safety[which],
            self.loss_margin[which],
            self.loss_unit[which],
        )


def group_targets(view: BankView, targets: Sequence[MatchTarget]) -> list[TargetGroup]:
    """The targets that can be matched with this view, by their models."""
    by_models: dict[Models, list[tuple[int, NDArray[np.float32]]]] = {}
    for position, target in enumerate(targets):
        embedding = target.embedding.astype(np.float64)
        norm = float(np.linalg.norm(embedding))
        known = bool(target.models) and all(
            weights in view.models and view.models[weights].width == len(embedding) for weights in target.models
        )
        if known and 0 < norm < np.inf and np.isfinite(target.distance_threshold):
            unit = (embedding / norm).astype(np.float32)
            by_models.setdefault(target.models, []).append((position, unit))
    groups = []
    for models, members in by_models.items():
        positions = np.array([position for position, _ in members])
        thresholds = np.array([targets[position].distance_threshold for position in positions])
        units = np.stack([unit for _, unit in members])
        groups.append(TargetGroup(models, positions, units, (1.0 - thresholds).astype(np.float32)))
    return groups


def sieve(
    view: BankView, group: TargetGroup, weights: Id32, block: Block, cosines: NDArray[np.float32], top: int
) -> Hits | None:
    """A block's best rows for each target of a group: `top` that may be sent and as many uncertain ones.

    `cosines`: float32 (targets of the group, rows of the block), with the embeddings of the model `weights`.
    """
    model = group.models.index(weights)
    judged = contest([view.models[other] for other in group.models], block.rows)
    errors = view.models[weights].distance_errors[block.rows]
    # distance - error <= threshold, with all that depends on the row on one side.
    reach = np.where(judged.contender[model], errors + np.float32(SIEVE_SLACK), np.float32(-np.inf))
    target, place = np.nonzero(cosines + reach >= group.cutoffs[:, None])
    if not len(target):
        return None
    lead = cosines[target, place] - group.cutoffs[target]
    loss_margin, loss_unit = judged.margin[model][place], judged.unit[model][place]
    hits = Hits(
        position=target,
        model=np.full(len(target), model),
        row=block.rows[place],
        sendable=(loss_margin > 0) & (lead > errors[place] - np.float32(SIEVE_SLACK)),
        safety=safety(lead.astype(np.float64), errors[place].astype(np.float64), loss_margin, loss_unit),
        loss_margin=loss_margin,
        loss_unit=loss_unit,
    )
    kept = np.concatenate(
        [_best(hits, np.flatnonzero(kind), len(group.positions), top) for kind in (hits.sendable, ~hits.sendable)]
    )
    best = hits.take(kept)
    best.position[:] = group.positions[best.position]
    return best


def safety(lead: Floats, distance_error: Floats, loss_margin: Floats, loss_unit: Floats) -> Floats:
    """The smaller of both leads in units of its certified error. `lead`: threshold - distance."""
    of_distance = lead / (distance_error + SMALLEST_ERROR)
    smaller: Floats = np.minimum(of_distance, 1.0 + loss_margin / loss_unit)
    return smaller


def _best(hits: Hits, which: NDArray[np.int64], targets: int, top: int) -> NDArray[np.int64]:
    """Of the hits `which`, sorted by target, the `top` safest of each target."""
    bounds = np.searchsorted(hits.position[which], np.arange(targets + 1))
    kept = [which[:0]]
    for start, end in pairwise(bounds):
        part = which[start:end]
        kept.append(part if len(part) <= top else part[np.argpartition(-hits.safety[part], top)[:top]])
    return np.concatenate(kept)
