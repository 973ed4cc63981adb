"""Coverage against its definition."""

import numpy as np
import pytest
from matching_arrays import name, oracle, random_view

from quickstart.bank import BankView
from quickstart.matching import MatchTarget, coverage, fillable
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
