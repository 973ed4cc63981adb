"""Tokens by property, the audit's comparison by table, and what else of the definition has an outside truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.scoring.contract import EOS, PAD, distance, sigreg_projection, sigreg_window, within_tolerance
from quickstart.scoring.erf import erf
from quickstart.scoring.tokens import tokenize

lengths = st.one_of(
    st.integers(1, 16_384), st.sampled_from([1, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 16_383, 16_384])
)


@given(length=lengths, seed=st.integers(0, 255))
def test_tokens_hold_the_bytes_then_one_eos_then_pad(length: int, seed: int) -> None:
    data = bytes((seed + 7 * i) % 256 for i in range(length))
    tokens = tokenize(data)
    flat = tokens.ids.ravel()
    assert tokens.ids.shape == tokens.positions.shape == tokens.targets.shape == (math.ceil(length / 1024), 1024)
    assert bytes(flat[:length].astype(np.uint8)) == data
    rest = flat[length:].tolist()
    assert rest == ([EOS] + [PAD] * (len(rest) - 1) if rest else [])


@given(length=lengths)
def test_positions_are_offsets_that_stop_after_the_last_byte(length: int) -> None:
    flat = tokenize(bytes(length)).positions.ravel().tolist()
    assert flat[:length] == list(range(length))
    assert set(flat[length:]) <= {length}


@given(length=lengths)
def test_targets_are_the_next_ids_of_the_same_sequence(length: int) -> None:
    tokens = tokenize(bytes(i % 251 for i in range(length)))
    assert (tokens.targets[:, :-1] == tokens.ids[:, 1:]).all()
    assert (tokens.targets[:, -1] == PAD).all()


def test_empty_data_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        tokenize(b"")


@pytest.mark.parametrize(
    ("x", "y", "agrees"),
    [
        (1.0, 1.0, True),
        (1.0, 1.0099, True),
        (1.0, 1.0102, False),
        (0.0, 0.0099, True),
        (0.0, 0.01, False),
        (-0.004, 0.005, True),
        (4.0, 4.04, True),
        (4.0, 4.05, False),
        (-4.0, -4.04, True),
        (-4.0, 4.0, False),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 1e30, False),
        ([1.0, 2.0], [1.0, 2.01], True),
        ([1.0, 2.0], [1.0, 2.1], False),
        ([1.0], [1.0, 2.0], False),
    ],
)
def test_tolerance_of_the_audit(x: float | list[float], y: float | list[float], agrees: bool) -> None:
    assert within_tolerance(x, y) is agrees
    assert within_tolerance(y, x) is agrees


def test_distance_is_one_minus_cosine() -> None:
    assert distance(np.array([3.0, 4.0]), np.array([6.0, 8.0])) == pytest.approx(0.0, abs=1e-15)
    assert distance(np.array([3.0, 4.0]), np.array([-4.0, 3.0])) == pytest.approx(1.0)
    assert distance(np.array([3.0, 4.0]), np.array([-3.0, -4.0])) == pytest.approx(2.0)
    assert math.isnan(distance(np.zeros(2), np.array([1.0, 0.0])))


def test_erf_is_that_of_the_c_library() -> None:
    x = np.concatenate([np.linspace(-7, 7, 40_001), [0.0, 1e-300, 1 / 64, 5.999, 6.0, 40.0]])
    assert np.abs(erf(x) - [math.erf(value) for value in x]).max() < 5e-16
    assert np.isnan(erf(np.array([math.nan]))).all()
    assert erf(np.array([math.inf, -math.inf])).tolist() == [1.0, -1.0]


def test_the_regulariser_integrates_over_three_standard_deviations() -> None:
    characteristic, window = sigreg_window()
    trapezoid = window / characteristic
    assert trapezoid.sum() == pytest.approx(2 * 3.0)
    assert characteristic[0] == 1.0
    assert characteristic[-1] == pytest.approx(math.exp(-4.5))


def test_projection_columns_have_unit_length_and_follow_the_seed() -> None:
    first, second = sigreg_projection(64, 0), sigreg_projection(64, 1)
    assert first.shape == (64, 256)
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), 1.0)
    assert np.abs(first - second).max() > 0.1
