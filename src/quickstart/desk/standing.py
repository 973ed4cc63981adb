"""The network as it stands: what is open, who wins it, and where the bank has gaps. Pure.

Distances and thresholds are of `1 - cosine`, money is in shannons.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.view import BankView
from quickstart.chain.board import Board, OpenTarget
from quickstart.chain.client import FilledTarget
from quickstart.chain.ids import Id32
from quickstart.ledger.records import EpochReport
from quickstart.matching import MatchTarget, Nearest, nearest
from quickstart.matching.contest import contest
from quickstart.planning import Outlook, expect

SAMPLES = 256
"""Random targets that the curve is measured with: a share is known to 3 points at worst (0.5 / sqrt(SAMPLES))."""

CURVE_POINTS = 25


@dataclass(frozen=True, slots=True)
class TargetStanding:
    """An open target and the bank's best for it: `distance`, the certified error added, won by `model`; None where
    the bank has no safe winner, or not the scores of all its models.
    """

    target_id: Id32
    model_ids: tuple[Id32, ...]
    reward: int
    distance_threshold: float
    distance: float | None
    model: Id32 | None

    @property
    def gap(self) -> float | None:
        """By how much the best window is too far; negative where it fits."""
        return None if self.distance is None else self.distance - self.distance_threshold


@dataclass(frozen=True, slots=True)
class ModelStanding:
    """A model in play. `expected`: share of new targets that are given to it, beside others; `open_targets`: of those
    now; `wins`: targets filled with it and not claimed yet; `earned`: the rewards of those; `known`: the bank has its
    scores.
    """

    model_id: Id32
    owner: Id32
    stake: int
    expected: float
    open_targets: int
    wins: int
    earned: int
    known: bool


@dataclass(frozen=True, slots=True)
class SubmitterStanding:
    """Who fills targets: those of the last two epochs that are not claimed yet, and their rewards."""

    address: Id32
    fills: int
    reward: int


@dataclass(frozen=True, slots=True)
class EpochPoint:
    """An epoch of the past, as our runs saw it; the last one is the present. `targets_seen`: None for that."""

    epoch: int
    distance_threshold: float
    targets_seen: int | None
    filled: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """The whole picture. `curve`: (threshold, share of random targets that the bank fills at it); empty without a bank.
    `owner`: whose wallet it is seen from, None for nobody's.
    """

    epoch: int
    distance_threshold: float
    tightest_threshold: float
    reward_per_target: int
    owner: Id32 | None
    history: tuple[EpochPoint, ...]
    targets: tuple[TargetStanding, ...]
    models: tuple[ModelStanding, ...]
    submitters: tuple[SubmitterStanding, ...]
    curve: tuple[tuple[float, float], ...]

    @property
    def fillable(self) -> int:
        return sum(target.gap is not None and target.gap < 0 for target in self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """A wallet's bank: its view, and the weights' checksums of the models it knows, by model id."""

    view: BankView
    weights: Mapping[Id32, Id32]

    def match_targets(self, targets: Iterable[OpenTarget]) -> list[MatchTarget]:
        """Targets all of whose models the bank knows."""
        return [
            MatchTarget(
                target.target_id,
                target.embedding,
                tuple(self.weights[model_id] for model_id in target.model_ids),
                target.distance_threshold,
            )
            for target in targets
            if all(model_id in self.weights for model_id in target.model_ids)
        ]


def standing(
    board: Board,
    filled: Iterable[FilledTarget],
    history: Iterable[EpochReport],
    holding: Holding | None,
    owner: Id32 | None,
) -> Standing:
    """`filled`: everybody's fills that are not claimed yet; `history`: our own reports of past epochs."""
    outlook = expect(board, SAMPLES)
    filled = tuple(filled)
    near = {} if holding is None else nearest(holding.view, holding.match_targets(board.targets.values()))
    past = [EpochPoint(r.epoch, r.distance_threshold, r.targets_seen, r.filled) for r in history]
    now = EpochPoint(board.epoch.number, board.epoch.distance_threshold, None, None)
    return Standing(
        epoch=board.epoch.number,
        distance_threshold=board.epoch.distance_threshold,
        tightest_threshold=outlook.tightest_threshold,
        reward_per_target=board.epoch.reward_per_target,
        owner=owner,
        history=(*(point for point in past if point.epoch < now.epoch), now),
        targets=tuple(sorted((_target(target, near) for target in board.targets.values()), key=_nearest_first)),
        models=_models(board, filled, outlook, holding),
        submitters=_submitters(filled),
        curve=() if holding is None else _curve(outlook, holding),
    )


def winners(view: BankView, weights: Iterable[Id32], most: int) -> NDArray[np.float32]:
    """float32 (n, width): embeddings of at most `most` windows, each by the model that wins it, evenly spaced."""
    names = [name for name in weights if name in view.models]
    widths = {view.models[name].width for name in names}
    if len(widths) != 1:
        return np.zeros((0, 0), np.float32)
    (width,) = widths
    margin = contest([view.models[name] for name in names], slice(0, view.n)).margin
    rows = np.flatnonzero(margin.max(axis=0) > 0)
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    found = np.empty((len(rows), width), np.float32)
    for place, row in enumerate(rows.tolist()):
        found[place] = view.embedding(names[int(margin[:, row].argmax())], row)
    return found


def _target(target: OpenTarget, near: Mapping[Id32, Nearest]) -> TargetStanding:
    best = near.get(target.target_id)
    return TargetStanding(
        target_id=target.target_id,
        model_ids=target.model_ids,
        reward=target.reward,
        distance_threshold=target.distance_threshold,
        distance=best.distance if best else None,
        model=target.model_ids[best.model] if best else None,
    )


def _nearest_first(target: TargetStanding) -> tuple[bool, float, Id32]:
    return target.gap is None, target.gap or 0.0, target.target_id


def _models(
    board: Board, filled: tuple[FilledTarget, ...], outlook: Outlook, holding: Holding | None
) -> tuple[ModelStanding, ...]:
    wins = Counter(target.model_id for target in filled)
    earned = Counter[Id32 | None]()
    for target in filled:
        earned[target.model_id] += target.reward
    assigned = Counter(model_id for models in outlook.targets for model_id in models)
    open_ = Counter(model_id for target in board.targets.values() for model_id in target.model_ids)
    found = [
        ModelStanding(
            model_id=model_id,
            owner=model.owner,
            stake=model.stake,
            expected=assigned[model_id] / max(1, len(outlook.targets)),
            open_targets=open_[model_id],
            wins=wins[model_id],
            earned=earned[model_id],
            known=holding is not None and holding.weights.get(model_id) in holding.view.models,
        )
        for model_id, model in board.models.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.wins, -one.stake, one.model_id)))


def _submitters(filled: Iterable[FilledTarget]) -> tuple[SubmitterStanding, ...]:
    fills, rewards = Counter[Id32](), Counter[Id32]()
    for target in filled:
        fills[target.submitter] += 1
        rewards[target.submitter] += target.reward
    found = [SubmitterStanding(address, count, rewards[address]) for address, count in fills.items()]
    return tuple(sorted(found, key=lambda one: (-one.fills, one.address)))


def _curve(outlook: Outlook, holding: Holding) -> tuple[tuple[float, float], ...]:
    """Coverage by threshold, over the thresholds from somewhat below the tightest to somewhat above the present."""
    if not outlook.assigned:
        return ()
    names = {model_id: holding.weights.get(model_id) for models in outlook.sets for model_id in models}
    wanted = [
        MatchTarget(number.to_bytes(32, "big"), direction, tuple(filter(None, map(names.get, models))), 0.0)
        for number, (direction, models) in enumerate(zip(outlook.directions, outlook.targets, strict=True))
        if all(names.get(model_id) for model_id in models)
    ]
    distances = np.sort([near.distance for near in nearest(holding.view, wanted).values()])
    margin = max(0.05, (outlook.distance_threshold - outlook.tightest_threshold) / 4)
    thresholds = np.linspace(outlook.tightest_threshold - margin, outlook.distance_threshold + margin, CURVE_POINTS)
    counts = np.searchsorted(distances, thresholds, side="left")
    return tuple(zip(thresholds.tolist(), (counts / len(outlook.assigned)).tolist(), strict=True))
