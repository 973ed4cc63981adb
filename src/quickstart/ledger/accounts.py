"""What a transaction does to our coins and our books, by the rules: pure predictions that digests then prove.

`soma-protocol` §11.1-§11.3: fees come out of the first gas coin, into which all other gas coins are merged; a failed
transaction keeps only the base fee; a claim creates coins in the order submitter, model owner, claimer, bond.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from quickstart.chain.coins import Coin, CoinChanges, proven_changes
from quickstart.chain.effects import Effects
from quickstart.chain.ids import Id32, derive_id
from quickstart.chain.protocol import Parameters
from quickstart.ledger.records import FillState, Intent, IntentKind, Movement
from quickstart.units import basis_points

_RECEIPTS = {IntentKind.CREATE_MODEL: 2, IntentKind.ADD_STAKE: 0}
"""Which of the objects that a transaction creates is the receipt of a stake (§2)."""


@dataclass(frozen=True, slots=True)
class ClaimShares:
    """What a claim pays, in shannons. The submitter's share includes the remainder."""

    submitter: int
    model_owner: int
    claimer: int
    bond: int

    @classmethod
    def of(cls, reward: int, bond: int, parameters: Parameters) -> "ClaimShares":
        """Shares of a filled target (§11.3)."""
        model_owner = basis_points(reward, parameters.target_model_reward_share_bps)
        claimer = basis_points(reward, parameters.target_claimer_incentive_bps)
        return cls(reward - model_owner - claimer, model_owner, claimer, bond)


def claim_fee(reward: int, parameters: Parameters, *, expired: bool) -> int:
    """Fee of a claim: base, written objects, and half the value fee on the reward (§11.1)."""
    written = 3 if expired else 6
    value_fee = basis_points(reward, parameters.value_fee_bps // 2)
    return parameters.base_fee + written * parameters.write_object_fee + value_fee


@dataclass(frozen=True, slots=True)
class Account:
    """A settled transaction in the books. `fill_state`: what a claim says of our fill, None when it is not ours."""

    changes: CoinChanges
    movements: tuple[Movement, ...]
    fill_state: FillState | None = None


def account(intent: Intent, effects: Effects, owner: Id32) -> Account:
    """The books of one executed intent. Every balance in it is proven by the digests in the effects."""
    fees = (
        Movement("fee_base", -effects.base_fee),
        Movement("fee_operation", -effects.operation_fee),
        Movement("fee_value", -effects.value_fee),
    )
    gas, others = _gas_coins(intent)
    gas_balance = sum(coin.balance for coin in gas) - effects.total_fee
    candidates: dict[Id32, list[int]] = {coin.coin_id: [coin.balance] for coin in others}
    candidates[gas[0].coin_id] = [gas_balance]
    movements: tuple[Movement, ...] = ()
    state: FillState | None = None
    if effects.failure is None:
        if intent.kind is IntentKind.SUBMIT:
            bond = int(intent.details["bond"])
            candidates[gas[0].coin_id] = [gas_balance - bond]
            movements = (Movement("bond_locked", -bond),)
        elif intent.kind is IntentKind.SPLIT:
            amounts: Sequence[int] = intent.details["amounts"]
            candidates[gas[0].coin_id] = [gas_balance - sum(amounts)]
            candidates |= {derive_id(effects.digest, i): [amount] for i, amount in enumerate(amounts)}
        elif intent.kind is IntentKind.CLAIM:
            received, state = _claim_income(intent.details, effects, owner)
            candidates |= {coin_id: [amount] for coin_id, (_, amount) in received.items()}
            movements = tuple(Movement(item, amount) for item, amount in received.values())
        elif intent.kind in (IntentKind.CREATE_MODEL, IntentKind.ADD_STAKE):
            stake = int(intent.details["stake"])
            candidates[gas[0].coin_id] = [gas_balance - stake]
            movements = (Movement("stake", -stake),)
        elif intent.kind is IntentKind.SWEEP:
            amount = int(intent.details["amount"])
            candidates[gas[0].coin_id] = [gas_balance - amount]
            movements = (Movement("swept", -amount),)
    changes = proven_changes(effects, owner, candidates)
    if intent.kind in _RECEIPTS:
        # The stake's receipt is ours too, and no coin.
        changes = replace(changes, unproven=changes.unproven - {derive_id(effects.digest, _RECEIPTS[intent.kind])})
    return Account(changes, fees + movements, state)


def _gas_coins(intent: Intent) -> tuple[tuple[Coin, ...], tuple[Coin, ...]]:
    """The coins an intent pays fees from, and the other coins it names (for a merge, the last one)."""
    if intent.kind is IntentKind.MERGE:
        return intent.coins[:-1], intent.coins[-1:]
    return intent.coins, ()


def _claim_income(
    details: Mapping[str, int], effects: Effects, owner: Id32
) -> tuple[dict[Id32, tuple[str, int]], FillState | None]:
    """Coins a claim made for us: id -> (item, amount), and what became of our fill.

    Three layouts are possible: expired (the claimer's coin alone), paid out, and slashed (reporters' shares of the
    bond, then the claimer's coin). Which one it was shows in the ids and digests of the coins that were made.
    """
    created = {change.object_id for change in effects.owned_by(owner) if change.created}
    incentive = ("incentive", int(details["incentive"]))
    if details["expired"]:
        return {derive_id(effects.digest, 0): incentive}, None
    layout = [
        ("reward_submitter", int(details["submitter_share"])),
        ("reward_model", int(details["model_share"])),
        incentive,
        ("bond_returned", int(details["bond"])),
    ]
    if not layout[0][1]:
        layout = layout[2:]  # without a reward neither share becomes a coin; with one both do, even at 0
    layout = [entry for entry in layout if entry[1] or entry[0] == "reward_model"]
    income = {
        coin_id: entry
        for number, entry in enumerate(layout)
        if (coin_id := derive_id(effects.digest, number)) in created
    }
    ours = bool(details["ours"])
    # A fill of ours that was paid out begins with a coin of ours. Of one that was slashed, the claimer's coin comes
    # after as many as there are reporters, and may lie where the incentive of a paid one would.
    begins = not ours or derive_id(effects.digest, 0) in income
    if begins and income and _proves(income, effects, owner):
        return income, FillState.CLAIMED if ours else None
    slashed = {coin_id: incentive for coin_id in created if _proves({coin_id: incentive}, effects, owner)}
    return slashed, FillState.SLASHED if ours else None


def _proves(income: Mapping[Id32, tuple[str, int]], effects: Effects, owner: Id32) -> bool:
    """Whether the effects' digests show every one of these coins with its amount."""
    found = proven_changes(effects, owner, {coin_id: [amount] for coin_id, (_, amount) in income.items()})
    return {coin.coin_id for coin in found.written} >= income.keys()
