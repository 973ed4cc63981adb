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
    """Our own fills, then expired targets of anybody that pay more than their fee; never one in `taken`."""
    own: list[Claim] = []
    expired: list[Claim] = []
    for target in claimable:
        if target.target_id in taken:
            continue
        shares = ClaimShares.of(target.reward, target.bond, parameters)
        fee = claim_fee(target.reward, parameters, expired=target.submitter is None)
        if target.submitter == owner:
            own.append(Claim(target.target_id, fee, _details(shares, ours=True, expired=False)))
        elif target.submitter is None and shares.claimer > fee:
            expired.append(Claim(target.target_id, fee, _details(shares, ours=False, expired=True)))
    return tuple(own + expired)


def _details(shares: ClaimShares, *, ours: bool, expired: bool) -> dict[str, Any]:
    return {
        "submitter_share": shares.submitter,
        "model_share": shares.model_owner,
        "incentive": shares.claimer,
        "bond": shares.bond,
        "ours": ours,
        "expired": expired,
    }
