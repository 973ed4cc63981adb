"""A run that dies at any point of sending, and the next one that finds its ledger: exactly one transaction on chain."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_devnet import SOMA, LiveDevnet, Office, new_wallet, office

from quickstart.chain.ids import Id32
from quickstart.chain.transactions import TransferCoin
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.submission.outbox import NotSent, Settled


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is a fact about another program's state
            await asyncio.sleep(0.005)


async def die_when(own: Office, target_id: Id32, true: Callable[[], bool]) -> None:
    """Starts a submission, and cancels everything about it as soon as something is true."""
    task = asyncio.create_task(own.submit(target_id))
    await until(true)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def before_sending(live: LiveDevnet, own: Office, target_id: Id32) -> None:
    """The intent is durable; its only lane is busy, so nothing has been sent."""
    async with own.lane_pool.client():
        await die_when(own, target_id, lambda: len(own.ledger.pending()) == 1)


async def while_the_node_works(live: LiveDevnet, own: Office, target_id: Id32) -> None:
    live.faults.update({"latency_seconds": 0.3})
    await die_when(own, target_id, lambda: bool(live.node._in_flight))


async def after_it_was_applied(live: LiveDevnet, own: Office, target_id: Id32) -> None:
    """The reply is lost, and the run dies before it asks again."""
    executed = live.executed()
    live.faults.update({"reply_lost": 5})
    await die_when(own, target_id, lambda: live.executed() > executed)
    live.faults.update({"reply_lost": 0})


POINTS = [before_sending, while_the_node_works, after_it_was_applied]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_a_crash_loses_nothing_and_repeats_nothing(live: LiveDevnet, tmp_path: Path, point: Any) -> None:
    with office(live, tmp_path, SOMA, lanes=1) as own:
        target_id, before = live.open_targets()[0], live.executed()
        live.run(point(live, own, target_id))
        own.reopen()
        (intent,) = own.ledger.pending()
        (settled,) = live.run(own.outbox.recover())
        assert isinstance(settled, Settled)
        assert settled.effects.digest == intent.digest
        assert settled.effects.failure is None
        assert live.executed() == before + 1
        assert live.node.state.target(target_id).submitter == own.wallet.address
        assert [fill.target_id for fill in own.ledger.fills()] == [target_id]
        own.assert_right()
        assert live.run(own.outbox.recover()) == ()


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_two_crashes_in_a_row(live: LiveDevnet, tmp_path: Path, point: Any) -> None:
    with office(live, tmp_path, SOMA, lanes=1) as own:
        target_id, before = live.open_targets()[0], live.executed()
        live.run(point(live, own, target_id))
        own.reopen()

        async def die_recovering() -> None:
            live.faults.update({"rpc_unavailable": 1})
            task = asyncio.create_task(own.outbox.recover())
            await until(lambda: live.faults.rpc_unavailable == 0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        live.run(die_recovering())
        own.reopen()
        live.run(own.outbox.recover())
        assert live.executed() == before + 1
        own.assert_right()


def test_what_was_never_sent_and_can_no_longer_win_is_a_settled_loss(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, lanes=1) as own:
        target_id = live.open_targets()[0]
        live.run(before_sending(live, own, target_id))
        live.fill_by_stranger(target_id)
        own.reopen()
        (settled,) = live.run(own.outbox.recover())
        assert isinstance(settled, Settled)
        assert settled.effects.failure is not None
        assert own.ledger.fills() == ()
        own.assert_right()


def test_bytes_whose_coin_moved_on_can_never_land_and_are_given_up(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, lanes=1) as own:
        target_id = live.open_targets()[0]
        (coin,) = own.outbox.pool.idle
        live.run(before_sending(live, own, target_id))
        live.act_as(own.wallet, TransferCoin(coin.ref, 1000, new_wallet().address), coin)
        before = live.executed()
        own.reopen()
        (refused,) = live.run(own.outbox.recover())
        assert isinstance(refused, NotSent)
        assert live.executed() == before
        assert own.ledger.counts(IntentKind.SUBMIT) == {IntentStatus.REFUSED: 1}
        assert own.outbox.pool.idle == tuple(live.chain_coins(own.wallet.address).values())
        retried = live.run(own.submit(target_id))
        assert isinstance(retried, Settled)
        assert retried.effects.failure is None


def test_many_pending_at_once_are_all_settled(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, *[SOMA] * 6, lanes=3) as own:
        targets, before = live.open_targets()[:6], live.executed()
        live.faults.update({"latency_seconds": 0.2})

        async def die() -> None:
            tasks = [asyncio.create_task(own.submit(target_id)) for target_id in targets]
            await until(lambda: len(live.node._in_flight) == 3 and len(own.ledger.pending()) == 6)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        live.run(die())
        own.reopen()
        assert len(live.run(own.outbox.recover())) == 6
        assert live.executed() == before + 6
        assert {fill.target_id for fill in own.ledger.fills()} == set(targets)
        own.assert_right()


def test_the_coins_of_what_is_being_recovered_are_not_used_meanwhile(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, SOMA, lanes=1) as own:
        live.run(before_sending(live, own, live.open_targets()[0]))
        own.reopen()
        live.faults.update({"latency_seconds": 0.3})
        (intent,) = own.ledger.pending()

        async def look() -> tuple[frozenset[Id32], int]:
            task = asyncio.create_task(own.outbox.recover())
            await until(lambda: bool(live.node._in_flight))
            seen = own.outbox.pool.reserved, len(own.outbox.pool.idle)
            await task
            return seen

        reserved, idle = live.run(look())
        assert reserved == {intent.coins[0].coin_id}
        assert idle == 1
        own.assert_right()
