"""The treasury's plans, carried out on the devnet's own coin rules until there is none left."""

import hypothesis.strategies as st
from hypothesis import given, settings

from quickstart.chain.coins import Coin
from quickstart.chain.objects import AddressOwner
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import TransactionData
from quickstart.chain.treasury import MERGE_AT_MOST, MERGE_FROM, Merge, Split, kind_of, plan
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.execution import execute
from quickstart.devnet.genesis import faucet, genesis
from quickstart.devnet.state import ChainState
from quickstart.devnet.state import Coin as CoinContents

OWNER = b"\xaa" * 32
PARAMS = PARAMETERS[5]
COST = PARAMS.submission_cost(1024)
CONFIG = DevnetConfig(width=4, models=0, scaled=False)
MOST_PLANS = 2 * 16 + 2
"""Plans from any start to rest: each split, or merge and split, lets one more of at most 16 lanes pay."""


class Purse:
    """One wallet on a chain of its own."""

    def __init__(self, *balances: int) -> None:
        self.state: ChainState = genesis(CONFIG, b"\x07" * 32, 0)
        for balance in balances:
            faucet(self.state, OWNER, balance)

    @property
    def coins(self) -> list[Coin]:
        """Richest first."""
        found = [
            Coin(stored.ref, stored.contents.balance)
            for stored in self.state.objects.values()
            if stored.owner == AddressOwner(OWNER) and isinstance(stored.contents, CoinContents)
        ]
        return sorted(found, key=lambda coin: (-coin.balance, coin.coin_id))

    def able(self) -> int:
        return sum(coin.balance >= COST for coin in self.coins)

    def carry_out(self, action: Split | Merge) -> None:
        """As the driver does it: on the chain it must succeed, so it never spends what is not there."""
        kind, gas = kind_of(action, OWNER)
        effects = execute(self.state, TransactionData(kind, OWNER, tuple(coin.ref for coin in gas)))
        assert effects.failure is None, (action, effects.failure)

    def rest(self, lanes: int, busy: int = 0) -> list[Split | Merge]:
        """Carries out plans until there is none; all of them."""
        done: list[Split | Merge] = []
        while (action := plan(self.coins, busy, lanes, COST, PARAMS)) is not None:
            done.append(action)
            assert len(done) <= MOST_PLANS, f"no end: {done[-2:]}"
            self.carry_out(action)
        return done


balances = st.lists(
    st.one_of(
        st.integers(1, 2_000), st.integers(1, COST), st.integers(COST, 3 * COST + 5_000), st.integers(COST, 10**10)
    ),
    max_size=12,
)


@given(balances, st.integers(1, 16), st.integers(0, 3))
@settings(deadline=None, max_examples=300)
def test_plans_come_to_an_end_and_never_spend_more_than_there_is(held: list[int], lanes: int, busy: int) -> None:
    purse = Purse(*held)
    before = purse.able()
    done = purse.rest(lanes, busy)
    assert purse.able() >= min(before, lanes - busy)
    if not done:
        assert [coin.balance for coin in purse.coins] == sorted(held, reverse=True)


@given(st.integers(1, 16), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_with_enough_in_one_coin_every_lane_can_pay(lanes: int, submissions: int) -> None:
    """Enough: what the lanes need, the source's own, and the fees of splitting."""
    fees = PARAMS.base_fee + (1 + lanes) * PARAMS.write_object_fee + lanes * COST * PARAMS.value_fee_bps // 10_000
    purse = Purse((lanes + 1) * COST * submissions + fees)
    (split,) = purse.rest(lanes) if lanes > 1 else [None]
    assert purse.able() >= lanes
    if split is not None:
        assert isinstance(split, Split)
        assert len(split.amounts) == lanes - 1


@given(balances, st.integers(1, 16))
@settings(deadline=None, max_examples=200)
def test_a_total_that_suffices_puts_it_to_use(held: list[int], lanes: int) -> None:
    """Three coins or more with three submissions' worth between them: at least one lane can pay in the end."""
    purse = Purse(*held)
    if len(held) >= 3 and sum(held) >= 3 * COST:
        purse.rest(lanes)
        assert purse.able() >= 1


def test_claims_leave_many_coins_and_one_merge_makes_few() -> None:
    purse = Purse(*[63_425] * MERGE_FROM)
    done = purse.rest(lanes=1)
    assert isinstance(done[0], Merge)
    assert len(done[0].gas) == MERGE_AT_MOST
    assert len(purse.coins) < MERGE_FROM
    assert purse.able() >= 1


def test_dust_that_cannot_pay_for_its_merge_is_left_alone() -> None:
    purse = Purse(*[1] * (MERGE_FROM + 40), 10**9)
    assert purse.rest(lanes=1) == []


def test_two_coins_cannot_become_fewer_so_they_are_not_merged() -> None:
    """A merge leaves two coins: with two to begin with it would pay its fee for nothing, again and again."""
    purse = Purse(2 * COST - 1, COST // 2)
    assert purse.rest(lanes=4) == []


def test_busy_lanes_need_no_coin() -> None:
    purse = Purse(10**9)
    assert plan(purse.coins, busy=7, lanes=8, cost=COST, parameters=PARAMS) is None
    split = plan(purse.coins, busy=5, lanes=8, cost=COST, parameters=PARAMS)
    assert isinstance(split, Split)
    assert len(split.amounts) == 2


def test_nothing_to_plan_with_nothing() -> None:
    assert plan([], 0, 8, COST, PARAMS) is None
