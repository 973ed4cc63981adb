"""What to do next: a pure function from a situation and a policy to actions.

No clock, no chain, no disk: it can be tested, replayed and simulated. The driver carries its actions out and asks
again whenever something has changed.
"""

from collections.abc import Iterable, Iterator
from math import inf

from quickstart.chain.ids import Id32
from quickstart.matching.values import Candidate
from quickstart.submission.actions import (
    Action,
    Arrange,
    CheckCopy,
    EndEpoch,
    MakeClaim,
    MakeReveal,
    Policy,
    Publish,
    ScoreShards,
    Situation,
    Submit,
)
from quickstart.submission.claims import Claim

EXHAUSTED = "exhausted"
SECONDS = "seconds"
MAX_HITS = "max_hits"
BOND_CAP = "bond_cap"
CHECKERS = 2
"""Public copies read again at a time: a few hundred an hour are enough, and a public host may limit reads."""

GAS_CAP = "gas_cap"
FUNDS = "funds"
UNPUBLISHABLE = "unpublishable"


def decide(situation: Situation, policy: Policy) -> tuple[Action, ...]:
    """The actions to start now, in this order: reveals, coins, submissions, their publishing, claims, checks, scoring.

    While the node or the bucket is left alone nothing is scored: GPUs cost money, and nothing could be sent.

    Within one call no target, window or coin is used twice; across calls the situation says what is in flight.
    """
    stopped = stopped_by(situation, policy)
    submissions, publications = ((), ()) if stopped else _submissions(situation, policy)
    actions: list[Action] = list(map(MakeReveal, situation.reveals))  # no cap holds these back
    fees = fees_left(situation, policy) - len(submissions) * situation.fee_per_submission
    if situation.coin_plan is not None and not situation.arranging and situation.plan_fee <= fees:
        actions.append(Arrange(situation.coin_plan))
        fees -= situation.plan_fee
    actions += [*submissions, *publications]
    lanes_left = policy.lanes - situation.submitting - situation.claiming - len(submissions)
    coins_left = max(situation.free_coins, situation.claim_coins) - len(submissions)
    claims = _affordable(situation.claims[: max(0, min(lanes_left, coins_left))], fees)
    actions.extend(map(MakeClaim, claims))
    actions.extend(map(CheckCopy, situation.unchecked[: max(0, CHECKERS - situation.checking)]))
    if policy.scoring and stopped != SECONDS and situation.publishers and not situation.network_away:
        actions.extend(map(ScoreShards, situation.unscored[: situation.scoring_room]))
    if not actions and not policy.patient and _idle(situation) and situation.settled:
        return (EndEpoch(stopped or _why_nothing_is_left(situation)),)
    return tuple(actions)


def stopped_by(situation: Situation, policy: Policy) -> str | None:
    """The cap that forbids further submissions in this epoch, if one does."""
    if policy.epoch_seconds is not None and situation.now - situation.epoch_started >= policy.epoch_seconds:
        return SECONDS
    if policy.max_hits_per_epoch is not None and situation.hits >= policy.max_hits_per_epoch:
        return MAX_HITS
    if not situation.fees_in_flight and fees_left(situation, policy) < max(1, situation.fee_per_submission):
        return GAS_CAP
    if policy.bond_cap is not None:
        next_bond = situation.bond_outstanding + situation.bond_per_submission
        if situation.submitting == 0 and next_bond > policy.bond_cap:
            return BOND_CAP
    return None


def fees_left(situation: Situation, policy: Policy) -> float:
    """Shannons of fees that may still be started in this epoch; infinite without a cap."""
    if policy.gas_cap is None:
        return inf
    return policy.gas_cap - situation.fees - situation.fees_in_flight


def _affordable(claims: Iterable[Claim], fees: float) -> Iterator[Claim]:
    """The first claims whose fees together fit."""
    for claim in claims:
        fees -= claim.fee
        if fees < 0:
            return
        yield claim


def _submissions(situation: Situation, policy: Policy) -> tuple[tuple[Submit, ...], tuple[Publish, ...]]:
    """Submissions that fit lanes, coins and caps, and the publishing that waits before others can be made."""
    room = min(
        policy.lanes - situation.submitting - situation.claiming,
        situation.free_coins,
        _hits_left(situation, policy),
        _bonds_left(situation, policy),
        _submissions_for(fees_left(situation, policy), situation, policy),
    )
    ready: list[Submit] = []
    wanted: dict[Id32, Publish] = {}
    for target_id, candidates in situation.candidates.items():
        is_open = target_id in situation.board.targets
        if target_id in situation.taken or not (is_open or target_id in situation.expected):
            continue
        usable = [c for c in candidates if c.window_checksum not in situation.unpublishable]
        chosen = _published_first(usable, situation)
        if chosen is None:
            continue
        if chosen.window_checksum in situation.published:
            if is_open:
                ready.append(Submit(chosen))
        elif chosen.window_checksum not in situation.publishing:
            wanted.setdefault(chosen.window_checksum, Publish(chosen.row, chosen.window_checksum))
    free_publishers = max(0, min(policy.publishers, situation.publishers) - len(situation.publishing))
    return tuple(ready[: max(0, room)]), tuple(wanted.values())[:free_publishers]


def _published_first(candidates: list[Candidate], situation: Situation) -> Candidate | None:
    """The best candidate whose window is already public, else the best one: speed decides who gets a target."""
    for candidate in candidates:
        if candidate.window_checksum in situation.published:
            return candidate
    return candidates[0] if candidates else None


def _why_nothing_is_left(situation: Situation) -> str:
    """Whether the board is exhausted, or coins or public copies are what is missing."""
    left = [
        candidates
        for target_id, candidates in situation.candidates.items()
        if candidates and target_id in situation.board.targets and target_id not in situation.taken
    ]
    if not left:
        return GAS_CAP if situation.claims and situation.claim_coins else EXHAUSTED
    return FUNDS if situation.free_coins == 0 else UNPUBLISHABLE


def _hits_left(situation: Situation, policy: Policy) -> int:
    if policy.max_hits_per_epoch is None:
        return policy.lanes
    return policy.max_hits_per_epoch - situation.hits - situation.submitting


def _bonds_left(situation: Situation, policy: Policy) -> int:
    if policy.bond_cap is None or situation.bond_per_submission == 0:
        return policy.lanes
    in_flight = situation.bond_outstanding + situation.submitting * situation.bond_per_submission
    return max(0, policy.bond_cap - in_flight) // situation.bond_per_submission


def _submissions_for(fees: float, situation: Situation, policy: Policy) -> int:
    """Submissions that fees pay for, `policy.lanes` at most."""
    return int(min(policy.lanes, fees // max(1, situation.fee_per_submission)))


def _idle(situation: Situation) -> bool:
    """Nothing is under way, and nothing left alone for a while, that could change what there is to do."""
    under_way = (
        situation.submitting
        or situation.claiming
        or situation.publishing
        or situation.scoring
        or situation.arranging
        or situation.resting
        or situation.checking
        or situation.reveals_open
    )
    return not under_way and situation.publishers > 0 and not situation.network_away
