"""Where another signer was faster, or the lease goes: the books stay right, and nothing more leaves this machine."""

import asyncio
import time
from pathlib import Path

import pytest
from live_devnet import SOMA, LiveDevnet, new_wallet, office

from quickstart.chain.transactions import PayCoins, TransferCoin
from quickstart.errors import LeaseHeldError
from quickstart.ledger.records import IntentKind, IntentStatus
from quickstart.submission.outbox import NotSent, Settled


def test_what_another_signer_took_from_a_coin_is_in_the_books_before_the_coin_is_used_again(
    live: LiveDevnet, tmp_path: Path
) -> None:
    with office(live, tmp_path, SOMA) as own:
        (coin,) = own.outbox.pool.idle
        live.act_as(own.wallet, TransferCoin(coin.ref, 1000, new_wallet().address), coin)
        left = live.node.state.balance(own.wallet.address)
        assert isinstance(live.run(own.submit(live.open_targets()[0])), NotSent)
        assert own.ledger.totals() == {"external": left - SOMA}
        assert isinstance(live.run(own.submit(live.open_targets()[0])), Settled)
        own.assert_right()


def test_a_coin_that_changed_and_then_went_is_counted_twice_and_rightly(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA, SOMA) as own:
        first, second = own.outbox.pool.idle
        live.act_as(own.wallet, TransferCoin(first.ref, 1000, new_wallet().address), first)
        assert own.outbox.pool.hold((first,))
        live.run(own.submit(live.open_targets()[0], first))
        (changed,) = [coin for coin in own.outbox.pool.idle if coin.coin_id == first.coin_id]
        live.act_as(own.wallet, PayCoins((changed.ref, second.ref), (5,), (own.wallet.address,)), second)
        for coin in (changed, second):
            assert own.outbox.pool.hold((coin,))
            assert isinstance(live.run(own.submit(live.open_targets()[0], coin)), NotSent)
        on_chain = {i: c for i, c in live.chain_coins(own.wallet.address).items() if c.balance != 5}
        assert {coin.coin_id: coin for coin in own.ledger.coins()} == on_chain
        assert 2 * SOMA + own.ledger.totals()["external"] == sum(coin.balance for coin in on_chain.values())


def test_bytes_are_not_sent_again_once_the_lease_is_lost(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path, SOMA) as own:
        before = live.executed()
        live.faults.update({"rpc_unavailable": 1000})

        async def lose() -> None:
            sending = asyncio.create_task(own.submit(live.open_targets()[0]))
            async with asyncio.timeout(10):
                while live.faults.rpc_unavailable > 999:  # noqa: ASYNC110 - a fact about the node
                    await asyncio.sleep(0.005)
            own.lease.__exit__(None, None, None)
            live.faults.update({"rpc_unavailable": 0})
            await sending

        with pytest.raises(LeaseHeldError, match="nothing more is signed or sent"):
            live.run(lose())
        assert live.executed() == before
        assert own.ledger.counts(IntentKind.SUBMIT) == {IntentStatus.PENDING: 1}
        own.reopen()
        live.run(own.outbox.recover())
        assert live.executed() == before + 1
        own.assert_right()


def test_what_may_have_landed_and_cannot_be_found_is_waited_for_and_told(
    live: LiveDevnet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with office(live, tmp_path, SOMA) as own:
        live.faults.update({"reply_lost": 1000})
        before = live.executed()

        async def cut() -> None:
            sending = asyncio.create_task(own.submit(live.open_targets()[0]))
            async with asyncio.timeout(10):
                while live.executed() == before:  # noqa: ASYNC110 - a fact about the node
                    await asyncio.sleep(0.005)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

        live.run(cut())
        live.faults.update({"reply_lost": 0})
        own.reopen()
        (intent,) = own.ledger.pending()
        node = live.node
        effects = node.state.effects.pop(intent.digest)
        assert node.index.transaction(time.monotonic(), intent.digest) is not None
        shown = node.index._transactions.pop(intent.digest)

        async def recover() -> None:
            recovering = asyncio.create_task(own.outbox.recover())
            async with asyncio.timeout(10):
                while "it may have landed" not in caplog.text:  # noqa: ASYNC110 - a fact about the log
                    await asyncio.sleep(0.05)
            assert not recovering.done()
            node.state.effects[intent.digest] = effects
            node.index._transactions[intent.digest] = shown
            await recovering

        live.run(recover())
        assert own.ledger.counts(IntentKind.SUBMIT) == {IntentStatus.LANDED: 1}
        own.assert_right()
