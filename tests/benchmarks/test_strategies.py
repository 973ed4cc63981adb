"""The strategies benchmark on random scores: both sides play by one rule, and the simulation is what it says."""

import numpy as np
import pytest
from simulated import EPOCHS, EveryRow, Scores, SimulatedNetwork
from strategies import LANES, SCORE_SECONDS, TRANSACTION_SECONDS, BankStrategy, Choice, Result, score_and_forget

from quickstart.bank import BankView, ModelColumns
from quickstart.bank.bank import Shard
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.protocol import scaled_threshold
from quickstart.devnet.config import MODEL_NAMES, MODEL_WIDTH
from quickstart.devnet.genesis import packaged_model
from quickstart.matching import Matcher

WINDOWS = 12
SHARD_WINDOWS = 4
EPOCH_SECONDS = WINDOWS * SCORE_SECONDS


def random_columns(seed: int) -> ModelColumns:
    random = np.random.default_rng(seed)
    half = (random.standard_normal((WINDOWS, MODEL_WIDTH)) + 0.5).astype(np.float16)
    return ModelColumns(
        width=MODEL_WIDTH,
        segments=(half,),
        segment=np.zeros(WINDOWS, np.int32),
        index=np.arange(WINDOWS, dtype=np.int32),
        losses=random.normal(2, 0.1, WINDOWS).astype(np.float32),
        inverse_norms=(1 / np.linalg.norm(half.astype(np.float64), axis=1)).astype(np.float32),
        distance_errors=np.full(WINDOWS, 1e-3, np.float32),
        loss_errors=np.full(WINDOWS, 0.02, np.float32),
    )


@pytest.fixture(scope="module")
def scores() -> Scores:
    weights: dict[Id32, Id32] = {
        packaged_model(name).manifest.checksum: blake2b_256(name.encode()) for name in MODEL_NAMES
    }
    checksums = np.random.default_rng(0).integers(0, 256, (WINDOWS, 32), np.uint8)
    models = {name: random_columns(seed) for seed, name in enumerate(weights.values())}
    starts = range(0, WINDOWS, SHARD_WINDOWS)
    shards = tuple(Shard(f"shard {start}", SHARD_WINDOWS, start) for start in starts)
    view = BankView(WINDOWS, models, tuple(starts), tuple(checksums[start : start + SHARD_WINDOWS] for start in starts))
    return Scores(view, shards, weights, seconds=0.0)


def network(scores: Scores, threshold: float, paid_hits: int | None = None) -> SimulatedNetwork:
    return SimulatedNetwork(threshold, 0, EPOCH_SECONDS, scores.weights, paid_hits)


def bank(scores: Scores, threshold: float, budget: int = WINDOWS) -> Result:
    return BankStrategy(network(scores, threshold), scores, budget).run("bank")


@pytest.mark.parametrize("threshold", [1.05, 1.0, 0.95])
def test_a_forgetful_strategy_may_send_exactly_what_the_matcher_may(scores: Scores, threshold: float) -> None:
    targets = (simulated := network(scores, threshold)).match_targets(simulated.targets)
    matcher, every_row = Matcher(threads=1), EveryRow(scores.view)
    expected = matcher.match(scores.view, targets, top=WINDOWS)
    matcher.close()
    some = 0
    for target in targets:
        sendable = {c.row: c for c in expected[target.target_id].sendable}
        found = every_row.candidates(target)
        assert found.keys() == sendable.keys()
        for row, (model_index, distance) in found.items():
            assert model_index == sendable[row].model_index
            assert distance == pytest.approx(sendable[row].distance, abs=1e-5)
        some += len(found)
    assert some > 0


def test_the_threshold_stays_where_it_was_set(scores: Scores) -> None:
    simulated = network(scores, 0.98)
    (coin,) = simulated.coins(1)
    every_row = EveryRow(scores.view)
    for epoch in range(1, EPOCHS + 1):
        assert simulated.state.epoch == epoch
        assert len(simulated.targets) == 100
        for target in simulated.targets.values():
            assert target.distance_threshold == pytest.approx(scaled_threshold(0.98, MODEL_WIDTH), abs=1e-6)
        for target in simulated.match_targets(list(simulated.targets))[:20]:
            for row, (model_index, distance) in list(every_row.candidates(target).items())[:1]:
                claim = simulated.submission(target.target_id, row, model_index, distance, scores.view, coin)
                assert simulated.land(claim)
                assert target.target_id not in simulated.targets
        assert len(simulated.targets) == 100
        simulated.pass_to(simulated.epoch_ends, inclusive=True)


def test_a_late_transaction_fails(scores: Scores) -> None:
    simulated = network(scores, 1.05)
    (coin,) = simulated.coins(1)
    target = simulated.match_targets(simulated.targets)[0]
    row, (model_index, distance) = next(iter(EveryRow(scores.view).candidates(target).items()))
    claim = simulated.submission(target.target_id, row, model_index, distance, scores.view, coin)
    simulated.pass_to(EPOCH_SECONDS, inclusive=False)
    assert simulated.state.epoch == 1
    simulated.pass_to(EPOCH_SECONDS, inclusive=True)
    assert simulated.state.epoch == 2
    assert not simulated.land(claim)


@pytest.mark.parametrize("threshold", [0.98, 0.95])
def test_the_same_seed_gives_the_same_result(scores: Scores, threshold: float) -> None:
    assert bank(scores, threshold) == bank(scores, threshold)
    runs = [score_and_forget(network(scores, threshold), scores, Choice.ALL) for _ in range(2)]
    assert runs[0] == runs[1]


def test_nobody_is_faster_than_lanes_and_gpu_allow(scores: Scores) -> None:
    seconds = EPOCHS * EPOCH_SECONDS
    ours = bank(scores, 1.05)
    assert 0 < ours.hits + ours.failed <= LANES * seconds / TRANSACTION_SECONDS
    assert ours.gpu_seconds == WINDOWS * SCORE_SECONDS
    for choice in Choice:
        theirs = score_and_forget(network(scores, 1.05), scores, choice)
        busy = theirs.gpu_seconds + (theirs.hits + theirs.failed) * TRANSACTION_SECONDS
        assert seconds - SCORE_SECONDS - TRANSACTION_SECONDS <= busy <= seconds
        if choice is not Choice.ALL:
            assert theirs.hits <= theirs.windows


def test_the_gpu_stops_at_the_budget(scores: Scores) -> None:
    ours = bank(scores, 1.05, budget=SHARD_WINDOWS)
    assert ours.gpu_seconds == SHARD_WINDOWS * SCORE_SECONDS
    assert ours.hits > 0


def test_the_reward_budget_ends_an_epoch(scores: Scores) -> None:
    """No more targets are made than are paid for: those of the start, and a new one for each fill."""
    simulated = network(scores, 1.05, paid_hits=130)
    ours = BankStrategy(simulated, scores, WINDOWS).run("bank")
    assert ours.hits <= 130 * EPOCHS
    assert simulated.state.generated == 130


def test_scores_come_in_row_by_row(scores: Scores) -> None:
    names = list(scores.view.models)
    view = scores.only({names[0]: 5, names[1]: WINDOWS})
    assert list(view.models) == names[:2]
    assert np.isfinite(view.models[names[0]].losses).tolist() == [row < 5 for row in range(WINDOWS)]
    assert np.isfinite(scores.view.models[names[0]].losses).all()
