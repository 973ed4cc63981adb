"""The validators of an epoch, as the SDK's system state has them, and what is reported of them (`soma-protocol` §4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quickstart.chain.ids import Id32, parse_id

FULL_POWER = 10_000
"""Voting power of all validators together; reports count from `QUORUM` on (§11.3)."""

QUORUM = 6_667


@dataclass(frozen=True, slots=True)
class Validator:
    """One validator. Stakes in shannons, rates in basis points; `proxy_url`: where it serves data, if it tells.

    `at_risk_epochs`: for how many epochs its stake has been too low; None where it is not.
    """

    address: Id32
    voting_power: int
    stake: int
    next_stake: int
    commission_bps: int
    next_commission_bps: int
    network_address: str
    proxy_url: str | None
    reporters: frozenset[Id32]
    at_risk_epochs: int | None = None


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """The set of one epoch, the most powerful first. `model_reports`: who reported which model."""

    epoch: int
    total_stake: int
    validators: tuple[Validator, ...]
    pending: tuple[Id32, ...]
    model_reports: Mapping[Id32, frozenset[Id32]]

    def power_of(self, reporters: frozenset[Id32]) -> int:
        """Voting power of some of them together, of 10,000."""
        return sum(one.voting_power for one in self.validators if one.address in reporters)


def validator_set(state: Any) -> ValidatorSet:
    """Reads them from the SDK's system state."""
    view = state.validators
    reports = _reports(state.validator_report_records)
    at_risk = {parse_id(name): int(epochs) for name, epochs in vars(view.at_risk_validators).items()}
    found = [_validator(one, reports, at_risk) for one in view.validators]
    registry = getattr(state, "model_registry", None)
    return ValidatorSet(
        epoch=int(state.epoch),
        total_stake=int(view.total_stake),
        validators=tuple(sorted(found, key=lambda one: (-one.voting_power, one.address))),
        pending=tuple(parse_id(one.metadata.soma_address) for one in view.pending_validators),
        model_reports=_reports(registry.model_report_records) if registry else {},
    )


def _validator(view: Any, reports: Mapping[Id32, frozenset[Id32]], at_risk: Mapping[Id32, int]) -> Validator:
    address = parse_id(view.metadata.soma_address)
    return Validator(
        address=address,
        voting_power=int(view.voting_power),
        stake=int(view.staking_pool.soma_balance),
        next_stake=int(view.next_epoch_stake),
        commission_bps=int(view.commission_rate),
        next_commission_bps=int(view.next_epoch_commission_rate),
        network_address=str(view.metadata.net_address),
        proxy_url=str(view.metadata.proxy_address) or None,
        reporters=reports.get(address, frozenset()),
        at_risk_epochs=at_risk.get(address),
    )


def _reports(records: Any) -> dict[Id32, frozenset[Id32]]:
    """Who reported, by who was reported."""
    return {parse_id(name): frozenset(map(parse_id, reporters)) for name, reporters in vars(records).items()}
