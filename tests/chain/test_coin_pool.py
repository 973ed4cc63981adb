"""Coins: never named twice, never lost, and balances proven by digests."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quickstart.chain.coins import Coin, CoinChanges, CoinPool, proven_changes
from quickstart.chain.effects import ChangedObject, Effects
from quickstart.chain.ids import Id32
from quickstart.chain.objects import coin_digest
from quickstart.chain.transactions import ObjectRef

OWNER = b"\xaa" * 32
OTHER = b"\xbb" * 32
TRANSACTION = b"\x07" * 32
VERSION = 12


def coin(number: int, balance: int, version: int = 1) -> Coin:
    coin_id = number.to_bytes(32, "big")
    return Coin(ObjectRef(coin_id, version, coin_digest(coin_id, balance, version, OWNER, TRANSACTION)), balance)


class PoolInUse(RuleBasedStateMachine):
    """Transactions reserve, land, are refused, in any order. The model: a list of what each of them holds."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = CoinPool(coin(i, 100 * (i + 1)) for i in range(6))
        self.in_flight: list[tuple[Coin, ...]] = []
        self.total = self.pool.balance
        self.next_number = 100

    @rule(at_least=st.integers(0, 800))
    def reserve(self, at_least: int) -> None:
        fitting = [c.balance for c in self.pool.idle if c.balance >= at_least]
        reserved = self.pool.reserve(at_least)
        assert (reserved.balance if reserved else None) == (min(fitting) if fitting else None)
        if reserved is not None:
            assert reserved not in self.pool.idle
            self.in_flight.append((reserved,))

    @rule(count=st.integers(1, 4), stale=st.booleans())
    def hold_some(self, count: int, stale: bool) -> None:
        wanted = list(self.pool.idle[:count])
        if stale and wanted:
            wanted[-1] = coin(int.from_bytes(wanted[-1].coin_id, "big"), wanted[-1].balance, version=99)
        idle_before, reserved_before = self.pool.idle, self.pool.reserved
        if self.pool.hold(wanted):
            assert not (stale and wanted)
            if wanted:
                self.in_flight.append(tuple(wanted))
        else:
            assert (self.pool.idle, self.pool.reserved) == (idle_before, reserved_before)

    @rule(which=st.integers(0, 9))
    def refuse(self, which: int) -> None:
        if self.in_flight:
            self.pool.release(self.in_flight.pop(which % len(self.in_flight)))

    @rule(which=st.integers(0, 9), fee=st.integers(0, 50), parts=st.integers(0, 3))
    def land(self, which: int, fee: int, parts: int) -> None:
        """A transaction merges what it holds, pays a fee and splits the rest."""
        if not self.in_flight:
            return
        held = self.in_flight.pop(which % len(self.in_flight))
        left = sum(c.balance for c in held) - fee
        if left < 0:
            self.in_flight.append(held)
            return
        amounts = [left // (parts + 1)] * parts
        written = [Coin(ObjectRef(held[0].coin_id, 50, b"d" * 32), left - sum(amounts))]
        for amount in amounts:
            written.append(coin(self.next_number, amount))
            self.next_number += 1
        gone = frozenset(c.coin_id for c in held[1:])
        self.pool.settle([c.coin_id for c in held], CoinChanges(tuple(written), gone, frozenset()))
        self.total -= fee

    @rule()
    def a_stale_listing_shows_a_coin_in_flight(self) -> None:
        for held in self.in_flight:
            self.pool.adopt(held[0])

    @invariant()
    def no_coin_is_idle_and_in_flight(self) -> None:
        held = [c.coin_id for coins in self.in_flight for c in coins]
        assert len(held) == len(set(held))
        assert set(held) == self.pool.reserved
        assert not set(held) & {c.coin_id for c in self.pool.idle}

    @invariant()
    def no_shannon_is_lost(self) -> None:
        assert self.pool.balance == self.total


PoolInUse.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPoolInUse = PoolInUse.TestCase


def test_idle_coins_are_listed_richest_first() -> None:
    assert [c.balance for c in CoinPool([coin(1, 5), coin(2, 9), coin(3, 7)]).idle] == [9, 7, 5]


def test_a_coin_the_node_has_no_more_is_forgotten_also_when_reserved() -> None:
    pool = CoinPool([coin(1, 5), coin(2, 9)])
    pool.reserve(6)
    for number in (1, 2):
        pool.drop(coin(number, 0).coin_id)
    assert (pool.idle, pool.reserved, pool.balance) == ((), frozenset(), 0)


def written(coin_id: Id32, balance: int, owner: Id32 = OWNER, version: int = VERSION) -> ChangedObject:
    """How effects show a coin of `balance`: without the balance, with the digest that depends on it."""
    return ChangedObject(coin_id, coin_digest(coin_id, balance, version, owner, TRANSACTION), owner, created=False)


def effects(*changed: ChangedObject) -> Effects:
    return Effects(TRANSACTION, 3, VERSION, None, 1000, 600, 0, changed)


@given(st.integers(0, 2**60), st.lists(st.integers(0, 2**60), max_size=4), st.integers(0, 4))
@settings(deadline=None)
def test_only_the_true_balance_is_proven(truth: int, others: list[int], position: int) -> None:
    wrong = [balance for balance in others if balance != truth]
    candidates = [*wrong[:position], truth, *wrong[position:]]
    coin_id = b"c" * 32
    good = proven_changes(effects(written(coin_id, truth)), OWNER, {coin_id: candidates})
    assert [(c.coin_id, c.balance, c.ref.version) for c in good.written] == [(coin_id, truth, VERSION)]
    assert good.unproven == frozenset()
    bad = proven_changes(effects(written(coin_id, truth)), OWNER, {coin_id: wrong})
    assert (bad.written, bad.unproven) == ((), frozenset({coin_id}))


@pytest.mark.parametrize(
    "told",
    [
        ChangedObject(b"c" * 32, coin_digest(b"c" * 32, 70, VERSION, OTHER, TRANSACTION), OWNER, created=False),
        ChangedObject(b"c" * 32, coin_digest(b"c" * 32, 70, VERSION - 1, OWNER, TRANSACTION), OWNER, created=False),
        ChangedObject(b"c" * 32, coin_digest(b"d" * 32, 70, VERSION, OWNER, TRANSACTION), OWNER, created=False),
        ChangedObject(b"c" * 32, coin_digest(b"c" * 32, 70, VERSION, OWNER, b"\x08" * 32), OWNER, created=False),
    ],
    ids=["owner", "version", "id", "transaction"],
)
def test_a_digest_proves_owner_version_id_and_transaction_too(told: ChangedObject) -> None:
    found = proven_changes(effects(told), OWNER, {b"c" * 32: [70]})
    assert (found.written, found.unproven) == ((), frozenset({b"c" * 32}))


def test_what_is_not_ours_is_not_listed_and_deletions_are() -> None:
    deleted = ChangedObject(b"g" * 32, None, None, created=False)
    found = proven_changes(effects(written(b"c" * 32, 70, OTHER), deleted), OWNER, {b"c" * 32: [70]})
    assert (found.written, found.unproven, found.gone) == ((), frozenset(), frozenset({b"g" * 32}))


def test_an_object_of_ours_that_nobody_predicted_is_unproven() -> None:
    found = proven_changes(effects(written(b"s" * 32, 70)), OWNER, {})
    assert found.unproven == frozenset({b"s" * 32})


def test_a_negative_prediction_is_no_balance() -> None:
    found = proven_changes(effects(written(b"c" * 32, 70)), OWNER, {b"c" * 32: [-1, 70]})
    assert [c.balance for c in found.written] == [70]
