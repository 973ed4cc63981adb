"""Money of one wallet, to the shannon: from the ledger's books, held against what the chain answers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from quickstart.chain.client import FilledTarget
from quickstart.chain.protocol import NEWEST_PROTOCOL, PARAMETERS, Parameters
from quickstart.ledger.accounts import ClaimShares
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import FillState, FillSum
from quickstart.submission.summary import EARNED_ITEMS, FEE_ITEMS
from quickstart.units import DAYS, GIB

STORAGE_DOLLARS_PER_GIB_MONTH = 0.023
"""List price of a bucket, as Amazon asks it (2026); R2 and most others ask less."""

_ACCOUNTED = frozenset((*EARNED_ITEMS, *FEE_ITEMS, "bond_locked", "bond_returned", "stake"))

AUDIT_EPOCHS = 2
"""A fill of epoch E is claimable from E + 2 on (`soma-protocol` §11.3)."""


@dataclass(frozen=True, slots=True)
class Books:
    """What a ledger says. `movements`: shannons by epoch and item; `stored_bytes`: of public copies."""

    epoch: int
    fills: tuple[FillSum, ...]
    movements: Mapping[int, Mapping[str, int]]
    stored_bytes: int

    @classmethod
    def of(cls, ledger: Ledger) -> "Books":
        return cls(ledger.latest_epoch(), ledger.fill_sums(), ledger.movements(), ledger.published_bytes())


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """What the chain says of a wallet: its coins' sum in shannons, and its fills that nobody has claimed yet."""

    epoch: int
    epoch_start_ms: int
    parameters: Parameters
    balance: int
    open_fills: tuple[FilledTarget, ...]

    def epoch_at(self, moment_ms: int) -> int:
        """The epoch a moment was in, if all epochs were as long as the present one; ms since 1970."""
        return self.epoch + (moment_ms - self.epoch_start_ms) // max(1, self.parameters.epoch_duration_ms)


@dataclass(frozen=True, slots=True)
class Costs:
    """Dollars. `gpu_by_day`: of days ("2026-11-23", UTC) as far as they are known, each with its beginning in ms."""

    gpu_by_day: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class EpochAccount:
    """One epoch. Money that moved in it, in shannons; fills made in it, by what became of them.

    `in_audit`, `claimable`: what its open fills will pay. `bond_lost`: of its fills that were judged false, whenever
    that was. `gpu_dollars`: None where no day of it is known.
    """

    epoch: int
    earned: int = 0
    fees: int = 0
    bond_lost: int = 0
    in_audit: int = 0
    claimable: int = 0
    fills: int = 0
    fills_claimed: int = 0
    fills_slashed: int = 0
    gpu_dollars: float | None = None

    @property
    def net(self) -> int:
        return self.earned - self.fees - self.bond_lost

    @property
    def net_per_dollar(self) -> float | None:
        """Shannons for each dollar of GPUs."""
        return self.net / self.gpu_dollars if self.gpu_dollars else None


@dataclass(frozen=True, slots=True)
class Accounts:
    """A wallet's money, in shannons; the sums of `epochs` are its own.

    `earned`: all that was paid out: rewards as submitter and as model owner, and incentives; `claimed`: of it, rewards
    for our fills. `in_audit`, `claimable`: the submitter's share of open fills, to come when they are claimed.
    `bond_out`: locked in open fills. `staked`: in models. `other`: received, sent, or moved by others with this key.
    `balance`: what the coins must hold by the books; `chain_balance`: what they hold, None where the chain was not
    asked: then `epoch` is the ledger's last, and what is in audit by it may be claimable already.
    """

    epoch: int
    earned: int
    claimed: int
    in_audit: int
    claimable: int
    bond_out: int
    bond_lost: int
    fees: int
    staked: int
    other: int
    balance: int
    chain_balance: int | None
    open_fills: int
    chain_open_fills: int | None
    gpu_dollars: float | None
    storage_dollars_per_month: float
    epochs: tuple[EpochAccount, ...]

    @property
    def net(self) -> int:
        return self.earned - self.fees - self.bond_lost

    @property
    def net_per_dollar(self) -> float | None:
        """Shannons for each dollar of GPUs, over the days whose dollars are known; None where none is."""
        paid = [one for one in self.epochs if one.gpu_dollars]
        dollars = sum(one.gpu_dollars or 0.0 for one in paid)
        return sum(one.net for one in paid) / dollars if dollars else None

    @property
    def difference(self) -> int | None:
        """Ledger less chain; 0 when the books are right and nothing is in flight."""
        return None if self.chain_balance is None else self.balance - self.chain_balance

    def only(self, epoch: int) -> "Accounts":
        """The same with this one epoch."""
        return replace(self, epochs=tuple(one for one in self.epochs if one.epoch == epoch))


def accounts(books: Books, chain: ChainAnswer | None, costs: Costs | None) -> Accounts:
    """The wallet's money. What is in audit or claimable is judged by the chain's epoch and parameters if it answers."""
    now = books.epoch if chain is None else chain.epoch
    parameters = PARAMETERS[NEWEST_PROTOCOL] if chain is None else chain.parameters
    dollars = _dollars(costs, chain)
    epochs = {
        epoch: EpochAccount(
            epoch, earned=_sum(items, EARNED_ITEMS), fees=-_sum(items, FEE_ITEMS), gpu_dollars=dollars.get(epoch)
        )
        for epoch, items in books.movements.items()
    }
    fills: dict[int, list[FillSum]] = {epoch: [] for epoch in dollars}
    for one in books.fills:
        fills.setdefault(one.epoch, []).append(one)
    for epoch, mine in fills.items():
        by_state = {state: [one for one in mine if one.state is state] for state in FillState}
        to_come = sum(one.count * _share(one, parameters) for one in by_state[FillState.FILLED])
        settled = epoch + AUDIT_EPOCHS <= now
        epochs[epoch] = replace(
            epochs.get(epoch, EpochAccount(epoch, gpu_dollars=dollars.get(epoch))),
            bond_lost=_bonds(by_state[FillState.SLASHED]),
            in_audit=0 if settled else to_come,
            claimable=to_come if settled else 0,
            fills=_count(mine),
            fills_claimed=_count(by_state[FillState.CLAIMED]),
            fills_slashed=_count(by_state[FillState.SLASHED]),
        )
    told = tuple(epochs[epoch] for epoch in sorted(epochs))
    totals = _totals(books.movements)
    open_fills = [one for one in books.fills if one.state is FillState.FILLED]
    return Accounts(
        epoch=now,
        earned=sum(one.earned for one in told),
        claimed=totals.get("reward_submitter", 0),
        in_audit=sum(one.in_audit for one in told),
        claimable=sum(one.claimable for one in told),
        bond_out=_bonds(open_fills),
        bond_lost=sum(one.bond_lost for one in told),
        fees=sum(one.fees for one in told),
        staked=-totals.get("stake", 0),
        other=sum(amount for item, amount in totals.items() if item not in _ACCOUNTED),
        balance=sum(totals.values()),
        chain_balance=None if chain is None else chain.balance,
        open_fills=_count(open_fills),
        chain_open_fills=None if chain is None else len(chain.open_fills),
        gpu_dollars=None if costs is None else sum(paid for _, paid in costs.gpu_by_day.values()),
        storage_dollars_per_month=books.stored_bytes / GIB * STORAGE_DOLLARS_PER_GIB_MONTH,
        epochs=told,
    )


def _dollars(costs: Costs | None, chain: ChainAnswer | None) -> dict[int, float]:
    """Dollars of each epoch: a day counts for the epoch that its middle was in."""
    found: dict[int, float] = {}
    if costs is None or chain is None:
        return found
    for start_ms, paid in costs.gpu_by_day.values():
        epoch = chain.epoch_at(start_ms + int(DAYS * 500))
        found[epoch] = found.get(epoch, 0.0) + paid
    return found


def _share(fill: FillSum, parameters: Parameters) -> int:
    return ClaimShares.of(fill.reward, fill.bond, parameters).submitter


def _bonds(fills: Iterable[FillSum]) -> int:
    return sum(one.count * one.bond for one in fills)


def _count(fills: Iterable[FillSum]) -> int:
    return sum(one.count for one in fills)


def _sum(items: Mapping[str, int], names: Iterable[str]) -> int:
    return sum(items.get(name, 0) for name in names)


def _totals(movements: Mapping[int, Mapping[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for items in movements.values():
        for item, amount in items.items():
            totals[item] = totals.get(item, 0) + amount
    return totals
