"""What a survey counts, against counting everything by hand."""

import numpy as np
import pytest
from planning_values import SHARD, World, board, name, world

from quickstart.matching import MatchTarget, fillable
from quickstart.planning import Kind, Outlook, Statistics, Survey, expect

KINDS = {"near": (4, 0.2), "far": (3, 1.0), "one": (1, 0.5)}
THRESHOLDS = (0.45, 0.3)


@pytest.fixture(scope="module")
def small() -> World:
    return world(KINDS, 1, failing=0.05)


def surveyed(where: World, rounds: list[list[int]], thresholds: tuple[float, float] = THRESHOLDS) -> Statistics:
    """Statistics after shards were scored in `rounds` (numbers of holdings)."""
    survey, scored = Survey(where.outlook), []
    for numbers in rounds:
        scored += [where.holdings[number] for number in numbers]
        survey.take_in(where.view, where.holdings, where.done(scored), where.names)
    seconds = dict.fromkeys(where.names.values(), 0.5)
    return survey.statistics(where.holdings, where.done(scored), seconds, {Kind("s", "far"): 7}, thresholds)


def by_hand(where: World, threshold: float) -> np.ndarray:
    """bool (targets, windows): which window may be sent for which target, one pair at a time."""
    found = np.zeros((len(where.outlook.assigned), where.view.n), bool)
    for place, models in enumerate(where.outlook.targets):
        columns = [where.view.models[where.names[model_id]] for model_id in models]
        direction = where.outlook.directions[place].astype(np.float64)
        losses = np.stack([column.losses for column in columns])
        for row in range(where.view.n):
            if np.isnan(losses[:, row]).any():
                continue
            first, second = np.argsort(losses[:, row])[:2]
            column = columns[first]
            sure = losses[first, row] + column.loss_errors[row] < losses[second, row] - columns[second].loss_errors[row]
            stored = column.segments[0][row].astype(np.float64)
            distance = 1 - stored @ direction / np.linalg.norm(stored)
            found[place, row] = sure and distance + column.distance_errors[row] < threshold
    return found


def test_statistics_are_what_counting_by_hand_gives(small: World) -> None:
    found = surveyed(small, [list(range(len(small.holdings)))])
    kind_of = np.array([kind.name for holding in small.holdings for kind in holding.kinds])
    tables = [by_hand(small, threshold) for threshold in THRESHOLDS]
    assert found.coverage == tables[0].any(axis=1).mean()
    assert found.coverage_tightest == tables[1].any(axis=1).mean()
    alone = sum((table * (table.sum(axis=1) == 1)[:, None]).sum(axis=0) / 2 for table in tables)
    assert alone.sum() > 50
    for kind, known in found.kinds.items():
        own = alone[kind_of == kind.name]
        assert known.windows == KINDS[kind.name][0] * SHARD == known.scored
        assert known.only == pytest.approx(own.sum() / found.samples)
        assert known.spread == pytest.approx(np.sqrt((own**2).sum()) / found.samples)
        assert known.gain_per_100 == pytest.approx(100 * own.mean() / found.samples)
        assert known.only == pytest.approx(sum(model.only for model in known.models))
        assert 0 < known.wins < 1
        assert known.gpu_seconds == 4 * 0.5 * known.windows
        assert known.filled == (7 if kind.name == "far" else 0)


def test_models_that_are_not_listed_count_all_the_same(small: World) -> None:
    found = surveyed(small, [[0, 1]])
    survey, scored = Survey(small.outlook), small.done(small.holdings[:2])
    survey.take_in(small.view, small.holdings, scored, small.names)
    unlisted = survey.statistics(small.holdings, scored, {}, {}, THRESHOLDS)
    assert [known.only for known in unlisted.kinds.values()] == [known.only for known in found.kinds.values()]
    assert [known.wins for known in unlisted.kinds.values()] == [known.wins for known in found.kinds.values()]


def test_gain_is_what_leaving_a_window_out_costs(small: World) -> None:
    """By the brute force that checks the matcher: coverage with and without each of a kind's windows."""
    threshold = 0.45
    targets = [
        MatchTarget(name("t", i), direction, tuple(small.names[m] for m in models), threshold)
        for i, (direction, models) in enumerate(zip(small.outlook.directions, small.outlook.targets, strict=True))
    ]
    whole = len(fillable(small.view, targets))
    (start,) = (holding.first_row for holding in small.holdings if holding.kinds[0].name == "one")
    lost = []
    for row in range(start, start + SHARD):
        kept = [column.losses.copy() for column in small.view.models.values()]
        for column, losses in zip(small.view.models.values(), kept, strict=True):
            losses[row] = np.nan
            column.losses[row], losses[row] = losses[row], column.losses[row]
        lost.append(whole - len(fillable(small.view, targets)))
        for column, losses in zip(small.view.models.values(), kept, strict=True):
            column.losses[row] = losses[row]
    found = surveyed(small, [list(range(len(small.holdings)))], (threshold, threshold))
    assert found.kinds[Kind("s", "one")].gain_per_100 == pytest.approx(100 * np.mean(lost) / found.samples)


def test_the_order_in_which_scores_come_in_does_not_matter(small: World) -> None:
    everything = list(range(len(small.holdings)))
    once = surveyed(small, [everything])
    assert surveyed(small, [[number] for number in reversed(everything)]) == once
    assert surveyed(small, [everything[:3], [], everything[3:], everything]) == once


def test_a_shard_counts_for_the_targets_whose_models_have_all_answered(small: World) -> None:
    survey, weights = Survey(small.outlook), list(small.names.values())
    shard = small.holdings[0]
    some = frozenset((shard.shard, one) for one in weights[:3])
    survey.take_in(small.view, small.holdings, some, small.names)
    found = survey.statistics(small.holdings, some, dict.fromkeys(weights, 1.0), {}, THRESHOLDS)
    three = {model_id for model_id, one in small.names.items() if one in weights[:3]}
    share = sum(set(models) == three for models in small.outlook.targets) / found.samples
    known = found.kinds[shard.kinds[0]]
    assert 0 < share < 1
    assert known.scored == pytest.approx(share * SHARD)
    assert {model.weights: model.scored for model in known.models} == {
        one: SHARD * (one in weights[:3]) for one in weights
    }
    survey.take_in(small.view, small.holdings, some, {})
    assert survey.statistics(small.holdings, some, dict.fromkeys(weights, 1.0), {}, THRESHOLDS) == found


def test_nothing_scored_and_no_models(small: World) -> None:
    found = surveyed(small, [])
    assert found.coverage == 0
    assert {known.gain_per_100 for known in found.kinds.values()} == {0.0}
    empty = expect(board(0, 1.0))
    survey = Survey(empty)
    survey.take_in(small.view, small.holdings, small.done(small.holdings), small.names)
    assert survey.statistics(small.holdings, frozenset(), {}, {}, (1.0, 0.95)).coverage == 0


def test_an_outlook_survives_its_document_and_follows_the_board() -> None:
    first = expect(board(5, 1.05, seed=2), samples=200)
    assert Outlook.parse(first.document()) == first
    assert (first.distance_threshold, first.tightest_threshold) == (1.05, 0.95)
    assert {len(models) for models in first.sets} == {3}
    assert len(first.targets) == 200
    assert first.same_sample(expect(board(5, 1.0, seed=2, epoch=9), samples=200))
    assert not first.same_sample(expect(board(5, 1.05, seed=3), samples=200))
