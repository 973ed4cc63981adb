"""Counts what each kind of window does for coverage, shard by shard as scores come in.

For every sampled target it keeps the window that reaches it best and how far the second best is. That is enough at any
threshold: with the threshold between the two, exactly one window fills the target.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.shards import ShardId
from quickstart.bank.view import BankView, Rows
from quickstart.chain.ids import Id32
from quickstart.matching.contest import contest
from quickstart.planning.outlook import Outlook
from quickstart.planning.statistics import Kind, KindStatistics, ModelStatistics, Statistics

_BLOCK = 4096

Done = Set[tuple[ShardId, Id32]]


@dataclass(frozen=True, slots=True)
class Holding:
    """A shard of the bank: its first row, and the kind of each of its windows."""

    shard: ShardId
    first_row: int
    kinds: tuple[Kind, ...]


@dataclass(slots=True)
class _Group:
    """Sampled targets (`positions`) of one set of models, and the shards counted for it."""

    models: tuple[Id32, ...]
    positions: NDArray[np.int64]
    counted: set[ShardId]


class Survey:
    """What a bank does for the targets of one sample. One thread at a time may use it.

    A shard counts for a target once all the target's models have answered for it; a window that is scored again later
    (exactly, near a margin) keeps what it counted for first.
    """

    def __init__(self, outlook: Outlook) -> None:
        self.outlook = outlook
        assigned = np.array(outlook.assigned, np.int64)
        self._groups = [
            _Group(models, np.flatnonzero(assigned == number), set()) for number, models in enumerate(outlook.sets)
        ]
        self._best = np.full(len(assigned), -np.inf, np.float32)
        self._second = np.full(len(assigned), -np.inf, np.float32)
        self._row = np.full(len(assigned), -1, np.int64)
        self._winner = np.full(len(assigned), -1, np.int64)
        self._kinds: dict[Kind, int] = {}
        self._weights: dict[Id32, int] = {}
        self._kind_of_row = np.empty(0, np.int64)
        self._scored: Counter[int] = Counter()  # by kind: windows times targets they were compared with
        self._won: Counter[tuple[int, int]] = Counter()  # by kind and model: of these, with a safe winner

    def take_in(self, view: BankView, holdings: Sequence[Holding], done: Done, names: Mapping[Id32, Id32]) -> None:
        """Counts what is new. `done`: shards and the weights that have answered for all their windows; `view` has these
        answers. `names`: weights checksums by model id, as far as known.
        """
        self._number_kinds(holdings)
        found: dict[Id32, list[tuple[_Group, Rows]]] = {}
        for group in self._groups:
            weights = [names[model_id] for model_id in group.models if names.get(model_id) in view.models]
            if len(weights) < len(group.models) or any(view.models[n].width != self.outlook.width for n in weights):
                continue
            new = [
                holding
                for holding in holdings
                if holding.shard not in group.counted and all((holding.shard, name) in done for name in weights)
            ]
            if not new:
                continue
            group.counted.update(holding.shard for holding in new)
            rows = np.concatenate([holding.first_row + np.arange(len(holding.kinds)) for holding in new])
            self._scored.update(self._by_kind(rows, len(group.positions)))
            margin = contest([view.models[name] for name in weights], rows).margin
            for name, won in zip(weights, margin > 0, strict=True):
                number = self._weights.setdefault(name, len(self._weights))
                by_kind = self._by_kind(rows[won], len(group.positions))
                self._won.update({(kind, number): count for kind, count in by_kind.items()})
                found.setdefault(name, []).append((group, rows[won]))
        for name, parts in found.items():
            self._reach(view, name, parts)

    def _number_kinds(self, holdings: Sequence[Holding]) -> None:
        for holding in holdings:
            if holding.first_row >= len(self._kind_of_row):
                numbers = [self._kinds.setdefault(kind, len(self._kinds)) for kind in holding.kinds]
                self._kind_of_row = np.append(self._kind_of_row[: holding.first_row], numbers)

    def _by_kind(self, rows: Rows, targets: int) -> dict[int, int]:
        kinds, counts = np.unique(self._kind_of_row[rows], return_counts=True)
        return dict(zip(kinds.tolist(), (counts * targets).tolist(), strict=True))

    def _reach(self, view: BankView, name: Id32, parts: Sequence[tuple[_Group, Rows]]) -> None:
        """Compares the windows that a model wins with the targets for which it does. Each row is converted once."""
        columns = view.models[name]
        rows = np.unique(np.concatenate([won for _, won in parts]))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            unit = np.empty((len(block), columns.width), np.float32)
            columns.unit_rows(block, unit)
            for group, won in parts:
                inside = np.flatnonzero(np.isin(block, won))
                if len(inside):
                    reach = self.outlook.directions[group.positions] @ unit[inside].T
                    reach -= columns.distance_errors[block[inside]]
                    self._keep_best(group.positions, reach, block[inside], self._weights[name])

    def _keep_best(self, positions: NDArray[np.int64], reach: NDArray[np.float32], rows: Rows, winner: int) -> None:
        """Merges `reach`, float32 (positions, rows), into the two best of each target."""
        every = np.arange(len(positions))
        place = reach.argmax(axis=1)
        first = reach[every, place]
        reach[every, place] = -np.inf
        second = reach.max(axis=1)
        best, runner_up = self._best[positions], self._second[positions]
        better = first > best
        self._second[positions] = np.where(better, np.maximum(best, second), np.maximum(first, runner_up))
        self._best[positions] = np.where(better, first, best)
        self._row[positions[better]] = rows[place[better]]
        self._winner[positions[better]] = winner

    def statistics(
        self,
        holdings: Sequence[Holding],
        done: Done,
        seconds: Mapping[Id32, float],
        filled: Mapping[Kind, int],
        thresholds: tuple[float, float],
    ) -> Statistics:
        """What was counted so far. `seconds`: of GPU a window takes, by weights, of the models to list one by one;
        `filled`: targets filled, by kind; `thresholds`: the present and the tightest distance.
        """
        self._number_kinds(holdings)
        samples = max(1, len(self._best))
        windows = Counter(self._kind_of_row.tolist())
        answered = self._answered(holdings, done, seconds)
        only: Counter[tuple[int, int]] = Counter()  # by kind and model: targets, counted at both thresholds
        alone: Counter[int] = Counter()  # the same by row
        for threshold in thresholds:
            once = (self._best > np.float32(1.0 - threshold)) & (self._second <= np.float32(1.0 - threshold))
            rows = self._row[once]
            only.update(zip(self._kind_of_row[rows].tolist(), self._winner[once].tolist(), strict=True))
            alone.update(rows.tolist())
        single, won = _by_first(only), _by_first(self._won)
        squares: Counter[int] = Counter()
        for row, count in alone.items():
            squares[int(self._kind_of_row[row])] += count * count
        twice = 2 * samples

        def of_model(kind: int, name: Id32) -> ModelStatistics:
            number = self._weights.get(name, -1)
            return ModelStatistics(
                weights=name,
                scored=answered[kind, name],
                wins=self._won[kind, number] / samples,
                only=only[kind, number] / twice,
                gpu_seconds=answered[kind, name] * seconds[name],
            )

        kinds = {}
        for kind, number in sorted(self._kinds.items()):
            models = tuple(of_model(number, name) for name in sorted(seconds))
            scored = self._scored[number] / samples
            kinds[kind] = KindStatistics(
                kind=kind,
                windows=windows[number],
                scored=scored,
                wins=won[number] / max(1, self._scored[number]),
                only=single[number] / twice,
                spread=math.sqrt(squares[number]) / twice,
                filled=filled.get(kind, 0),
                models=models,
            )
        coverage, tightest = (float((self._best > np.float32(1.0 - t)).sum() / samples) for t in thresholds)
        return Statistics(kinds, samples, *thresholds, coverage, tightest)

    def _answered(self, holdings: Sequence[Holding], done: Done, weights: Iterable[Id32]) -> Counter[tuple[int, Id32]]:
        """Windows that a model has answered for, by kind and model."""
        answered: Counter[tuple[int, Id32]] = Counter()
        for holding in holdings:
            counts = Counter(holding.kinds)
            for name in weights:
                if (holding.shard, name) in done:
                    answered.update({(self._kinds[kind], name): n for kind, n in counts.items()})
        return answered


def _by_first(counts: Counter[tuple[int, int]]) -> Counter[int]:
    """Counts by the first part of their key."""
    found: Counter[int] = Counter()
    for (first, _), count in counts.items():
        found[first] += count
    return found
