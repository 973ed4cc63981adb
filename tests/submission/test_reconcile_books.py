"""Ledger against chain: whatever happened past the ledger, afterwards both say the same."""

from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given
from live_devnet import BOND, SOMA, LiveDevnet, Office, new_wallet, office

from quickstart.chain.coins import Coin
from quickstart.chain.transactions import ClaimRewards, ObjectRef, ReportSubmission, TransferCoin
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.keys import devnet_key
from quickstart.ledger.records import FillState
from quickstart.submission.outbox import Settled
from quickstart.submission.reconcile import compare, reconcile

coins = st.dictionaries(st.integers(0, 8), st.tuples(st.integers(1, 3), st.integers(0, 100)))


def as_coins(held: dict[int, tuple[int, int]]) -> tuple[Coin, ...]:
    return tuple(
        Coin(ObjectRef(bytes([n]) * 32, version, b"d" * 32), balance) for n, (version, balance) in held.items()
    )


@given(coins, coins)
def test_every_coin_is_in_one_group_or_unchanged(known: dict, listed: dict) -> None:  # type: ignore[type-arg]
    found = compare(as_coins(known), as_coins(listed))
    assert {c.coin_id[0] for c in found.appeared} == listed.keys() - known.keys()
    assert {c.coin_id[0] for c in found.vanished} == known.keys() - listed.keys()
    newer = {n for n in known.keys() & listed.keys() if listed[n][0] > known[n][0]}
    assert {after.coin_id[0] for _, after in found.changed} == newer  # an older version is a listing that lags
    for before, after in found.changed:
        assert before in as_coins(known)
        assert after in as_coins(listed)


def settle_books(live: LiveDevnet, own: Office) -> None:
    """Reconciles, and checks that the ledger's coins and money are the chain's."""
    epoch = live.node.state.epoch
    held = live.run(reconcile(own.reader, own.outbox._writer, own.wallet.address, epoch))
    on_chain = live.chain_coins(own.wallet.address)
    assert {coin.coin_id: coin for coin in held} == on_chain
    assert own.ledger.coins() == tuple(sorted(held, key=lambda coin: coin.coin_id))
    assert sum(own.ledger.totals().values()) == sum(coin.balance for coin in on_chain.values())


def test_first_coins_are_money_received(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path) as own:
        live.fund(own.wallet.address, SOMA, 5)
        settle_books(live, own)
        assert own.ledger.totals() == {"received": SOMA + 5}
        settle_books(live, own)
        assert own.ledger.totals() == {"received": SOMA + 5}


def test_our_own_transactions_need_no_reconciling(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path) as own:
        live.fund(own.wallet.address, SOMA)
        settle_books(live, own)
        own.reopen()
        live.run(own.submit(live.open_targets()[0]))
        before = own.ledger.totals()
        settle_books(live, own)
        assert own.ledger.totals() == before


def test_what_another_program_did_with_the_key_is_external(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path) as own:
        first, second, third = live.fund(own.wallet.address, SOMA, SOMA, SOMA)
        settle_books(live, own)
        stranger = new_wallet().address
        live.act_as(own.wallet, TransferCoin(first.ref, 1000, stranger), first)
        live.act_as(own.wallet, TransferCoin(second.ref, None, stranger), third)
        settle_books(live, own)
        left = sum(coin.balance for coin in live.chain_coins(own.wallet.address).values())
        assert own.ledger.totals() == {"received": 3 * SOMA, "external": left - 3 * SOMA}
        assert SOMA < 3 * SOMA - left < SOMA + SOMA // 500  # what was given away, and fees


def claimed_by_stranger(live: LiveDevnet, own: Office, *, reported: bool = False) -> None:
    """Fills a target; two epochs later somebody else claims it for its incentive. `reported`: as fraud, by all."""
    target_id = live.open_targets()[0]
    settled = live.run(own.submit(target_id))
    assert isinstance(settled, Settled)
    assert settled.effects.failure is None
    live.next_epoch()
    if reported:
        validator = devnet_key(VALIDATOR)
        (gas,) = live.fund(validator.address, SOMA)
        live.act_as_key(validator, ReportSubmission(target_id), gas)
    live.next_epoch()
    key = devnet_key("a stranger")
    (gas,) = live.fund(key.address, SOMA)
    live.act_as_key(key, ClaimRewards(target_id), gas)


def test_a_fill_that_somebody_else_claimed_is_ours_all_the_same(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path) as own:
        live.fund(own.wallet.address, SOMA)
        settle_books(live, own)
        own.reopen()
        claimed_by_stranger(live, own)
        settle_books(live, own)
        totals = own.ledger.totals()
        assert (totals["reward_submitter"], totals["bond_returned"], totals["received"]) == (6_310_881, BOND, SOMA)
        assert [fill.state for fill in own.ledger.fills()] == [FillState.CLAIMED]


def test_a_fill_that_was_judged_false_and_claimed_by_somebody_else_is_known_as_such(
    live: LiveDevnet, tmp_path: Path
) -> None:
    with office(live, tmp_path) as own:
        live.fund(own.wallet.address, SOMA)
        settle_books(live, own)
        own.reopen()
        claimed_by_stranger(live, own, reported=True)
        settle_books(live, own)
        assert [fill.state for fill in own.ledger.fills()] == [FillState.SLASHED]
        totals = own.ledger.totals()
        assert totals["bond_locked"] == -BOND
        assert "bond_returned" not in totals


def test_an_empty_ledger_is_rebuilt_from_the_chain(live: LiveDevnet, tmp_path: Path) -> None:
    with office(live, tmp_path) as own:
        live.fund(own.wallet.address, SOMA)
        settle_books(live, own)
        own.reopen()
        target_id = live.open_targets()[0]
        live.run(own.submit(target_id))
        own.ledger.close()
        for path in tmp_path.glob("ledger.sqlite*"):
            path.unlink()
        own.lease.__exit__(None, None, None)
        own.open()
        settle_books(live, own)
        (fill,) = own.ledger.fills()
        assert (fill.target_id, fill.bond, fill.epoch) == (target_id, BOND, live.node.state.epoch)
        assert fill.state is FillState.FILLED
        target = live.node.state.target(target_id)
        assert (fill.reward, fill.window) == (target.reward, target.manifest.checksum)
        settle_books(live, own)
        assert len(own.ledger.fills()) == 1
