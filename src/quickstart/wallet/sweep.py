"""Moving what a wallet does not need to a cold address: a pure plan, and one transaction through the outbox."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.protocol import Parameters
from quickstart.chain.transactions import TransferCoin
from quickstart.errors import NetworkError, UsageError
from quickstart.ledger.records import IntentKind
from quickstart.submission.outbox import Outbox, Settled
from quickstart.trainer.reveals import Phase, Status
from quickstart.units import BPS, basis_points

MOST_COINS = 120
"""Coins one sweep names; a second one takes the rest."""

_ADDRESS = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Sweep:
    """One transfer of `amount` shannons from `coins`, which are merged and pay `fee`; `left` stays in the wallet."""

    coins: tuple[Coin, ...]
    amount: int
    fee: int
    left: int


def parse_recipient(text: str) -> Id32:
    """An address to send to: all 64 digits, since what a shortened one means is somebody's money.

    Raises:
        UsageError: it is none.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not int(found[1], 16):
        raise UsageError(f"{text[:80]!r} is no address: 64 hexadecimal digits are wanted, with or without 0x")
    return bytes.fromhex(found[1])


def plan_sweep(coins: Sequence[Coin], keep: int, parameters: Parameters) -> Sweep | None:
    """Everything above `keep` shannons, from the richest coins; None when nothing is left to move. Pure.

    One transfer out of the gas coin, into which all others are merged: base fee, two written objects, value fee on what
    moves (`soma-protocol` §11.1).
    """
    chosen = tuple(sorted(coins, key=lambda coin: (-coin.balance, coin.coin_id))[:MOST_COINS])
    held, chosen_held = sum(coin.balance for coin in coins), sum(coin.balance for coin in chosen)
    spare = min(chosen_held, held - keep)
    fixed = parameters.base_fee + 2 * parameters.write_object_fee
    # The largest amount whose fees fit as well: the fee rounds down, so this may be one short of it.
    amount = (spare - fixed) * BPS // (BPS + parameters.value_fee_bps)
    if amount + 1 + basis_points(amount + 1, parameters.value_fee_bps) <= spare - fixed:
        amount += 1
    if amount <= 0:
        return None
    fee = fixed + basis_points(amount, parameters.value_fee_bps)
    return Sweep(chosen, amount, fee, held - amount - fee)


def refuse_before_reveals(statuses: Iterable[Status]) -> None:
    """Lets coins go only when no commitment of ours waits for its reveal, which has to be paid for in its epoch.

    Raises:
        UsageError: one does; names its model.
    """
    for one in statuses:
        if one.phase in (Phase.COMMITTED, Phase.REVEAL_DUE):
            lost = "half its stake" if one.reveal.first else "the update"
            raise UsageError(
                f"model {format_id(one.reveal.model_id)} waits for its reveal in epoch {one.reveal.commit_epoch + 1}, "
                f"which this wallet pays for, or {lost} is lost: run this again after that; nothing was sent"
            )


async def send_sweep(outbox: Outbox, planned: Sweep, recipient: Id32, epoch: int) -> Settled:
    """Carries a plan out; returns when it is known to have landed, and is in the books.

    Raises:
        UsageError: its coins are not idle as they were planned with.
        NetworkError: it was refused or failed; nothing moved but, if it failed, its base fee.
    """
    if not outbox.pool.hold(planned.coins):
        raise UsageError("the wallet's coins have changed meanwhile: run this again")
    source = planned.coins[0].ref
    outcome = await outbox.send(
        TransferCoin(source, planned.amount, recipient),
        planned.coins,
        len(planned.coins),
        purpose=IntentKind.SWEEP,
        subject=None,
        epoch=epoch,
        details={"amount": planned.amount, "recipient": recipient.hex()},
    )
    if not isinstance(outcome, Settled):
        raise NetworkError(f"the transfer was refused: {outcome.refusal}; nothing moved, run this again")
    if outcome.effects.failure is not None:
        raise NetworkError(f"the transfer failed: {outcome.effects.failure}; nothing moved, run this again")
    return outcome
