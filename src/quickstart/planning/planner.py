"""Which pieces to score next, and how much of each kind to cut: what adds most to coverage for the time it takes.

An upper confidence bound: a kind is taken for as good as it may be, given what is known of it, and each window planned
lowers what its next one is worth, because windows of one kind cover the same targets. A kind that is hardly known goes
first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from quickstart.bank.shards import ShardId
from quickstart.chain.ids import Id32
from quickstart.planning.model_choice import Stage
from quickstart.planning.statistics import Kind, KindStatistics, Statistics

EXPLORE_WINDOWS = 8
"""Windows of a kind that are scored whatever other kinds promise."""

LEAST_GAIN_PER_100 = 0.0001
"""Kinds whose next 100 windows add less than this to coverage, even at best, are left. With 1,024 sampled targets that
takes about a thousand windows of which none fills a target alone."""

FLOOR_SHARE = 0.25
"""Of new windows, what is spread evenly over all kinds, so that none is lost from sight."""


class Reason(StrEnum):
    """Why a piece comes when it does, or a kind is left."""

    UNEXPLORED = "unexplored"
    GAIN = "gain"
    UNNEEDED = "no target needs the model"


@dataclass(frozen=True, slots=True)
class Unscored:
    """A shard: how many windows of each kind it has, the models that have yet to score it (ids), and those at it."""

    shard: ShardId
    kinds: tuple[tuple[Kind, int], ...]
    missing: frozenset[Id32]
    running: frozenset[Id32] = frozenset()

    @property
    def windows(self) -> int:
        return sum(count for _, count in self.kinds)


@dataclass(frozen=True, slots=True)
class Piece:
    """One shard with one model. `gain`: coverage that all models of its stage together add at best."""

    shard: ShardId
    model_id: Id32
    seconds: float
    gain: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """What to score, in this order, and the kinds whose unscored windows are left."""

    pieces: tuple[Piece, ...]
    left: frozenset[Kind]

    @property
    def seconds(self) -> float:
        return sum(piece.seconds for piece in self.pieces)


def promise(known: KindStatistics | None, samples: int) -> float:
    """What a kind may be worth: the share of targets that one window of it alone fills, and a standard deviation.

    Divided by the number of windows it is what the next one adds. A window that has not been scored may fill a target:
    one of the sample is always part of the deviation.
    """
    spread = known.spread if known is not None else 0.0
    return (known.only if known is not None else 0.0) + math.hypot(spread, 1.0 / samples)


def shares(statistics: Statistics) -> dict[Kind, float]:
    """How much of each kind to cut next; the shares add up to 1. Of a kind that is not in it: as of an average one.

    Windows that the bank has and nobody has scored count as if they were: they will be.
    """
    explored = {
        kind: promise(known, statistics.samples) / max(known.windows, known.scored)
        for kind, known in statistics.kinds.items()
        if known.scored >= EXPLORE_WINDOWS
    }
    average = sum(explored.values()) / len(explored) if explored else 1.0
    weights = {kind: explored.get(kind, average) for kind in statistics.kinds}
    total = sum(weights.values())
    return {kind: FLOOR_SHARE / len(weights) + (1 - FLOOR_SHARE) * w / total for kind, w in weights.items()}


def plan(
    statistics: Statistics,
    shards: Sequence[Unscored],
    stages: Sequence[Stage],
    seconds: Mapping[Id32, float],
    *,
    budget_seconds: float = math.inf,
    most: float = math.inf,
    seed: int = 0,
) -> Choice:
    """The pieces to score next, best first: within the budget, and no more shards and stages than `most`.

    `stages`: all models in play, in the order to score them. `seconds`: of GPU per window, by model id. A target counts
    only when all its models have scored a window, so the models of a stage come one after the other, or not at all.
    Between equals the seed decides, so that two wallets with the same data do not score the same.
    """
    return _Greedy(statistics, shards, stages, seconds, seed).run(budget_seconds, most)


@dataclass(slots=True)
class _Candidate:
    """Shards that are alike: windows of each kind, the stage they are at, the models it takes, seconds of each."""

    kinds: tuple[tuple[Kind, int], ...]
    stage: int
    models: tuple[Id32, ...]
    seconds: float
    shards: list[Unscored] = field(default_factory=list)


class _Greedy:
    """Takes the best shard and stage until none is left, and counts its windows as scored from then on."""

    def __init__(
        self,
        statistics: Statistics,
        shards: Sequence[Unscored],
        stages: Sequence[Stage],
        seconds: Mapping[Id32, float],
        seed: int,
    ) -> None:
        self._stages = stages
        self._seconds = seconds
        known = {kind: statistics.kinds.get(kind) for shard in shards for kind, _ in shard.kinds}
        self._promise = {kind: promise(one, statistics.samples) for kind, one in known.items()}
        self._scored = {kind: one.scored if one is not None else 0.0 for kind, one in known.items()}
        self._candidates: dict[object, _Candidate] = {}
        for shard in sorted(shards, key=lambda one: blake2b(f"{seed} {one.shard}".encode()).digest(), reverse=True):
            self._file(shard, 0)
        self._left = frozenset(kind for kind in known if self._adds(((kind, 1),)) < LEAST_GAIN_PER_100 / 100)

    def run(self, budget_seconds: float, most: float) -> Choice:
        pieces: list[Piece] = []
        taken = 0
        while taken < most and (best := self._best(budget_seconds)) is not None:
            candidate, reason = best
            shard, share = candidate.shards.pop(), self._stages[candidate.stage].share
            gain = self._adds(candidate.kinds) * share
            pieces += [Piece(shard.shard, m, shard.windows * self._seconds[m], gain, reason) for m in candidate.models]
            budget_seconds -= candidate.seconds
            taken += 1
            self._count(candidate.kinds, share)
            self._file(shard, candidate.stage + 1)
        return Choice(tuple(pieces), self._left)

    def _file(self, shard: Unscored, first: int) -> None:
        """Puts a shard where it belongs: the first stage, from `first` on, that has not begun for it."""
        for number in range(first, len(self._stages)):
            stage = self._stages[number]
            models = tuple(model_id for model_id in stage.models if model_id in shard.missing)
            if models:
                seconds = shard.windows * sum(self._seconds[model_id] for model_id in models)
                empty = _Candidate(shard.kinds, number, models, seconds)
                self._candidates.setdefault((shard.kinds, number, models), empty).shards.append(shard)
                return
            if not shard.running.isdisjoint(stage.models):
                self._count(shard.kinds, stage.share)

    def _count(self, kinds: tuple[tuple[Kind, int], ...], share: float) -> None:
        for kind, count in kinds:
            self._scored[kind] += count * share

    def _adds(self, kinds: tuple[tuple[Kind, int], ...]) -> float:
        """What so many windows of each kind add to coverage: each a little less than the one before."""
        return sum(self._promise[kind] * math.log1p(count / max(1.0, self._scored[kind])) for kind, count in kinds)

    def _best(self, budget_seconds: float) -> tuple[_Candidate, Reason] | None:
        """The candidate to take now, and why; None if none is left that is worth it and within the budget."""
        fresh: tuple[float, float] | None = None
        best: tuple[_Candidate, Reason] | None = None
        highest = -math.inf
        for candidate in self._candidates.values():
            if not candidate.shards or candidate.seconds > budget_seconds:
                continue
            windows = candidate.shards[-1].windows
            per_window = candidate.seconds / windows
            stage = self._stages[candidate.stage]
            least_known = min(self._scored[kind] for kind, _ in candidate.kinds)
            if candidate.stage == 0 and least_known < EXPLORE_WINDOWS * stage.share:
                # The kind that is known least first, and of its shards the one that is nearly done.
                if fresh is None or (least_known, per_window) < fresh:
                    fresh, best = (least_known, per_window), (candidate, Reason.UNEXPLORED)
            elif fresh is None:
                adds = self._adds(candidate.kinds)
                worth = adds * stage.share / max(candidate.seconds, 1e-12)
                if worth > highest and adds >= LEAST_GAIN_PER_100 / 100 * windows:
                    highest = worth
                    best = candidate, Reason.GAIN if stage.share else Reason.UNNEEDED
        return best
