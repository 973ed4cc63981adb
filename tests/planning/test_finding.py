"""The planner in a loop: it scores, counts and plans again, and finds where the gain is."""

import numpy as np
import pytest
from planning_values import SHARD, World, world

from quickstart.planning import Kind, Survey, Unscored, plan, seconds_left, staged

KINDS = {f"same {number}": (8, 0.0) for number in range(9)} | {"different": (8, 2.0)}


def uniform(where: World, seed: int) -> list[int]:
    """Shards in an order that knows nothing."""
    return np.random.default_rng(seed).permutation(len(where.holdings)).tolist()


def planned(where: World, seed: int, until: int) -> list[int]:
    """One shard at a time, with all its models; statistics follow every one."""
    survey, scored, order = Survey(where.outlook), [], []
    seconds = dict.fromkeys(where.names, 1.0)
    places = {holding.shard: place for place, holding in enumerate(where.holdings)}
    while len(order) < until:
        done = where.done(scored)
        survey.take_in(where.view, where.holdings, done, where.names)
        statistics = survey.statistics(where.holdings, done, {}, {}, (0.5, 0.5))
        left = [
            Unscored(holding.shard, ((holding.kinds[0], SHARD),), frozenset(where.names))
            for holding in where.holdings
            if holding not in scored
        ]
        stages = staged(where.outlook.targets, seconds_left(left, seconds))
        choice = plan(statistics, left, stages, seconds, most=1, seed=seed)
        order.append(places[choice.pieces[0].shard])
        scored.append(where.holdings[order[-1]])
    return order


def coverage(where: World, order: list[int]) -> float:
    survey, scored = Survey(where.outlook), [where.holdings[number] for number in order]
    survey.take_in(where.view, where.holdings, where.done(scored), where.names)
    return survey.statistics(where.holdings, where.done(scored), {}, {}, (0.5, 0.5)).coverage


@pytest.mark.parametrize("seed", range(3))
def test_one_kind_of_ten_has_all_the_gain(seed: int) -> None:
    """All of it is scored within 300 windows: two shards of each other kind to know it, and the eight that matter."""
    where = world(KINDS, seed)
    budget = 30
    order = planned(where, seed, budget)
    good = [place for place, number in enumerate(order) if where.holdings[number].kinds[0] == Kind("s", "different")]
    assert len(good) == 8 and good[-1] < budget
    blind = [coverage(where, uniform(where, 100 * seed + turn)[:budget]) for turn in range(10)]
    assert coverage(where, order) > 1.15 * np.mean(blind)
    assert coverage(where, order) > max(blind)
