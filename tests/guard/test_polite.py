"""Promise 10 in short, and the parts it is made of: pauses, breaker, and a loop that scores nothing meanwhile."""

import random

import hypothesis.strategies as st
from campaign_path import promise
from hypothesis import given

from quickstart.chain.backoff import Backoff, Breaker


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0, 1e4)), st.integers(0, 100))
def test_a_pause_is_at_least_what_was_asked_and_else_bounded(failures: int, asked: float | None, seed: int) -> None:
    backoff = Backoff(0.5, 30.0, random.Random(seed).uniform)
    pause = backoff.pause(failures, asked)
    assert pause >= (asked or 0.0)
    assert 0.25 <= pause <= max(30.0, asked or 0.0)
    assert pause >= min(30.0, 0.5 * 2.0 ** min(failures - 1, 10)) / 2


def test_a_breaker_opens_longer_each_time_and_closes_with_a_success() -> None:
    now = 100.0
    breaker = Breaker(Backoff(2.0, 60.0, lambda low, high: high), lambda: now)
    assert not breaker.is_open
    assert breaker.failed() == 2.0
    assert breaker.is_open and breaker.failures == 1
    breaker.failed()  # was under way before: it says nothing new
    assert breaker.failures == 1
    now += 2.0
    assert not breaker.is_open
    assert breaker.failed() == 4.0
    now += 4.0
    assert breaker.failed(asked=50.0) == 50.0
    now += 49.0
    assert breaker.is_open
    now += 1.0
    breaker.succeeded()
    assert not breaker.is_open and breaker.failures == 0


def test_node_and_bucket_under_limits_and_away() -> None:
    found = promise("polite").run(0.3, seed=5)
    assert found["lost"] == 0, found
    assert found["runs"]["filled"] == 6 * 2 and found["runs"]["refused"] > 10, found
    for part in (found["node"], found["bucket"]):
        assert part["refused"] > 5, found
        assert 3 < part["calls_while_away"] <= 100, found
        assert part["different_pauses"] > 10, found
