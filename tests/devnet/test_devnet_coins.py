"""Gas, fees and versions of every user transaction, and the coin kinds (`soma-protocol` §11.1)."""

from dataclasses import replace

import pytest
from pure_chain import SOMA, PureChain

from quickstart.chain.objects import AddressOwner
from quickstart.chain.transactions import (
    ObjectRef,
    OtherKind,
    PayCoins,
    TransactionData,
    TransferCoin,
    TransferObjects,
)
from quickstart.devnet.effects import ErrorKind, Refusal, RefusalCode, UnknownObject
from quickstart.devnet.execution import check, execute, simulate

BOB = b"\xb0" * 32


@pytest.fixture
def chain() -> PureChain:
    return PureChain()


def test_transfer_from_the_gas_coin(chain: PureChain) -> None:
    (coin,) = chain.fund("a", 10 * SOMA)
    effects = chain.send("a", TransferCoin(coin, SOMA, BOB))
    # Two objects written, 10 bps of what moves.
    assert (effects.base_fee, effects.operation_fee, effects.value_fee) == (1000, 600, 1_000_000)
    assert chain.state.balance(BOB) == SOMA
    assert chain.balance("a") == 9 * SOMA - 1000 - 600 - 1_000_000


@pytest.mark.parametrize(
    ("amount", "operation_fee", "value_fee"),
    [(SOMA, 900, 1_000_000), (None, 600, 3_000_000), (3 * SOMA, 600, 3_000_000)],
    ids=["part", "whole", "exactly all"],
)
def test_transfer_from_another_coin(chain: PureChain, amount: int | None, operation_fee: int, value_fee: int) -> None:
    source, gas = chain.fund("a", 3 * SOMA, 10 * SOMA)
    effects = chain.send("a", TransferCoin(source, amount, BOB), gas)
    assert (effects.operation_fee, effects.value_fee) == (operation_fee, value_fee)
    assert chain.state.balance(BOB) == (amount or 3 * SOMA)


def test_transfer_of_the_whole_gas_coin_keeps_the_fees(chain: PureChain) -> None:
    (coin,) = chain.fund("a", SOMA)
    effects = chain.send("a", TransferCoin(coin, None, BOB))
    assert effects.failure is None
    # The coin that paid is used up exactly and deleted.
    assert chain.balance("a") == 0
    assert chain.state.balance(BOB) == SOMA - effects.total_fee


def test_pay_coins_splits_and_the_rest_stays_in_the_source(chain: PureChain) -> None:
    (coin,) = chain.fund("a", 10 * SOMA)
    effects = chain.send("a", PayCoins((coin,), (SOMA, 2 * SOMA), (chain.address("a"), BOB)))
    assert (effects.operation_fee, effects.value_fee) == (900, 3_000_000)
    assert chain.balance_of(coin) == 7 * SOMA - effects.total_fee
    assert chain.state.balance(BOB) == 2 * SOMA


@pytest.mark.parametrize("amounts", [(SOMA,), (SOMA, SOMA, SOMA)])
def test_pay_coins_needs_one_amount_a_recipient(chain: PureChain, amounts: tuple[int, ...]) -> None:
    (coin,) = chain.fund("a", 10 * SOMA)
    effects = chain.send("a", PayCoins((coin,), amounts, (BOB, BOB)))
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.INVALID_ARGUMENTS
    assert effects.failure.detail == (f"Amounts and recipients must match. Got {len(amounts)} amounts and 2 recipients")


def test_gas_coins_are_merged_even_if_the_rest_fails(chain: PureChain) -> None:
    first, second, third = chain.fund("a", SOMA, 2 * SOMA, 3 * SOMA)
    effects = chain.send("a", TransferCoin(second, 100 * SOMA, BOB), first, second, third)
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.OBJECT_NOT_FOUND
    assert [c.balance for c in (s.contents for s in chain.state.coins(chain.address("a")))] == [6 * SOMA - 1000]  # type: ignore[union-attr]
    assert (effects.base_fee, effects.operation_fee, effects.value_fee) == (1000, 0, 0)


def test_merging_coins_by_naming_them_as_gas(chain: PureChain) -> None:
    coins = chain.fund("a", *[SOMA] * 19)
    effects = chain.send("a", TransferCoin(coins[0], 1000, chain.address("a")), *coins[1:])
    assert effects.total_fee == 1900 + 1
    assert len(chain.state.coins(chain.address("a"))) == 3


@pytest.mark.parametrize("balance", [1, 999])
def test_a_coin_below_the_base_fee_is_taken(chain: PureChain, balance: int) -> None:
    (coin,) = chain.fund("a", balance)
    effects = chain.send("a", TransferCoin(coin, 1, BOB))
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.INSUFFICIENT_GAS
    assert effects.base_fee == balance
    assert chain.state.coins(chain.address("a")) == []


def test_fees_that_cannot_be_paid_undo_everything_but_the_base_fee(chain: PureChain) -> None:
    source, gas = chain.fund("a", SOMA, 1500)
    effects = chain.send("a", TransferCoin(source, None, BOB), gas)
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.INSUFFICIENT_GAS
    assert chain.state.balance(BOB) == 0
    assert chain.balance_of(gas) == 500


def test_every_input_gets_the_next_version_even_on_failure(chain: PureChain) -> None:
    source, gas = chain.fund("a", SOMA, SOMA)
    for expected in (2, 3):
        effects = chain.send(
            "a",
            TransferCoin(chain.state.objects[source.object_id].ref, 100 * SOMA, BOB),
            chain.state.objects[gas.object_id].ref,
        )
        assert effects.failure is not None
        assert effects.version == expected
        versions = {c.object_id: c.after.version for c in effects.changed if c.after}
        assert versions == {source.object_id: expected, gas.object_id: expected}


def test_versions_follow_the_highest_input(chain: PureChain) -> None:
    old, young = chain.fund("a", SOMA, SOMA)
    for _ in range(3):
        chain.send(
            "a", TransferCoin(chain.state.objects[old.object_id].ref, 1, BOB), chain.state.objects[old.object_id].ref
        )
    assert chain.state.objects[old.object_id].version == 4
    effects = chain.send("a", TransferCoin(young, 1, BOB), chain.state.objects[old.object_id].ref)
    assert effects.version == 5
    assert chain.state.objects[young.object_id].version == 5


def test_the_same_transaction_again_gives_its_first_effects(chain: PureChain) -> None:
    (coin,) = chain.fund("a", SOMA)
    transaction = TransactionData(TransferCoin(coin, 1, BOB), chain.address("a"), (coin,))
    first = execute(chain.state, transaction)
    fingerprint = chain.state.fingerprint()
    assert execute(chain.state, transaction) is first
    assert chain.state.fingerprint() == fingerprint


def test_simulation_changes_nothing(chain: PureChain) -> None:
    (coin,) = chain.fund("a", SOMA)
    fingerprint = chain.state.fingerprint()
    transaction = TransactionData(TransferCoin(coin, 1, BOB), chain.address("a"), (coin,))
    simulated = simulate(chain.state, transaction)
    assert chain.state.fingerprint() == fingerprint
    assert simulated == execute(chain.state, transaction)


def test_transfer_of_objects_changes_their_owner(chain: PureChain) -> None:
    coin, gas = chain.fund("a", SOMA, SOMA)
    effects = chain.send("a", TransferObjects((coin,), BOB), gas)
    assert effects.operation_fee == 600
    assert chain.state.objects[coin.object_id].owner == AddressOwner(BOB)


@pytest.mark.parametrize("index", [3, 8, 12, 13])
def test_validator_kinds_fail_clearly(chain: PureChain, index: int) -> None:
    chain.fund("a", SOMA)
    effects = chain.send("a", OtherKind(index, b""))
    assert effects.failure is not None
    assert effects.failure.kind is ErrorKind.OTHER_ERROR
    assert f"transaction kind {index} is not supported" in (effects.failure.detail or "")


def _stale(chain: PureChain, coin: ObjectRef) -> TransactionData:
    chain.send("a", TransferCoin(coin, 1, BOB), coin)
    return TransactionData(TransferCoin(coin, 2, BOB), chain.address("a"), (coin,))


def _spent(chain: PureChain, coin: ObjectRef) -> TransactionData:
    chain.send("a", TransferCoin(coin, None, BOB), coin)
    return TransactionData(TransferCoin(coin, 2, BOB), chain.address("a"), (coin,))


def _not_mine(chain: PureChain, coin: ObjectRef) -> TransactionData:
    return TransactionData(TransferCoin(coin, 2, BOB), chain.address("b"), (coin,))


def _without_gas(chain: PureChain, coin: ObjectRef) -> TransactionData:
    return TransactionData(TransferCoin(coin, 2, BOB), chain.address("a"), ())


def _wrong_digest(chain: PureChain, coin: ObjectRef) -> TransactionData:
    coin = replace(coin, digest=bytes(32))
    return TransactionData(TransferCoin(coin, 2, BOB), chain.address("a"), (coin,))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_stale, r"is not available for consumption, its current version: Version(2)"),
        (_spent, r"is not available for consumption, its current version: Version(2)"),
        (_not_mine, "Transaction was not signed by the correct sender"),
        (_without_gas, "No gas payment provided"),
        (_wrong_digest, "Invalid Object digest"),
    ],
)
def test_refusals_before_execution(chain: PureChain, make, text: str) -> None:  # type: ignore[no-untyped-def]
    (coin,) = chain.fund("a", SOMA)
    transaction = make(chain, coin)
    fingerprint = chain.state.fingerprint()
    with pytest.raises(Refusal) as refusal:
        execute(chain.state, transaction)
    assert refusal.value.code is RefusalCode.INVALID_ARGUMENT
    assert text in refusal.value.message
    assert chain.state.fingerprint() == fingerprint


def test_a_coin_nobody_has_seen_is_unknown(chain: PureChain) -> None:
    coin = ObjectRef(b"\x01" * 32, 1, bytes(32))
    with pytest.raises(UnknownObject, match="Could not find the referenced object"):
        check(chain.state, TransactionData(TransferCoin(coin, 2, BOB), chain.address("a"), (coin,)))
