"""What a run would send now, with its bond, cost and expected reward: pure, and nothing here could send it."""

from collections.abc import Iterable, Mapping
from typing import Any

from quickstart.chain.board import Board
from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.data.window import WINDOW_BYTES
from quickstart.ledger.accounts import ClaimShares
from quickstart.matching.values import Candidate
from quickstart.submission.actions import Policy
from quickstart.submission.claims import Claim


def planned_submissions(
    candidates: Mapping[Id32, tuple[Candidate, ...]],
    board: Board,
    owner: Id32,
    taken: Iterable[Id32],
    bond_outstanding: int,
    policy: Policy,
) -> list[dict[str, Any]]:
    """The best candidate of every open target that is not `taken`, as far as hits and bonds allow; shannons.

    `expected_reward_shannons`: the submitter's share, and the model owner's where a model of ours wins.
    """
    parameters = board.epoch.parameters
    bond, done = parameters.bond(WINDOW_BYTES), frozenset(taken)
    most = len(candidates)
    if policy.max_hits_per_epoch is not None:
        most = min(most, policy.max_hits_per_epoch)
    if policy.bond_cap is not None and bond:
        most = min(most, max(0, policy.bond_cap - bond_outstanding) // bond)
    planned: list[dict[str, Any]] = []
    for target_id, choices in candidates.items():
        target = board.targets.get(target_id)
        if target is None or target_id in done or not choices or len(planned) == most:
            continue
        best = choices[0]
        model_id = target.model_ids[best.model_index]
        shares = ClaimShares.of(target.reward, bond, parameters)
        ours = model_id in board.models and board.models[model_id].owner == owner
        planned.append(
            {
                "target": format_id(target_id),
                "window": format_digest(best.window_checksum),
                "model": format_id(model_id),
                "distance": best.distance,
                "bond_shannons": bond,
                "fee_shannons": parameters.submission_fee,
                "expected_reward_shannons": shares.submitter + (shares.model_owner if ours else 0),
            }
        )
    return planned


def planned_claims(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """What each claim would cost, bring home and pay, in shannons."""
    planned = []
    for claim in claims:
        ours = claim.details["ours"]
        planned.append(
            {
                "target": format_id(claim.target_id),
                "ours": ours,
                "fee_shannons": claim.fee,
                "bond_returned_shannons": claim.details["bond"] if ours else 0,
                "expected_reward_shannons": claim.details["incentive"]
                + (claim.details["submitter_share"] if ours else 0),
            }
        )
    return planned


def totals(planned: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sums of what is planned, in shannons."""
    names = ("bond_shannons", "bond_returned_shannons", "fee_shannons", "expected_reward_shannons")
    rows = list(planned)
    return {name: sum(int(row.get(name, 0)) for row in rows) for name in names}
