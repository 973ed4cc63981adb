"""The short form of every promise that the campaign measures: the same functions, less often."""

import pytest

from tests.campaign.registry import Promise, promises

SEED = 8


SHORT = tuple(promise for promise in promises() if promise.short)


@pytest.mark.parametrize("promise", SHORT, ids=lambda promise: promise.name.replace(" ", "_"))
def test_nothing_is_lost(promise: Promise) -> None:
    found = promise.measure(promise.short, SEED)
    assert found["times"] > 0
    assert found["lost"] == 0, found
