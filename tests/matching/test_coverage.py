"""Coverage against its definition, and which windows raise it."""

import numpy as np
import pytest
from matching_arrays import make_columns, make_view, name, oracle, random_view

from quickstart.bank import BankView
from quickstart.matching import MatchTarget, coverage, fillable, gain_by_group
from quickstart.matching.coverage import random_directions

MODELS = [name("model", i) for i in range(3)]


def targets_of(view: BankView, seed: int, samples: int, threshold: float) -> list[MatchTarget]:
    width = view.models[MODELS[0]].width
    models = tuple(view.models)
    return [
        MatchTarget(name("direction", i), direction, models, threshold)
        for i, direction in enumerate(random_directions(width, seed, samples))
    ]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 1.0])
def test_coverage_is_the_fillable_share_of_random_targets(threshold: float) -> None:
    view = random_view(1, n=150)
    targets = targets_of(view, 7, 300, threshold)
    share = coverage(view, MODELS, threshold, seed=7, samples=300)
    assert share == len(fillable(view, targets)) / 300
    some = targets[:10]
    assert fillable(view, some) == {
        target.target_id for target in some if any(entry.safe for entry in oracle(view, target).values())
    }


def test_coverage_grows_with_threshold_and_bank() -> None:
    views = [random_view(2, n=n, missing=0) for n in (5, 50, 500)]
    shares = [[coverage(view, MODELS, threshold, seed=1) for threshold in (0.15, 0.2, 0.3)] for view in views]
    assert (np.diff(shares, axis=0) > 0).all() and (np.diff(shares, axis=1) > 0).all()
    assert coverage(views[0], MODELS, 2.5, seed=1) == 1.0
    assert coverage(views[0], MODELS, -0.1, seed=1) == 0.0


def test_the_seed_fixes_the_sample() -> None:
    view = random_view(3)
    assert coverage(view, MODELS, 0.5, seed=1) == coverage(view, MODELS, 0.5, seed=1)
    assert len({coverage(view, MODELS, 0.5, seed=seed, samples=2000) for seed in range(5)}) > 1


def test_directions_are_even() -> None:
    directions = random_directions(16, 1, 4000)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert abs(directions.mean()) < 0.01
    assert directions.std() == pytest.approx(0.25, rel=0.02)


def test_without_entries_there_is_no_coverage() -> None:
    view = random_view(4)
    assert coverage(view, [name("model", 9)], 1.0, seed=1) == 0.0
    assert coverage(view, [], 1.0, seed=1) == 0.0
    (gain,) = gain_by_group(view, [name("model", 9)], 1.0, ["all"] * view.n, seed=1)
    assert (gain.windows, gain.alone, gain.gain_per_window) == (0, 0.0, 0.0)


def diverse_and_monotonous(monotonous: int, diverse: int) -> tuple[BankView, list[str]]:
    """Many windows of one kind around one direction, a few of another kind all over the sphere."""
    random = np.random.default_rng(5)
    near = np.array([3.0, *[0.0] * 7]) + 0.1 * random.standard_normal((monotonous, 8))
    embeddings = np.concatenate([near, random.standard_normal((diverse, 8))])
    n = len(embeddings)
    columns = make_columns(embeddings, np.full(n, 2.0), np.full(n, 1e-3), np.zeros(n))
    return make_view([columns], n), ["same"] * monotonous + ["mixed"] * diverse


def test_diverse_windows_are_worth_more() -> None:
    view, groups = diverse_and_monotonous(200, 30)
    first, second = gain_by_group(view, MODELS[:1], 0.4, groups, seed=3, samples=2000)
    assert (first.group, second.group) == ("mixed", "same")
    assert (first.windows, second.windows) == (30, 200)
    assert first.gain_per_window > 20 * second.gain_per_window
    assert first.alone > 5 * second.alone > 0
    whole = coverage(view, MODELS[:1], 0.4, seed=3, samples=2000)
    assert first.only + second.alone == pytest.approx(whole)


def test_gain_per_window_is_what_leaving_one_out_costs() -> None:
    view, groups = diverse_and_monotonous(3, 12)
    whole = coverage(view, MODELS[:1], 0.5, seed=4)
    column = view.models[MODELS[0]]
    losses = {"same": [], "mixed": []}
    for row in range(view.n):
        kept = column.losses.copy()
        kept[row] = np.nan
        stored = np.stack([view.embedding(MODELS[0], i) for i in range(view.n)])
        less = make_view([make_columns(stored, kept, column.distance_errors, column.loss_errors)], view.n)
        losses[groups[row]].append(whole - coverage(less, MODELS[:1], 0.5, seed=4))
    for gain in gain_by_group(view, MODELS[:1], 0.5, groups, seed=4):
        assert gain.gain_per_window == pytest.approx(np.mean(losses[gain.group]), abs=1e-12)


def test_every_row_needs_a_group() -> None:
    with pytest.raises(ValueError, match="3 group names for 40 windows"):
        gain_by_group(random_view(5), MODELS, 0.5, ["a", "b", "c"], seed=1)
