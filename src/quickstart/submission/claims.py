"""What to claim, and what it will pay: pure."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

from quickstart.chain.client import ClaimableTarget
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import Parameters
from quickstart.ledger.accounts import ClaimShares, claim_fee


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim worth making. `fee`: what its gas coin must hold; `details`: for the books."""

    target_id: Id32
    fee: int
    details: dict[str, Any]


def worth_claiming(
    claimable: Iterable[ClaimableTarget], owner: Id32, taken: Set[Id32], parameters: Parameters
) -> tuple[Claim, ...]:
    """Our own fills, then what others left lying, fills and expired targets alike, where the claimer's incentive is
    more than the fee (§11.3); never one in `taken`. A claim of somebody else's fill pays them their share.
    """
    own: list[Claim] = []
    others: list[Claim] = []
    for target in claimable:
        if target.target_id in taken:
            continue
        expired, ours = target.submitter is None, target.submitter == owner
        shares = ClaimShares.of(target.reward, target.bond, parameters)
        claim = Claim(
            target.target_id,
            claim_fee(target.reward, parameters, expired=expired),
            _details(shares, ours=ours, expired=expired),
        )
        if ours:
            own.append(claim)
        elif shares.claimer > claim.fee:
            others.append(claim)
    return tuple(own + others)


def _details(shares: ClaimShares, *, ours: bool, expired: bool) -> dict[str, Any]:
    return {
        "submitter_share": shares.submitter,
        "model_share": shares.model_owner,
        "incentive": shares.claimer,
        "bond": shares.bond,
        "ours": ours,
        "expired": expired,
    }
