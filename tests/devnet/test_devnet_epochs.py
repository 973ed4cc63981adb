"""The epoch boundary: difficulty, value fee, emission, budget (`soma-protocol` §12)."""

from dataclasses import replace

import pytest
from pure_chain import SOMA, PureChain

from quickstart.chain.protocol import scaled_threshold
from quickstart.devnet.config import DevnetConfig

UNSCALED = DevnetConfig(width=8, models=0, scaled=False)
SCALED = DevnetConfig(width=64, models=0)


def thresholds(chain: PureChain, hits: list[int]) -> list[float]:
    """The threshold after each epoch with so many fills."""
    seen = []
    for count in hits:
        chain.state.hits = count
        chain.epoch()
        seen.append(chain.state.threshold)
    return seen


@pytest.mark.parametrize(
    ("start", "hits", "expected"),
    [
        (1.05, 20, [1.10, 1.20, 1.40, 1.80, 2.00, 2.00]),
        (1.05, 100_000, [1.00, 0.956, 0.95, 0.95]),
        (0.95, 20, [1.00, 1.044, 1.088, 1.176, 1.352, 1.704]),
        (1.05, 0, [1.05, 1.05]),
        (1.05, 86_400, [1.05, 1.05]),
    ],
    ids=["too few", "too many", "too few from the floor", "no fill at all", "exactly enough"],
)
def test_thresholds_of_the_network(start: float, hits: int, expected: list[float]) -> None:
    chain = PureChain(UNSCALED)
    chain.state.threshold = start
    assert thresholds(chain, [hits] * len(expected)) == pytest.approx(expected, abs=1e-6)


def test_scaled_thresholds_are_as_many_sigmas() -> None:
    """The same climb as on the network, in units of the width's own sigma."""
    network, scaled = PureChain(UNSCALED), PureChain(SCALED)
    expected = [scaled_threshold(value, 64) for value in thresholds(network, [100_000] * 4)]
    assert thresholds(scaled, [150] * 4) == pytest.approx(expected, abs=1e-5)
    assert scaled.state.threshold == pytest.approx(scaled_threshold(0.95, 64), abs=1e-6)


def test_the_average_of_hits_lags() -> None:
    chain = PureChain(UNSCALED)
    averages = []
    for hits in (100_000, 0, 0):
        chain.state.hits = hits
        chain.epoch()
        averages.append(chain.state.hits_ema)
    assert averages == [100_000, 90_000, 81_000]


def test_the_value_fee_falls_to_seven_and_stays() -> None:
    chain = PureChain()
    rates = [chain.state.parameters.value_fee_bps]
    for _ in range(5):
        chain.epoch()
        rates.append(chain.state.parameters.value_fee_bps)
    assert rates == [10, 9, 8, 7, 7, 7]


@pytest.mark.parametrize(
    ("rate", "fees", "expected"),
    [(10, 2 * SOMA, 11), (7, 2 * SOMA, 7), (50, 10 * SOMA, 50), (1, 0, 1), (10, SOMA, 10), (40, 3 * SOMA, 45)],
)
def test_the_value_fee_follows_the_epochs_fees(rate: int, fees: int, expected: int) -> None:
    chain = PureChain()
    chain.state.parameters = replace(chain.state.parameters, value_fee_bps=rate)
    chain.state.fees = fees
    chain.epoch()
    assert chain.state.parameters.value_fee_bps == expected


def test_fees_and_emission_return_to_the_pool_without_validator_pools() -> None:
    chain = PureChain()
    pool = chain.state.pool
    chain.state.fees, chain.state.minted = 12_345, chain.state.minted + 12_345
    chain.epoch(now_ms=86_400_000)
    assert chain.state.pool == pool + 12_345
    assert chain.state.fees == 0
    assert chain.state.supply() == chain.state.minted


@pytest.mark.parametrize("scaled", [True, False])
def test_rewards_are_the_networks_on_any_devnet(scaled: bool) -> None:
    chain = PureChain(DevnetConfig(width=8, models=0, scaled=scaled))
    assert chain.state.reward_per_target == 5_480_000_000
    chain.epoch()
    assert chain.state.reward_per_target == 12_685_185


def test_no_active_model_no_targets() -> None:
    chain = PureChain()
    chain.epoch()
    assert chain.open_targets() == []


def test_initial_targets_stop_at_the_budget_and_at_the_pool() -> None:
    chain = PureChain()
    chain.with_active_model()
    chain.state.pool = 12_685_185 * 7
    chain.epoch()
    assert len(chain.open_targets()) == 7
    assert chain.state.pool < 12_685_185


def test_old_targets_stay_until_somebody_claims_them() -> None:
    chain = PureChain()
    chain.with_active_model()
    first = dict(chain.open_targets())
    chain.epoch()
    assert len(chain.open_targets()) == 100
    assert first.keys() <= dict(chain.state.targets()).keys()


def test_a_devnet_with_models_starts_with_their_targets_after_one_boundary() -> None:
    chain = PureChain(DevnetConfig(targets=5))
    assert len(chain.state.active_models()) == 4
    chain.epoch()
    targets = chain.open_targets()
    assert len(targets) == 5
    assert all(len(target.model_ids) == 3 for _, target in targets)
    assert all(target.embedding.shape == (64,) for _, target in targets)
