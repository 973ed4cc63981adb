"""What every engine owes: order, failures with a reason, certified error, and a model at fault named."""

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quickstart.chain.ids import format_digest
from quickstart.errors import DeviceMemoryError, SettingsError, WeightsError
from quickstart.scoring.certification import Certificates, Scores, calibration_windows, certify
from quickstart.scoring.engine import CertifiedError
from quickstart.scoring.engines import create_engine
from quickstart.scoring.numpy_engine import NumpyEngine, run_reference
from quickstart.scoring.reference import evaluate
from quickstart.scoring.shards import score_shard


def changed(weights: Any, name: str, value: float) -> Any:
    """The same model with one tensor filled with `value`, as if it had been published so."""
    tensors = dict(weights.tensors) | {name: np.full_like(weights.tensors[name], value)}
    return replace(weights, tensors=tensors, checksum=bytes(31) + b"\x07")


def test_a_shard_keeps_the_order_of_the_request(python_model: Any, windows: list[bytes]) -> None:
    engine = NumpyEngine()
    shard, turned = engine.score(python_model, windows), engine.score(python_model, windows[::-1])
    assert shard.weights_checksum == python_model.checksum
    assert shard.engine_id == engine.id
    assert shard.embeddings.shape == (3, 64)
    assert shard.embeddings.dtype == shard.losses.dtype == np.float32
    np.testing.assert_array_equal(shard.losses, turned.losses[::-1])
    np.testing.assert_array_equal(shard.embeddings, turned.embeddings[::-1])
    assert shard.failures == ()


def test_exact_is_the_reference(python_model: Any, windows: list[bytes]) -> None:
    shard = NumpyEngine().score(python_model, windows[:1], exact=True)
    assert shard.engine_id == "reference-float64"
    assert shard.losses[0] == np.float32(evaluate(python_model, windows[0]).loss)


def test_the_certified_error_covers_what_is_seen_on_other_windows(python_model: Any, windows: list[bytes]) -> None:
    shard = NumpyEngine().score(python_model, windows)
    exact = run_reference(python_model, windows)
    stored = shard.embeddings.astype(np.float16).astype(np.float64)
    others = np.random.default_rng(1).standard_normal((1000, 64))
    unit = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in (stored, exact.embeddings, others)]
    assert np.abs((unit[0] - unit[1]) @ unit[2].T).max() < shard.error.distance < 2e-3
    assert np.abs(shard.losses - exact.losses).max() < shard.error.loss < 1e-4


def test_windows_that_no_model_can_score_are_failures(python_model: Any, windows: list[bytes]) -> None:
    shard = NumpyEngine().score(python_model, [b"", windows[0], bytes(16_385)])
    assert [(failure.index, failure.reason.split(",")[0]) for failure in shard.failures] == [
        (0, "empty"),
        (2, "16385 bytes"),
    ]
    assert np.isnan(shard.losses[[0, 2]]).all()
    assert np.isnan(shard.embeddings[[0, 2]]).all()
    assert math.isfinite(shard.losses[1])


def test_no_window_is_an_empty_shard(python_model: Any) -> None:
    shard = NumpyEngine().score(python_model, [])
    assert shard.embeddings.shape == (0, 64)
    assert shard.losses.shape == (0,)


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("embedding.weight", math.nan),
        ("encoder.layers.0.attention.query.weight", 1e38),
        ("final_norm.gamma", 1e6),
        ("predictor.bias", math.inf),
    ],
)
def test_a_model_that_gives_nan_or_infinity_is_named(
    python_model: Any, windows: list[bytes], tensor: str, value: float
) -> None:
    broken = changed(python_model, tensor, value)
    with pytest.raises(WeightsError, match=format_digest(broken.checksum)):
        NumpyEngine().score(broken, windows)


def test_a_zero_embedding_cannot_be_certified(python_model: Any, windows: list[bytes]) -> None:
    silent = changed(changed(python_model, "final_norm.gamma", 0.0), "final_norm.beta", 0.0)
    with pytest.raises(WeightsError, match="zero embedding"):
        NumpyEngine().score(silent, windows)


def test_one_byte_that_gives_nan_costs_only_its_windows(python_model: Any, windows: list[bytes]) -> None:
    embedding = python_model.tensors["embedding.weight"].copy()
    embedding[0xFE] = math.nan
    tensors = dict(python_model.tensors) | {"embedding.weight": embedding}
    poisoned = replace(python_model, tensors=tensors, checksum=bytes(31) + b"\x09")
    assert all(0xFE not in window for window in windows)
    engine = NumpyEngine()
    noisy = bytes([0xFE]) * 1024
    with pytest.raises(WeightsError):
        engine.score(poisoned, windows)
    assert 0xFE in calibration_windows()[3]

    # Weights that the calibration windows do not trip over: the failure is the window's, unless all fail.
    shard = _score_uncertified(poisoned, [windows[0], noisy])
    assert [failure.index for failure in shard.failures] == [1]
    assert math.isfinite(shard.losses[0])
    with pytest.raises(WeightsError, match="every window"):
        _score_uncertified(poisoned, [noisy, noisy])


def _score_uncertified(weights: Any, windows: list[bytes]) -> Any:
    from quickstart.scoring.engine import CertifiedError
    from quickstart.scoring.float32_model import Float32Model
    from quickstart.scoring.shards import score_shard

    return score_shard(weights, "test", windows, Float32Model(weights).score, CertifiedError(0.0, 0.0))


def test_certification_is_three_times_the_largest_difference() -> None:
    exact = Scores(np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([1.0, 2.0]))
    engine = Scores(np.array([[3.0, 4.0], [0.0625, 2.0]]), np.array([1.0, 2.125]))
    certificate = certify(lambda _: engine, lambda _: exact, [b"a", b"b"])
    turned = np.array([0.0625, 2.0]) / np.hypot(0.0625, 2.0) - np.array([0.0, 1.0])
    # In a plane, one of the targets lies in any direction.
    assert certificate.error.distance == pytest.approx(3 * np.hypot(*turned), rel=1e-4)
    assert certificate.error.loss == pytest.approx(3 * 0.125)
    # The audit allows 1 % of a loss of 2, and 0.01 in distance.
    assert certificate.tolerance_share == pytest.approx(3 * 0.125 / 0.02)
    closer = Scores(engine.embeddings, exact.losses)
    share = certify(lambda _: closer, lambda _: exact, [b"a", b"b"]).tolerance_share
    assert share == pytest.approx(3 * np.hypot(*turned) / 0.01, rel=1e-4)


def test_a_difference_counts_as_far_as_targets_can_see_it() -> None:
    """In many dimensions no direction is near that of the difference."""
    exact = np.random.default_rng(3).standard_normal((5, 2048))
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    gap = np.random.default_rng(4).standard_normal((5, 2048))
    gap *= 0.01 / np.linalg.norm(gap, axis=1, keepdims=True)
    losses = np.ones(5)
    error = certify(lambda _: Scores(exact + gap, losses), lambda _: Scores(exact, losses), [b""] * 5).error
    others = np.random.default_rng(5).standard_normal((4_000, 2048))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    seen = np.abs(gap @ others.T).max()
    assert 2 * seen < error.distance < 0.01


def test_a_window_that_is_not_scored_cannot_be_certified() -> None:
    lost = Scores(np.full((1, 2), np.nan), np.full(1, np.nan), {0: "out of memory"})
    exact = Scores(np.ones((1, 2)), np.ones(1))
    with pytest.raises(DeviceMemoryError, match=r"out of memory .*: end what else uses that memory"):
        certify(lambda _: lost, lambda _: exact, [b"a"])


def test_a_lack_of_memory_is_no_fault_of_the_model(python_model: Any) -> None:
    """Unless a window that was scored shows one."""
    width = python_model.architecture.width
    nothing = {"embeddings": np.full((2, width), np.nan), "losses": np.full(2, np.nan)}
    for failures, fault in (
        ({0: "out of memory", 1: "out of memory"}, DeviceMemoryError),
        ({0: "out of memory"}, WeightsError),
    ):
        scores = Scores(**nothing, failures=failures)
        with pytest.raises(fault, match="for every window"):
            score_shard(python_model, "engine", [b"a", b"b"], lambda _: scores, CertifiedError(0.0, 0.0))  # noqa: B023


def test_certification_counts_the_rounding_of_a_bank_entry_and_of_the_network() -> None:
    third = Scores(np.array([[1.0, 1 / 3]]), np.array([1.0]))
    error = certify(lambda _: third, lambda _: third, [b"a"]).error
    assert 1e-5 < error.distance < 1e-3
    assert error.loss == pytest.approx(3.3e-5)


def test_each_model_is_certified_once_with_the_callers_windows_too(python_model: Any) -> None:
    asked: list[int] = []

    def run(windows: Any) -> Scores:
        asked.append(len(windows))
        return Scores(np.ones((len(windows), 2)), np.zeros(len(windows)))

    certificates = Certificates([b"one more"])
    assert not certificates.has(python_model.checksum, "engine")
    first = certificates.of(python_model.checksum, "engine", run, run)
    assert certificates.of(python_model.checksum, "engine", run, run) is first
    assert certificates.has(python_model.checksum, "engine")
    assert asked == [len(calibration_windows()) + 1] * 2


def test_calibration_windows_are_fixed_and_of_different_kinds() -> None:
    windows = calibration_windows()
    assert {len(window) for window in windows} == {1024}
    kinds = [len(set(window)) for window in windows]
    assert kinds[-1] == 2 and kinds[-2] > 200 and all(15 < kind < 80 for kind in kinds[:-2])


def test_engines_by_name(caplog: pytest.LogCaptureFixture) -> None:
    assert create_engine("numpy").id == "numpy-float32"
    with caplog.at_level(logging.INFO):
        create_engine("auto")
    assert "engine: " in caplog.text
    with pytest.raises(SettingsError, match="no engine named 'abacus'"):
        create_engine("abacus")
