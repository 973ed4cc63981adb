"""Plans keep to the budget, score nothing twice, try every kind, and are the same for the same seed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.chain.ids import Id32
from quickstart.planning import (
    Choice,
    Kind,
    KindStatistics,
    Reason,
    Stage,
    Statistics,
    Unscored,
    plan,
    seconds_left,
    seconds_per_window,
    shares,
)
from quickstart.planning.planner import EXPLORE_WINDOWS, FLOOR_SHARE, LEAST_GAIN_PER_100, promise

MODELS = tuple(bytes([65 + number]) * 32 for number in range(5))
KINDS = tuple(Kind("s", name) for name in "abcdef")
ONE_STAGE = (Stage(MODELS[:3], 1.0),)
SECONDS = dict.fromkeys(MODELS, 1.0)


def known(
    kind: Kind, scored: float = 100.0, only: float = 0.01, windows: int = 200, spread: float = 0.0
) -> KindStatistics:
    return KindStatistics(kind, windows, scored, 1.0, only, spread, 0, ())


def told(*kinds: KindStatistics) -> Statistics:
    return Statistics({one.kind: one for one in kinds}, 1000, 1.0, 0.95, 0.5, 0.5)


def shard(number: int, kind: Kind, windows: int = 40, missing: tuple[Id32, ...] = MODELS[:3]) -> Unscored:
    return Unscored(f"{kind.name}{number}", ((kind, windows),), frozenset(missing))


def shards(choice: Choice) -> list[str]:
    return list(dict.fromkeys(piece.shard for piece in choice.pieces))


Situation = tuple[Statistics, list[Unscored], list[Stage], dict[Id32, float]]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    kinds = draw(st.lists(st.sampled_from(KINDS), unique=True))
    amounts = st.floats(0, 500)
    statistics = told(
        *(known(kind, draw(amounts), draw(st.floats(0, 0.2)), 500, draw(st.floats(0, 0.1))) for kind in kinds)
    )
    unscored = []
    for number in range(draw(st.integers(0, 8))):
        of_kinds = draw(st.dictionaries(st.sampled_from(KINDS), st.integers(1, 60), min_size=1, max_size=3))
        missing = draw(st.frozensets(st.sampled_from(MODELS)))
        running = draw(st.frozensets(st.sampled_from(MODELS))) - missing
        unscored.append(Unscored(f"{number}", tuple(sorted(of_kinds.items())), missing, running))
    cuts = sorted(draw(st.lists(st.integers(0, len(MODELS)), max_size=2)))
    groups = [MODELS[a:b] for a, b in zip([0, *cuts], [*cuts, len(MODELS)], strict=True)]
    stages = [Stage(group, draw(st.floats(0, 1))) for group in groups if group]
    return statistics, unscored, stages, {model: draw(st.floats(0.001, 5)) for model in MODELS}


@given(situations(), st.floats(0, 3000), st.integers(0, 3))
def test_never_beyond_the_budget_and_nothing_twice(situation: Situation, budget: float, seed: int) -> None:
    statistics, unscored, stages, seconds = situation
    choice = plan(statistics, unscored, stages, seconds, budget_seconds=budget, seed=seed)
    assert choice.seconds <= budget * (1 + 1e-9)
    by_name = {one.shard: one for one in unscored}
    pairs = [(piece.shard, piece.model_id) for piece in choice.pieces]
    assert len(set(pairs)) == len(pairs)
    for piece in choice.pieces:
        assert piece.model_id in by_name[piece.shard].missing
        assert piece.seconds == by_name[piece.shard].windows * seconds[piece.model_id]
    for name, one in by_name.items():
        chosen = [model for shard, model in pairs if shard == name]
        needed = [model for stage in stages for model in stage.models if model in one.missing]
        assert chosen == needed[: len(chosen)]
        ends = [sum(m in one.missing for stage in stages[:k] for m in stage.models) for k in range(len(stages) + 1)]
        assert len(chosen) in ends  # a stage is scored as a whole or not at all
    again = plan(statistics, unscored[::-1], stages, seconds, budget_seconds=budget, seed=seed)
    assert again == choice


@given(situations(), st.integers(0, 3))
def test_unexplored_kinds_get_their_floor_before_any_other_reason_counts(situation: Situation, seed: int) -> None:
    statistics, unscored, stages, seconds = situation
    unscored = [replace(one, running=frozenset()) for one in unscored]
    choice = plan(statistics, unscored, stages, seconds, seed=seed)
    reasons = [piece.reason is Reason.UNEXPLORED for piece in choice.pieces]
    assert reasons == sorted(reasons, reverse=True)
    explored = {piece.shard for piece in choice.pieces if piece.reason is Reason.UNEXPLORED}
    floor, first = EXPLORE_WINDOWS * stages[0].share, set(stages[0].models)
    for kind in {kind for one in unscored for kind, _ in one.kinds}:
        own = [one for one in unscored if kind in dict(one.kinds) and one.missing & first]
        scored = statistics.kinds[kind].scored if kind in statistics.kinds else 0.0
        scored += stages[0].share * sum(dict(one.kinds)[kind] for one in own if one.shard in explored)
        assert scored >= floor * (1 - 1e-9) or all(one.shard in explored for one in own)


def test_the_kind_that_adds_most_per_second_comes_first() -> None:
    statistics = told(known(KINDS[0], only=0.01), known(KINDS[1], only=0.05))
    unscored = [shard(number, kind) for kind in KINDS[:2] for number in range(3)]
    assert {name[0] for name in shards(plan(statistics, unscored, ONE_STAGE, SECONDS))[:2]} == {"b"}
    cheap = [*unscored[3:], shard(9, KINDS[0], missing=MODELS[:1])]  # two of its three models are done
    statistics = told(known(KINDS[0], only=0.04), known(KINDS[1], only=0.05))
    assert shards(plan(statistics, cheap, ONE_STAGE, SECONDS))[0] == "a9"


def test_what_is_planned_or_running_makes_the_next_window_worth_less() -> None:
    statistics = told(known(KINDS[0], only=0.011), known(KINDS[1], only=0.010))
    unscored = [shard(number, kind) for kind in KINDS[:2] for number in range(4)]
    names = shards(plan(statistics, unscored, ONE_STAGE, SECONDS))
    assert [name[0] for name in names] == ["a", "b", "a", "b", "a", "b", "a", "b"]
    at_it = replace(shard(9, KINDS[0]), missing=frozenset(), running=frozenset(MODELS[:3]))
    names = shards(plan(statistics, [*unscored, at_it], ONE_STAGE, SECONDS))
    assert names[0][0] == "b"


def test_kinds_that_add_nothing_are_left() -> None:
    scored = 101 / LEAST_GAIN_PER_100 / 1000
    statistics = told(known(KINDS[0], scored=scored, only=0.0), known(KINDS[1], scored=scored / 2, only=0.0))
    choice = plan(statistics, [shard(1, KINDS[0]), shard(1, KINDS[1])], ONE_STAGE, SECONDS)
    assert choice.left == {KINDS[0]}
    assert shards(choice) == ["b1"]
    both = Unscored("both", ((KINDS[0], 10), (KINDS[1], 30)), frozenset(MODELS[:3]))
    assert shards(plan(statistics, [both], ONE_STAGE, SECONDS)) == ["both"]


def test_the_last_models_of_a_shard_or_the_first_of_another() -> None:
    """A fourth model completes a quarter of the targets: a shard's own, or those of a shard that is worth a third."""
    stages = (Stage(MODELS[:3], 0.25), Stage(MODELS[3:4], 0.75))
    missing = MODELS[:4]
    statistics = told(known(KINDS[0]))
    names = [
        (p.shard, p.model_id)
        for p in plan(statistics, [shard(n, KINDS[0], 40, missing) for n in (1, 2)], stages, SECONDS).pieces
    ]
    first = names[0][0]
    assert names[:4] == [(first, model) for model in MODELS[:4]]


def test_models_that_no_target_needs_come_last() -> None:
    stages = (Stage(MODELS[:1], 1.0), Stage(MODELS[1:2], 0.0))
    choice = plan(told(known(KINDS[0])), [shard(n, KINDS[0], 40, MODELS[:2]) for n in range(3)], stages, SECONDS)
    assert [piece.reason for piece in choice.pieces] == [Reason.GAIN] * 3 + [Reason.UNNEEDED] * 3


def test_most_limits_the_plan_and_the_seed_decides_between_equals() -> None:
    unscored = [shard(number, KINDS[0]) for number in range(12)]
    first, second = (plan(told(), unscored, ONE_STAGE, SECONDS, most=4, seed=seed) for seed in (1, 2))
    assert len(shards(first)) == 4
    assert shards(first) != shards(second)


def test_shares_follow_the_gain_and_leave_a_floor() -> None:
    statistics = told(
        known(KINDS[0], only=0.03, scored=200), known(KINDS[1], only=0.01, scored=200), known(KINDS[2], scored=5)
    )
    found = shares(statistics)
    assert sum(found.values()) == pytest.approx(1)
    assert found[KINDS[0]] > 2 * found[KINDS[1]]
    assert found[KINDS[1]] < found[KINDS[2]] < found[KINDS[0]]  # hardly known: as an average one
    assert min(found.values()) >= FLOOR_SHARE / 3
    assert shares(told()) == {}
    waiting = told(known(KINDS[0], windows=1000), known(KINDS[1], windows=100))
    assert shares(waiting)[KINDS[0]] < shares(waiting)[KINDS[1]]


def test_a_kind_without_a_target_of_its_own_may_still_have_one() -> None:
    assert promise(None, 1000) == promise(known(KINDS[0], only=0.0), 1000) == 0.001
    assert promise(known(KINDS[0], only=0.02, spread=0.003), 1000) == pytest.approx(0.02 + (0.003**2 + 0.001**2) ** 0.5)


def test_costs_are_measured_or_taken_from_the_size() -> None:
    names = {MODELS[0]: b"w" * 32}
    sizes = {MODELS[0]: 100, MODELS[1]: 300}
    assert seconds_per_window(sizes, names, {b"w" * 32: (50, 10.0)}) == pytest.approx({MODELS[0]: 0.2, MODELS[1]: 0.6})
    unknown = seconds_per_window(sizes, {}, {})
    assert unknown[MODELS[1]] == pytest.approx(3 * unknown[MODELS[0]])
    left = seconds_left([shard(1, KINDS[0], 10, MODELS[:1])], {MODELS[0]: 0.2, MODELS[1]: 0.6})
    assert left == pytest.approx({MODELS[0]: 2.0, MODELS[1]: 0.0})
