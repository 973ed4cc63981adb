"""How many coins to keep, of what size: pure plans, carried out by the loop.

One transaction in flight needs one coin, which is bond and gas at once. Splitting pays the value fee on what moves,
merging on the smallest coin only, so: split what the lanes need and no more, merge when claims have left many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import Kind, PayCoins, TransferCoin
from quickstart.units import basis_points

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
    """What the coins need now: a split when fewer than `lanes` can each pay `cost`, a merge when that lets more of
    them pay, or when there are too many coins. Carrying plans out comes to an end: every split, and every merge with
    the split after it, lets at least one more lane pay.

    `idle` coins, richest first; `busy`: coins in flight, which count as able to pay; `cost`: one submission.
    """
    able = [coin for coin in idle if coin.balance >= cost]
    wanted = lanes - busy
    if wanted > len(able) > 0:
        split = _split(able[0], wanted - len(able), cost, parameters)
        if split is not None:
            return split
    merge = _merge(idle, parameters)
    if merge is None:
        return None
    gains = wanted > len(able) and _able_after(merge, idle, wanted, cost, parameters) > len(able)
    return merge if gains or len(idle) >= MERGE_FROM else None


def _split(source: Coin, missing: int, cost: int, parameters: Parameters) -> Split | None:
    """As many lane coins as are missing, as large as the source can give while it stays a lane coin itself."""
    for count in range(missing, 0, -1):
        for submissions in (SUBMISSIONS_PER_COIN, 4, 1):
            amount = submissions * cost
            if source.balance >= count * amount + _split_fee(count, count * amount, parameters) + cost:
                return Split(source, (amount,) * count)
    return None


def _merge(idle: Sequence[Coin], parameters: Parameters) -> Merge | None:
    """The poorest coins into one; None where that makes no fewer coins, or they cannot pay for it."""
    if len(idle) < 3:
        return None
    poorest = sorted(idle, key=lambda coin: (coin.balance, coin.coin_id))[: MERGE_AT_MOST + 1]
    smallest, *gas = poorest
    gas.reverse()
    merge = Merge(smallest, tuple(gas))
    return merge if _merged_balance(merge, parameters) > 0 else None


def _merged_balance(merge: Merge, parameters: Parameters) -> int:
    """Shannons in the coin a merge makes; negative when its fees exceed them."""
    value_fee = merge.smallest.balance * parameters.value_fee_bps // 10_000
    fees = parameters.base_fee + 2 * parameters.write_object_fee + value_fee
    return sum(coin.balance for coin in merge.gas) - fees


def _able_after(merge: Merge, idle: Sequence[Coin], wanted: int, cost: int, parameters: Parameters) -> int:
    """Coins able to pay once `merge`, and the split that comes after it, are carried out."""
    merged = replace(merge.gas[0], balance=_merged_balance(merge, parameters))
    untouched = [coin for coin in idle if coin not in merge.gas]
    able = [coin for coin in (*untouched, merged) if coin.balance >= cost]
    if not able or len(able) >= wanted:
        return len(able)
    split = _split(max(able, key=lambda coin: coin.balance), wanted - len(able), cost, parameters)
    return len(able) + (len(split.amounts) if split else 0)


def fee_of(action: Plan, parameters: Parameters) -> int:
    """Shannons a plan costs (§11.1)."""
    if isinstance(action, Merge):
        return sum(coin.balance for coin in action.gas) - _merged_balance(action, parameters)
    return _split_fee(len(action.amounts), sum(action.amounts), parameters)


def _split_fee(count: int, moved: int, parameters: Parameters) -> int:
    """Base, `count` new coins and the source, and the value fee on the shannons `moved`."""
    written = (1 + count) * parameters.write_object_fee
    return parameters.base_fee + written + basis_points(moved, parameters.value_fee_bps)


def kind_of(action: Plan, owner: Id32) -> tuple[Kind, tuple[Coin, ...]]:
    """The transaction kind of a plan, and the gas coins it names."""
    if isinstance(action, Split):
        recipients = (owner,) * len(action.amounts)
        return PayCoins((action.source.ref,), action.amounts, recipients), (action.source,)
    return TransferCoin(action.smallest.ref, None, owner), action.gas
