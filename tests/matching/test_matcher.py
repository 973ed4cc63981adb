"""The matcher against the definition, whatever it keeps in memory."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_arrays import make_columns, make_view, name, oracle, random_targets, random_view

from quickstart.bank import Bank
from quickstart.data.window import Provenance, Window
from quickstart.matching import Candidate, Matcher, MatchTarget, fillable, nearest
from quickstart.scoring.engine import CertifiedError, ScoredShard

ALL = 10**6


@pytest.fixture
def matcher():
    matcher = Matcher()
    yield matcher
    matcher.close()


VIEWS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "n": st.integers(1, 60),
        "models": st.integers(1, 5),
        "width": st.integers(2, 12),
        "missing": st.sampled_from([0.0, 0.1, 0.9]),
        "loss_step": st.sampled_from([0.0, 0.1]),
        "distance_error": st.sampled_from([0.0, 0.01, 0.3]),
        "loss_error": st.sampled_from([0.0, 0.02, 0.2]),
    }
)


@given(parts=VIEWS, per_target=st.integers(1, 3), threshold=st.sampled_from([0.2, 0.6, 1.0, 1.9]))
@settings(max_examples=150, deadline=None)
def test_all_and_only_what_the_definition_says(parts, per_target: int, threshold: float) -> None:
    view = random_view(**parts)
    targets = random_targets(parts["seed"], view, 6, per_target, threshold)
    matcher = Matcher()
    found = matcher.match(view, targets, top=ALL)
    matcher.close()
    assert list(found) == [target.target_id for target in targets]
    for target in targets:
        entries, matches = oracle(view, target), found[target.target_id]
        assert {(c.row, c.model_index) for c in matches.sendable} == {key for key, e in entries.items() if e.safe}
        assert {(c.row, c.model_index) for c in matches.uncertain} == {key for key, e in entries.items() if not e.safe}
        for candidate in matches.sendable + matches.uncertain:
            entry = entries[candidate.row, candidate.model_index]
            assert candidate.target_id == target.target_id
            assert candidate.window_checksum == view.checksum(candidate.row)
            assert candidate.distance == np.float32(candidate.distance) == pytest.approx(entry.distance, abs=1e-6)
            assert candidate.loss == view.models[target.models[candidate.model_index]].losses[candidate.row]
            assert candidate.distance_margin == pytest.approx(entry.distance_margin, abs=1e-12)
            assert candidate.loss_margin == pytest.approx(entry.loss_margin, abs=1e-12)
            assert candidate.needs_exact is not entry.safe
            assert (candidate.safety > 0.999) or candidate.needs_exact
    safe = {target.target_id for target in targets if any(e.safe for e in oracle(view, target).values())}
    assert fillable(view, targets) == safe
    near = nearest(view, targets)
    for target in targets:
        margins = {key: e.distance_margin for key, e in oracle(view, target).items() if e.safe}
        if margins:
            (_, model), margin = max(margins.items(), key=lambda item: item[1])
            assert near[target.target_id].distance == pytest.approx(target.distance_threshold - margin, abs=1e-9)
            assert near[target.target_id].model == model


@given(parts=VIEWS)
@settings(max_examples=50, deadline=None)
def test_a_safe_candidate_is_right_for_any_scores_within_the_errors(parts) -> None:
    """The worst case inside the certified errors still has the same winner, within the threshold."""
    view = random_view(**parts)
    targets = random_targets(parts["seed"], view, 4)
    matcher = Matcher()
    found = matcher.match(view, targets, top=ALL)
    matcher.close()
    for target in targets:
        columns = [view.models[weights] for weights in target.models]
        for c in found[target.target_id].sendable:
            losses = [float(x.losses[c.row]) - float(x.loss_errors[c.row]) for x in columns]
            winner = columns[c.model_index]
            losses[c.model_index] = float(winner.losses[c.row]) + float(winner.loss_errors[c.row])
            assert losses.index(min(losses)) == c.model_index
            assert c.distance + float(winner.distance_errors[c.row]) <= target.distance_threshold + 1e-7


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 100])
def test_the_memory_budget_never_shows(chunks: int) -> None:
    """10,000 rows are more than two blocks: none, some or all of them stay in memory."""
    view = random_view(1, n=10_000, models=4, distance_error=0.005, loss_error=0.005)
    targets = random_targets(1, view, 30, threshold=0.3)
    with_all, limited = Matcher(), Matcher(budget_bytes=chunks * 4096 * 8 * 4)
    expected = with_all.match(view, targets)
    assert {t.target_id for t in targets if expected[t.target_id].sendable} == fillable(view, targets)
    assert limited.match(view, targets) == expected
    assert limited.match(view, targets[3:4]) == {targets[3].target_id: expected[targets[3].target_id]}
    assert limited.resident_bytes <= chunks * 4096 * 8 * 4
    with_all.close()
    limited.close()


def test_the_best_come_first_and_top_takes_the_first(matcher: Matcher) -> None:
    view = random_view(2, n=9_000, models=3, missing=0)
    targets = random_targets(2, view, 10, threshold=0.7)
    whole, few = matcher.match(view, targets, top=ALL), matcher.match(view, targets, top=5)
    for target in targets:
        matches = whole[target.target_id]
        assert len(matches.sendable) > 5 and len(matches.uncertain) > 5
        for ranked in (matches.sendable, matches.uncertain):
            assert list(ranked) == sorted(ranked, key=lambda c: (-c.safety, c.row, c.model_index))
        assert few[target.target_id].sendable == matches.sendable[:5]
        assert few[target.target_id].uncertain == matches.uncertain[:5]


def test_own_wins_come_first(matcher: Matcher) -> None:
    view = random_view(3, n=500, models=3, missing=0)
    targets = random_targets(3, view, 10, threshold=0.7)
    own = {name("model", 1)}
    whole, few = matcher.match(view, targets, ALL, own), matcher.match(view, targets, 4, own)
    for target in targets:
        mine = [target.models[c.model_index] in own for c in whole[target.target_id].sendable]
        assert any(mine) and not all(mine)
        assert mine == sorted(mine, reverse=True)
        assert few[target.target_id].sendable == whole[target.target_id].sendable[:4]


def one_window(losses: list[float], loss_errors: list[float], distance_error: float = 0.01):
    """One window at distance 0.5 of a target, scored by some models."""
    embedding = np.array([[1.0, np.sqrt(3)]])
    columns = [
        make_columns(embedding, np.array([loss]), np.array([distance_error]), np.array([error]))
        for loss, error in zip(losses, loss_errors, strict=True)
    ]
    return make_view(columns, 1)


def the_target(threshold: float, models: int) -> MatchTarget:
    names = tuple(name("model", i) for i in range(models))
    return MatchTarget(name("target", 0), np.array([1, 0], np.float32), names, threshold)


@pytest.mark.parametrize(
    ("losses", "threshold", "sendable", "uncertain"),
    [
        ([2.0], 0.52, [0], []),
        ([2.0], 0.505, [], [0]),
        ([2.0], 0.495, [], [0]),
        ([2.0], 0.48, [], []),
        ([2.0, 1.9], 0.52, [1], []),
        ([2.0, 1.985], 0.52, [], [1, 0]),
        ([2.0, 2.0], 0.52, [], [0, 1]),
        ([2.0, 1.985, 1.5], 0.52, [2], []),
        ([2.0, float("nan")], 0.52, [], []),
    ],
    ids=[
        "single",
        "near",
        "just beyond",
        "beyond",
        "second wins",
        "contested",
        "tie",
        "third wins",
        "missing",
    ],
)
def test_the_rules_by_example(matcher: Matcher, losses, threshold, sendable, uncertain) -> None:
    view = one_window(losses, [0.01] * len(losses))
    matches = matcher.match(view, [the_target(threshold, len(losses))])[name("target", 0)]
    assert [c.model_index for c in matches.sendable] == sendable
    assert [c.model_index for c in matches.uncertain] == uncertain
    for candidate in matches.sendable + matches.uncertain:
        assert candidate.distance == pytest.approx(0.5, abs=1e-3)
    if len(losses) == 1 and sendable:
        assert matches.sendable[0].loss_margin == float("inf")


@pytest.mark.parametrize(
    "change",
    [
        {"models": (name("model", 0), name("model", 9))},
        {"models": ()},
        {"embedding": np.ones(5, np.float32)},
        {"embedding": np.zeros(8, np.float32)},
        {"embedding": np.full(8, np.nan, np.float32)},
        {"distance_threshold": float("nan")},
    ],
    ids=["unknown model", "no model", "width", "zero", "nan", "threshold"],
)
def test_a_target_that_cannot_be_matched_harms_no_other(matcher: Matcher, change) -> None:
    view = random_view(4)
    good, other = random_targets(4, view, 2, threshold=0.9)
    fields = {slot: getattr(other, slot) for slot in MatchTarget.__slots__}
    bad = MatchTarget(**{**fields, **change})
    found = matcher.match(view, [bad, good])
    assert found[bad.target_id].sendable == found[bad.target_id].uncertain == ()
    assert found[good.target_id] == matcher.match(view, [good])[good.target_id]
    assert found[good.target_id].sendable
    assert bad.target_id not in fillable(view, [bad, good])


def test_nothing_to_match(matcher: Matcher) -> None:
    assert matcher.match(random_view(5), []) == {}
    empty = make_view([], 0)
    target = the_target(1.0, 2)
    assert matcher.match(empty, [target])[target.target_id].sendable == ()
    assert fillable(empty, [target]) == set()


def grow(bank: Bank, step: int, models: list[bytes]) -> None:
    """Adds a shard that some models have scored, and re-scores a part of an earlier one."""
    random = np.random.default_rng(step)

    def scored(weights: bytes, count: int, error: float) -> ScoredShard:
        embeddings = random.standard_normal((count, 6)).astype(np.float32)
        losses = random.normal(2, 0.1, count).astype(np.float32)
        return ScoredShard(weights, "test", embeddings, losses, CertifiedError(error, error))

    windows = [Window.cut(random.bytes(1024), Provenance("s", "p", place)) for place in range(1500)]
    shard = bank.add_windows(windows)
    for weights in models:
        if random.random() < 0.8:
            bank.add_scores(shard, scored(weights, 1500, 0.01), created_at=step)
    older = bank.shards()[step // 2]
    rows = random.permutation(1500)[:200].tolist()
    bank.add_scores(older.id, scored(models[step % 3], 200, 0.001), created_at=step, rows=rows)


def test_a_growing_bank_matches_as_if_it_were_new(tmp_path: Path) -> None:
    bank, models = Bank(tmp_path), [name("model", i) for i in range(3)]
    kept, small = Matcher(), Matcher(budget_bytes=4096 * 6 * 4)
    filled: list[int] = []
    for step in range(8):
        grow(bank, step, models)
        view = bank.view(models)
        targets = random_targets(step, view, 20, threshold=0.1)
        fresh = Matcher()
        expected = fresh.match(view, targets)
        assert kept.match(view, targets) == expected
        assert small.match(view, targets) == expected
        assert {i for i, m in expected.items() if m.sendable} == fillable(view, targets)
        filled.append(len(fillable(view, targets)))
        fresh.close()
    assert filled[-1] > filled[0]
    kept.close()
    small.close()


def test_rows_of_superseded_entries_are_not_used(tmp_path: Path, matcher: Matcher) -> None:
    bank, weights = Bank(tmp_path), name("model", 0)
    shard = bank.add_windows([Window.cut(b"a" * 1024, Provenance("s", "p", 0))])
    target = the_target(0.5, 1)

    def score(embedding: list[float], loss: float, created_at: int) -> tuple[Candidate, ...]:
        result = ScoredShard(
            weights,
            "e",
            np.array([embedding], np.float32),
            np.array([loss], np.float32),
            CertifiedError(0, 0),
        )
        bank.add_scores(shard, result, created_at=created_at)
        return matcher.match(bank.view([weights]), [target])[target.target_id].sendable

    assert len(score([1, 0], 2, 1)) == 1
    assert score([-1, 0], 2, 2) == ()
    assert len(score([1, 0.1], 2, 3)) == 1
    assert score([1, 0], float("nan"), 4) == ()


def test_every_order_of_models_has_its_own_indices(matcher: Matcher) -> None:
    view = random_view(6, n=200, models=3, missing=0, loss_error=0.0)
    base = random_targets(6, view, 1, threshold=0.8)[0]
    targets = [
        MatchTarget(name("order", i), base.embedding, models, base.distance_threshold)
        for i, models in enumerate(itertools.permutations(view.models))
    ]
    found = matcher.match(view, targets)
    winners = {
        tuple((c.row, target.models[c.model_index]) for c in found[target.target_id].sendable) for target in targets
    }
    assert len(winners) == 1
