"""Every way a transaction can end, against a devnet that does to it what networks do: exactly once, or not at all."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from live_devnet import BOND, SOMA, LiveDevnet, new_wallet, office

from quickstart.chain.coins import Coin
from quickstart.chain.failures import FailureKind
from quickstart.chain.keys import Wallet
from quickstart.chain.outcomes import RefusalReason
from quickstart.chain.transactions import PayCoins, TransferCoin
from quickstart.errors import LeaseHeldError
from quickstart.ledger.ledger import ConflictError, Ledger
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.submission.outbox import NotSent, Settled

COST = BOND + 2_200


class UnusedWallet(Wallet):
    """A key that must not be used."""

    def sign(self, transaction_bytes: bytes) -> bytes:
        raise AssertionError("something was signed")


def test_a_submission_lands(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        target_id, before = live.open_targets()[0], live.executed()
        settled = live.run(own.submit(target_id))
        assert isinstance(settled, Settled)
        assert settled.effects.failure is None
        assert live.executed() == before + 1
        assert live.node.state.target(target_id).submitter == own.wallet.address
        assert [fill.target_id for fill in own.ledger.fills()] == [target_id]
        assert own.ledger.live_subjects(IntentKind.SUBMIT) == {target_id}
        assert sum(coin.balance for coin in own.outbox.pool.idle) == SOMA - COST
        own.assert_right()


def test_a_target_somebody_else_got_is_a_value_and_the_coin_goes_on(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        live.faults.update({"target_stolen": 1})
        first, second = live.open_targets()[:2]
        lost = live.run(own.submit(first))
        assert isinstance(lost, Settled)
        assert lost.effects.failure is not None
        assert lost.effects.failure.kind is FailureKind.TARGET_NOT_OPEN
        assert own.ledger.failed_subjects(IntentKind.SUBMIT, live.node.state.epoch) == {first}
        assert own.ledger.fills() == ()
        own.assert_right()
        won = live.run(own.submit(second))
        assert isinstance(won, Settled)
        assert won.effects.failure is None
        own.assert_right()


@pytest.mark.parametrize(
    "fault",
    [
        {"reply_lost": 1},
        {"reply_lost": 2},
        {"rpc_unavailable": 2},
        {"rpc_exhausted": 2},
        {"freeze_seconds": 1.0},
        {"no_checkpoint": True},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_after_any_doubt_the_same_bytes_go_out_again(
    live: LiveDevnet, tmp_path: Path, fault: dict[str, object]
) -> None:
    with office(live, tmp_path, SOMA) as own:
        target_id, before = live.open_targets()[0], live.executed()
        live.faults.update(fault)
        settled = live.run(own.submit(target_id))
        assert isinstance(settled, Settled)
        assert settled.effects.failure is None
        assert live.executed() == before + 1
        assert own.ledger.counts(IntentKind.SUBMIT) == {IntentStatus.LANDED: 1}
        own.assert_right()


def test_a_reply_lost_after_a_failure_is_still_the_first_failure(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        target_id = live.open_targets()[0]
        live.fill_by_stranger(target_id)
        before = live.executed()
        live.faults.update({"reply_lost": 1})
        settled = live.run(own.submit(target_id))
        assert isinstance(settled, Settled)
        assert settled.effects.failure is not None
        assert live.executed() == before + 1
        own.assert_right()


def test_a_stale_coin_is_refused_and_read_again(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        (coin,) = own.outbox.pool.idle
        live.act_as(own.wallet, TransferCoin(coin.ref, 1000, new_wallet().address), coin)
        target_id, before = live.open_targets()[0], live.executed()
        refused = live.run(own.submit(target_id))
        assert isinstance(refused, NotSent)
        assert refused.refusal.reason is RefusalReason.STALE_COIN
        assert live.executed() == before
        assert own.ledger.counts(IntentKind.SUBMIT) == {IntentStatus.REFUSED: 1}
        assert own.outbox.pool.idle == tuple(live.chain_coins(own.wallet.address).values())
        again = live.run(own.submit(target_id))
        assert isinstance(again, Settled)
        assert again.effects.failure is None


@pytest.mark.parametrize("how", ["given away", "merged away"])
def test_a_coin_that_is_ours_no_more_is_dropped(live: LiveDevnet, tmp_path: Path, how: str) -> None:
    with office(live, tmp_path, SOMA, 2 * SOMA) as own:
        second, first = own.outbox.pool.idle
        if how == "given away":
            live.act_as(own.wallet, TransferCoin(first.ref, None, new_wallet().address), second)
        else:
            kind = PayCoins((first.ref, second.ref), (5,), (own.wallet.address,))
            live.act_as(own.wallet, kind, second)
        assert own.outbox.pool.hold((first,))
        refused = live.run(own.submit(live.open_targets()[0], first))
        assert isinstance(refused, NotSent)
        assert first.coin_id not in {coin.coin_id for coin in own.outbox.pool.idle}
        assert own.outbox.pool.reserved == frozenset()


def test_one_target_is_submitted_to_once(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, SOMA) as own:
        target_id, before = live.open_targets()[0], live.executed()

        async def both() -> list[object]:
            return await asyncio.gather(own.submit(target_id), own.submit(target_id), return_exceptions=True)

        results = live.run(both())
        assert sorted(type(result).__name__ for result in results) == ["ConflictError", "Settled"]
        assert live.executed() == before + 1


def test_two_outboxes_on_one_ledger_cannot_name_one_coin(live: LiveDevnet, tmp_path: Path) -> None:
    """Not even if the lease failed to keep them apart."""
    with office(live, tmp_path, SOMA) as own:
        (coin,) = own.outbox.pool.idle
        other = replace(own, folder=tmp_path / "other", received=[])
        other.open()
        other.ledger.close()
        other.ledger = Ledger(own.ledger.path)
        other.outbox._writer.ledger = other.ledger
        first, second = live.open_targets()[:2]
        before = live.executed()

        async def both() -> list[object]:
            submissions = own.submit(first, coin), other.submit(second, coin)
            return await asyncio.gather(*submissions, return_exceptions=True)

        results = live.run(both())
        assert sorted(type(result).__name__ for result in results) == ["ConflictError", "Settled"]
        assert live.executed() == before + 1
        other.close()


def test_eight_lanes_carry_eight_transactions_at_once(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, *[SOMA] * 8) as own:
        targets = live.open_targets()[:8]
        live.faults.update({"latency_seconds": 0.4})

        async def all_at_once() -> tuple[list[object], float]:
            started = asyncio.get_running_loop().time()
            results = await asyncio.gather(*(own.submit(target_id) for target_id in targets))
            return list(results), asyncio.get_running_loop().time() - started

        results, seconds = live.run(all_at_once())
        assert all(isinstance(r, Settled) and r.effects.failure is None for r in results)
        assert seconds < 4 * 0.4  # one after the other they would take eight times as long
        own.assert_right()


def test_one_lane_carries_one_at_a_time(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, SOMA, SOMA, lanes=1) as own:
        targets = live.open_targets()[:3]
        live.faults.update({"latency_seconds": 0.15})
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(live.node._in_flight))
                await asyncio.sleep(0.01)

        async def all_at_once() -> None:
            watching = asyncio.create_task(watch())
            await asyncio.gather(*(own.submit(target_id) for target_id in targets))
            watching.cancel()

        live.run(all_at_once())
        assert most == 1


def test_without_the_lease_nothing_is_signed(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        own.outbox._wallet = UnusedWallet(own.wallet.secret)
        own.lease.__exit__(None, None, None)
        before = live.executed()
        with pytest.raises(LeaseHeldError, match="lost; nothing more is signed"):
            live.run(own.submit(live.open_targets()[0]))
        assert own.ledger.pending() == ()
        assert live.executed() == before


def test_splits_and_merges_settle_to_the_shannon(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        coin = own.take()
        amounts = [70_000, 80_000, 90_000]
        recipients = (own.wallet.address,) * 3
        live.run(
            own.outbox.send(
                PayCoins((coin.ref,), tuple(amounts), recipients),
                (coin,),
                1,
                purpose=IntentKind.SPLIT,
                subject=None,
                epoch=1,
                details={"amounts": amounts},
            )
        )
        own.assert_right()
        coins = own.outbox.pool.idle
        assert len(coins) == 4
        assert own.outbox.pool.hold(coins)
        live.run(
            own.outbox.send(
                TransferCoin(coins[-1].ref, None, own.wallet.address),
                coins,
                3,
                purpose=IntentKind.MERGE,
                subject=None,
                epoch=1,
                details={},
            )
        )
        own.assert_right()
        assert len(own.outbox.pool.idle) == 2


def test_a_balance_that_no_rule_explains_is_read_from_the_chain(live: LiveDevnet, tmp_path: Path) -> None:
    """The prediction is made wrong on purpose: the pool must end up with what the chain says."""
    with office(live, tmp_path, SOMA) as own:
        coin = own.take()
        settled = live.run(
            own.outbox.send(
                PayCoins((coin.ref,), (70_000,), (own.wallet.address,)),
                (coin,),
                1,
                purpose=IntentKind.SPLIT,
                subject=None,
                epoch=1,
                details={"amounts": [60_000]},
            )
        )
        assert isinstance(settled, Settled)
        assert {c.coin_id: c for c in own.outbox.pool.idle} == live.chain_coins(own.wallet.address)
        own.assert_right()


def test_outcome_and_fill_are_one_commit(live: LiveDevnet, tmp_path: Path) -> None:
    """If what belongs to an outcome cannot be written, the outcome is not: the next run settles both."""

    def fails(_: Ledger, __: Settled) -> None:
        raise OSError("no room for the fill")

    with office(live, tmp_path, SOMA, also_record=fails) as own:
        target_id, before = live.open_targets()[0], live.executed()
        with pytest.raises(OSError, match="no room"):
            live.run(own.submit(target_id))
        assert [intent.subject for intent in own.ledger.pending()] == [target_id]
        assert own.ledger.totals() == {}
        own.close()
        again = replace(own, also_record=type(own).also_record).open()
        live.run(again.outbox.recover())
        assert [fill.target_id for fill in again.ledger.fills()] == [target_id]
        assert live.executed() == before + 1
        again.assert_right()


def test_a_conflict_leaves_the_other_coin_as_it_was(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, SOMA) as own:
        target_id = live.open_targets()[0]
        live.run(own.submit(target_id))
        coin: Coin = own.take()
        with pytest.raises(ConflictError):
            live.run(own.submit(target_id, coin))
        own.outbox.pool.release((coin,))
        own.assert_right()
