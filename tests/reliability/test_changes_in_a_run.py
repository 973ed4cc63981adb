"""The network changes while a run is at work: what was matched with it as it was is not signed for it as it is."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from quickstart.chain.transactions import SubmitData
from quickstart.submission.actions import Policy
from tests.campaign.simulation import SOMA, Simulation

POLICY = Policy(lanes=3, max_hits_per_epoch=None, scoring=False, patient=True)
SEEN_WITHIN = 3.0
"""Seconds after which a run that reads listings knows of a change."""

SLOW = 4.0


@pytest.fixture
def world() -> Iterator[Simulation]:
    world = Simulation(POLICY, coins=(SOMA,))
    yield world
    world.close()


def submissions(world: Simulation) -> int:
    return sum(isinstance(arrival.transaction.kind, SubmitData) for arrival in world.node.arrivals.values())


def slow_next_match(world: Simulation, meanwhile: Any) -> None:
    """The next matching takes four seconds, at whose beginning something happens."""
    real = world.loop.run_in_executor

    def run_in_executor(executor: Any, func: Any, *args: Any) -> Any:
        if getattr(func.args[0], "__name__", "") != "match":
            return real(executor, func, *args)
        world.loop.run_in_executor = real  # type: ignore[method-assign]
        world.loop.thread_seconds = SLOW
        meanwhile()
        future = real(executor, func, *args)
        world.loop.thread_seconds = 0.0
        return future

    world.loop.run_in_executor = run_in_executor  # type: ignore[method-assign]


@pytest.mark.parametrize("in_a_match", [False, True])
def test_nothing_is_claimed_of_weights_that_are_no_more(world: Simulation, in_a_match: bool) -> None:
    """Every target needs both models. One reveals new weights, which nothing was scored with."""
    world.start()
    world.pass_time(3.0)
    assert submissions(world) > 5
    models = world.node.state.models
    loser = world.node.state.active_models()[-1]

    def reveal() -> None:
        models[loser.model_id] = replace(loser, decryption_key=b"new".ljust(32))

    if in_a_match:
        slow_next_match(world, reveal)
        world.pass_time(SLOW)
    else:
        reveal()
    world.pass_time(SEEN_WITHIN)
    assert models[loser.model_id] is not loser
    before = submissions(world)
    world.pass_time(10.0)
    assert submissions(world) == before
    assert world.ended_by is None
    models[loser.model_id] = loser
    world.pass_time(SEEN_WITHIN + 3.0)
    assert submissions(world) > before


def test_an_epoch_does_not_end_while_coins_rest(world: Simulation) -> None:
    """The only coin is locked for a moment: what was refused is sent once it may be used again."""
    (coin,) = world.our_coins()
    world.node._locks[coin.coin_id, coin.ref.version] = bytes(32)
    world.start(replace(POLICY, patient=False))
    world.pass_time(2.0)
    assert world.node._locks and not submissions(world)
    world.node._locks.clear()
    world.pass_time(20.0)
    assert submissions(world) > 5
