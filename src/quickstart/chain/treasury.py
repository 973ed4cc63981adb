"""How many coins to keep, of what size: pure plans, carried out by the loop.

One transaction in flight needs one coin, which is bond and gas at once. Splitting pays the value fee on what moves,
merging on the smallest coin only, so: split what the lanes need and no more, merge when claims have left many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import Kind, PayCoins, TransferCoin

MERGE_FROM = 160
"""Idle coins from which on we merge: the SDK's listings stop at 256 and show the smallest."""

MERGE_AT_MOST = 120
"""Coins one merge names; a transaction holds 256 KiB and a reference takes 73 bytes, so this is far from the limit."""

SUBMISSIONS_PER_COIN = 12
"""Submissions a fresh lane coin pays for before it needs to be replaced."""


@dataclass(frozen=True, slots=True)
class Split:
    """Pay `amounts` (shannons) to ourselves from `source`, which is also the gas coin."""

    source: Coin
    amounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge `gas` coins into the first of them, and move `smallest` to ourselves: two coins are left."""

    smallest: Coin
    gas: tuple[Coin, ...]


Plan: TypeAlias = Split | Merge


def plan(idle: Sequence[Coin], busy: int, lanes: int, cost: int, parameters: Parameters) -> Plan | None:
    """What the coins need now: a split when fewer than `lanes` can each pay `cost`, a merge when there are too many.

    `idle` coins, richest first; `busy`: coins in flight, which count as able to pay; `cost`: one submission.
    """
    able = [coin for coin in idle if coin.balance >= cost]
    missing = lanes - busy - len(able)
    if missing > 0 and able:
        split = _split(able[0], missing, cost, parameters)
        if split is not None:
            return split
    if missing > 0 and len(idle) > 1 and sum(coin.balance for coin in idle) >= 2 * cost and len(able) < len(idle):
        return _merge(idle)
    if len(idle) >= MERGE_FROM:
        return _merge(idle)
    return None


def _split(source: Coin, missing: int, cost: int, parameters: Parameters) -> Split | None:
    """As many lane coins as are missing, as large as the source can give while it stays a lane coin itself."""
    for count in range(missing, 0, -1):
        fees = parameters.base_fee + (1 + count) * parameters.write_object_fee
        for submissions in (SUBMISSIONS_PER_COIN, 4, 1):
            amount = submissions * cost
            value_fee = count * amount * parameters.value_fee_bps // 10_000
            if source.balance >= count * amount + value_fee + fees + cost:
                return Split(source, (amount,) * count)
    return None


def _merge(idle: Sequence[Coin]) -> Merge | None:
    if len(idle) < 2:
        return None
    poorest = sorted(idle, key=lambda coin: (coin.balance, coin.coin_id))[: MERGE_AT_MOST + 1]
    smallest, *gas = poorest
    gas.reverse()
    return Merge(smallest, tuple(gas))


def kind_of(action: Plan, owner: Id32) -> tuple[Kind, tuple[Coin, ...]]:
    """The transaction kind of a plan, and the gas coins it names."""
    if isinstance(action, Split):
        recipients = (owner,) * len(action.amounts)
        return PayCoins((action.source.ref,), action.amounts, recipients), (action.source,)
    return TransferCoin(action.smallest.ref, None, owner), action.gas
