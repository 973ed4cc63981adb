"""The books of every kind of transaction, against what the devnet's state machine did to the coins.

Two things must hold for each: the coins `account` gives are exactly the coins on the chain, and the movements sum up to
the change of the balance.
"""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from quickstart.chain import effects as told
from quickstart.chain.client import ClaimableTarget
from quickstart.chain.coins import Coin, CoinPool
from quickstart.chain.failures import Failure, FailureKind
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.objects import AddressOwner, TargetStatus
from quickstart.chain.transactions import (
    ClaimRewards,
    Kind,
    Manifest,
    PayCoins,
    ReportSubmission,
    SubmitData,
    TransactionData,
    TransferCoin,
)
from quickstart.devnet import effects as happened
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.epochs import advance_epoch
from quickstart.devnet.execution import execute
from quickstart.devnet.genesis import faucet, genesis
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.state import ChainState, StoredObject
from quickstart.devnet.state import Coin as CoinContents
from quickstart.ledger.accounts import Account, account
from quickstart.ledger.records import FillState, Intent, IntentKind
from quickstart.submission.claims import Claim, worth_claiming

SOMA = 1_000_000_000
CONFIG = DevnetConfig(models=1, targets=8)
STRANGER = b"\x55" * 32
MODEL_OWNER = devnet_key("owner of python64").address
MANIFEST = Manifest("https://h/d", b"d" * 32, 1024)


def as_read(effects: happened.Effects) -> told.Effects:
    """The devnet's effects in the client's terms: what the wire would have carried."""
    changed = tuple(
        told.ChangedObject(
            change.object_id,
            change.after.digest if change.after else None,
            change.after.owner.address if change.after and isinstance(change.after.owner, AddressOwner) else None,
            created=change.before is None,
        )
        for change in effects.changed
    )
    return told.Effects(
        effects.digest,
        effects.epoch,
        effects.version,
        Failure(FailureKind.UNMAPPED, effects.failure.kind.name) if effects.failure else None,
        effects.base_fee,
        effects.operation_fee,
        effects.value_fee,
        changed,
    )


class World:
    """A chain with open targets, and the wallet whose books are kept."""

    def __init__(self, owner: Id32 = b"\xaa" * 32) -> None:
        self.owner = owner
        self.state: ChainState = genesis(CONFIG, b"\x07" * 32, 0)
        self.pass_epoch()
        self.pool = CoinPool()

    def pass_epoch(self) -> None:
        advance_epoch(self.state, 0)

    def fund(self, *amounts: int) -> list[Coin]:
        """New coins of ours, as after a reconciliation."""
        coins = [Coin(faucet(self.state, self.owner, amount)[1][0].ref, amount) for amount in amounts]
        for coin in coins:
            self.pool.adopt(coin)
        return coins

    def chain_coins(self, owner: Id32) -> set[Coin]:
        return {
            Coin(stored.ref, stored.contents.balance)
            for stored in self.state.coins(owner)
            if isinstance(stored.contents, CoinContents)
        }

    def send(
        self, purpose: IntentKind, kind: Kind, coins: list[Coin], gas: int, details: dict[str, object] | None = None
    ) -> Account:
        """Runs it on the chain, keeps the books, and compares."""
        before = self.state.balance(self.owner)
        transaction = TransactionData(kind, self.owner, tuple(coin.ref for coin in coins[:gas]))
        effects = as_read(execute(self.state, transaction))
        intent = Intent(transaction.digest(), purpose, None, self.state.epoch, 0, b"", tuple(coins), details or {})
        assert self.pool.hold(coins)
        books = account(intent, effects, self.owner)
        self.pool.settle([coin.coin_id for coin in coins], books.changes)
        assert books.changes.unproven == frozenset()
        assert set(self.pool.idle) == self.chain_coins(self.owner)
        assert sum(movement.amount for movement in books.movements) == self.state.balance(self.owner) - before
        self.failed = effects.failure is not None
        return books

    def open_targets(self) -> list[Id32]:
        return sorted(
            target_id
            for target_id, target in self.state.targets()
            if target.status is TargetStatus.OPEN and target.generation_epoch == self.state.epoch
        )

    def submit(self, target_id: Id32, coin: Coin, size: int = 1024) -> Account:
        target = self.state.target(target_id)
        assert target is not None
        kind = self.submission(target_id, coin, size)
        bond = self.state.parameters.bond(size)
        return self.send(IntentKind.SUBMIT, kind, [coin], 1, {"bond": bond, "reward": target.reward})

    def submission(self, target_id: Id32, coin: Coin, size: int = 1024) -> SubmitData:
        target = self.state.target(target_id)
        assert target is not None
        manifest = replace(MANIFEST, size=size)
        return SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.5, (1.0,), coin.ref)

    def filled_by_somebody(self, target_id: Id32) -> None:
        faucet(self.state, STRANGER, SOMA)
        coin = self.state.coins(STRANGER)[-1].ref
        kind = self.submission(target_id, Coin(coin, SOMA))
        assert execute(self.state, TransactionData(kind, STRANGER, (coin,))).failure is None

    def report(self, target_id: Id32, validators: int) -> None:
        """So many validators, who share the voting power, all say that the fill is false."""
        addresses = [blake2b_256(f"validator {n} of {validators}".encode()) for n in range(validators)]
        power, rest = divmod(10_000, validators)
        self.state.validators = {a: power + (rest if n == 0 else 0) for n, a in enumerate(addresses)}
        for address in addresses:
            faucet(self.state, address, SOMA)
            gas = self.state.coins(address)[-1].ref
            assert execute(self.state, TransactionData(ReportSubmission(target_id), address, (gas,))).failure is None

    def claims(self) -> list[Claim]:
        listed = [
            ClaimableTarget(target_id, target.reward, target.submitter, target.bond)
            for target_id, target in self.state.targets()
            if self.state.epoch > (target.generation_epoch if target.submitter is None else target.fill_epoch + 1)
        ]
        return list(worth_claiming(listed, self.owner, frozenset(), self.state.parameters))

    def claim(self, claim: Claim, coin: Coin) -> Account:
        return self.send(IntentKind.CLAIM, ClaimRewards(claim.target_id), [coin], 1, claim.details)

    def set_reward(self, target_id: Id32, reward: int) -> None:
        stored = self.state.objects[target_id]
        contents = replace(stored.contents, reward=reward)  # type: ignore[arg-type]
        self.state.objects[target_id] = StoredObject.of(
            target_id, stored.version, stored.owner, contents, stored.previous_transaction
        )


def items(books: Account) -> dict[str, int]:
    return {movement.item: movement.amount for movement in books.movements if movement.amount}


COST = World().state.parameters.submission_cost(1024)
BOND = 66_560


def test_a_submission_locks_its_bond() -> None:
    world = World()
    books = world.submit(world.open_targets()[0], *world.fund(SOMA))
    assert items(books) == {"fee_base": -1000, "fee_operation": -1200, "bond_locked": -BOND}
    assert not world.failed


def test_a_submission_that_uses_up_its_coin() -> None:
    world = World()
    books = world.submit(world.open_targets()[0], *world.fund(COST))
    assert not world.failed
    assert world.pool.balance == 0
    assert books.changes.written == ()


@pytest.mark.parametrize("balance", [1, 999, 1000, 1001, COST - 1])
def test_a_submission_that_cannot_be_paid(balance: int) -> None:
    world = World()
    books = world.submit(world.open_targets()[0], *world.fund(balance))
    assert world.failed
    assert items(books) == {"fee_base": -min(balance, 1000)}


def test_a_submission_that_came_too_late() -> None:
    world = World()
    target_id = world.open_targets()[0]
    coin = world.fund(SOMA)[0]
    world.filled_by_somebody(target_id)
    books = world.submit(target_id, coin)
    assert world.failed
    assert items(books) == {"fee_base": -1000}
    assert world.pool.balance == SOMA - 1000


@pytest.mark.parametrize(("amounts", "fails"), [((5_000,), False), ((70_000,) * 7, False), ((SOMA,), True)])
def test_a_split(amounts: tuple[int, ...], fails: bool) -> None:
    world = World()
    coin = world.fund(SOMA)[0]
    kind = PayCoins((coin.ref,), amounts, (world.owner,) * len(amounts))
    books = world.send(IntentKind.SPLIT, kind, [coin], 1, {"amounts": list(amounts)})
    assert world.failed is fails
    assert items(books).keys() == ({"fee_base"} if fails else {"fee_base", "fee_operation", "fee_value"})
    assert len(world.pool.idle) == (1 if fails else 1 + len(amounts))


@pytest.mark.parametrize("balances", [(SOMA, 70_000, 900), (2_000, 1_000, 500), (900, 50, 20), (70_000, 20_000)])
def test_a_merge_leaves_two_coins_unless_it_cannot_pay(balances: tuple[int, ...]) -> None:
    world = World()
    coins = world.fund(*balances)
    kind = TransferCoin(coins[-1].ref, None, world.owner)
    world.send(IntentKind.MERGE, kind, coins, len(coins) - 1)
    assert world.failed is (sum(balances[:-1]) < 1_600)
    assert len(world.pool.idle) == (1 if sum(balances[:-1]) <= 1_000 else 2)


def claimed_fill(world: World, reward: int | None = None, reporters: int = 0) -> Account:
    """Fills a target, lets it be audited, claims it."""
    target_id = world.open_targets()[0]
    world.submit(target_id, *world.fund(SOMA))
    if reward is not None:
        world.set_reward(target_id, reward)
    world.pass_epoch()
    if reporters:
        world.report(target_id, reporters)
    world.pass_epoch()
    (claim,) = [claim for claim in world.claims() if claim.target_id == target_id]
    books = world.claim(claim, world.pool.idle[0])
    assert not world.failed
    fees = -sum(amount for item, amount in items(books).items() if item.startswith("fee_"))
    assert fees <= claim.fee or reporters > 3
    return books


def test_a_claim_pays_reward_incentive_and_bond() -> None:
    books = claimed_fill(World())
    assert books.fill_state is FillState.CLAIMED
    paid = {item: amount for item, amount in items(books).items() if not item.startswith("fee_")}
    assert paid == {"reward_submitter": 6_310_881, "incentive": 63_425, "bond_returned": BOND}


def test_a_claim_with_a_model_of_our_own_pays_its_share_too() -> None:
    books = claimed_fill(World(MODEL_OWNER))
    assert books.fill_state is FillState.CLAIMED
    paid = {item: amount for item, amount in items(books).items() if not item.startswith("fee_")}
    assert sum(paid.values()) == 12_685_185 + BOND
    assert paid["reward_model"] == 6_310_879


@pytest.mark.parametrize("reporters", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("owner", [b"\xaa" * 32, MODEL_OWNER], ids=["plain", "model owner"])
def test_a_false_claim_loses_its_bond_whatever_the_number_of_reporters(owner: Id32, reporters: int) -> None:
    books = claimed_fill(World(owner), reporters=reporters)
    assert books.fill_state is FillState.SLASHED
    assert {k: v for k, v in items(books).items() if not k.startswith("fee_")} == {"incentive": 63_425}


@pytest.mark.parametrize("reward", [0, 1, 2, 3, 199, 200, 201, 10_000])
@pytest.mark.parametrize("owner", [b"\xaa" * 32, MODEL_OWNER], ids=["plain", "model owner"])
def test_claims_of_any_reward(owner: Id32, reward: int) -> None:
    assert claimed_fill(World(owner), reward).fill_state is FillState.CLAIMED


def test_an_expired_target_pays_the_incentive_alone() -> None:
    world = World()
    world.pass_epoch()
    coin = world.fund(SOMA)[0]
    claim = world.claims()[0]
    books = world.claim(claim, coin)
    assert books.fill_state is None
    fees = -sum(amount for item, amount in items(books).items() if item.startswith("fee_"))
    assert fees == claim.fee
    assert items(books)["incentive"] == 63_425


def test_a_claim_somebody_else_made_first() -> None:
    world = World()
    world.pass_epoch()
    claim = world.claims()[0]
    faucet(world.state, STRANGER, SOMA)
    gas = world.state.coins(STRANGER)[-1].ref
    assert execute(world.state, TransactionData(ClaimRewards(claim.target_id), STRANGER, (gas,))).failure is None
    books = world.claim(claim, world.fund(SOMA)[0])
    assert world.failed
    assert books.fill_state is None
    assert items(books) == {"fee_base": -1000}


def test_a_claim_within_the_audit_window() -> None:
    world = World()
    target_id = world.open_targets()[0]
    world.submit(target_id, *world.fund(SOMA))
    listed = [ClaimableTarget(target_id, 12_685_185, world.owner, BOND)]
    (claim,) = worth_claiming(listed, world.owner, frozenset(), world.state.parameters)
    books = world.claim(claim, world.pool.idle[0])
    assert world.failed
    assert books.fill_state is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["submit", "late", "split", "merge", "claim", "claim", "epoch", "fund"]), st.integers(0, 7)
    ),
    max_size=25,
)


@given(steps, st.sampled_from([b"\xaa" * 32, MODEL_OWNER]))
@settings(deadline=None, max_examples=40)
def test_the_books_agree_after_any_history(history: list[tuple[str, int]], owner: Id32) -> None:
    """`World.send` compares coins and movements after every transaction."""
    world = World(owner)
    world.fund(SOMA, 3 * COST, 500)
    for what, number in history:
        idle = world.pool.idle
        if what == "epoch":
            world.pass_epoch()
        elif what == "fund":
            world.fund([1, 900, 2_000, COST, SOMA][number % 5])
        elif not idle:
            continue
        elif what in ("submit", "late"):
            targets = world.open_targets()
            if targets:
                target_id = targets[number % len(targets)]
                if what == "late":
                    world.filled_by_somebody(target_id)
                world.submit(target_id, idle[number % len(idle)], [1024, 1, 0][number % 3])
        elif what == "split":
            coin = idle[number % len(idle)]
            amounts = [coin.balance // (number + 1)] * (number % 4 + 1)
            kind = PayCoins((coin.ref,), tuple(amounts), (world.owner,) * len(amounts))
            world.send(IntentKind.SPLIT, kind, [coin], 1, {"amounts": amounts})
        elif what == "merge" and len(idle) > 1:
            coins = list(idle[: number + 2])
            world.send(IntentKind.MERGE, TransferCoin(coins[-1].ref, None, world.owner), coins, len(coins) - 1)
        elif what == "claim":
            claims = world.claims()
            if claims:
                world.claim(claims[number % len(claims)], idle[number % len(idle)])
