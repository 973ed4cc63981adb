"""The loop's decisions: what it may never do, and that it always gets on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from quickstart.chain.board import Board, Epoch, OpenTarget
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import ObjectRef
from quickstart.chain.treasury import Split
from quickstart.ledger.records import Published
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
    Work,
)
from quickstart.submission.claims import Claim
from quickstart.submission.loop import (
    BOND_CAP,
    CHECKERS,
    EXHAUSTED,
    FUNDS,
    GAS_CAP,
    MAX_HITS,
    SECONDS,
    UNPUBLISHABLE,
    decide,
)
from quickstart.trainer.reveals import Reveal

BOND = 66_560
FEE = 2_200
EPOCH = Epoch(5, 0, PARAMETERS[5], 1.05, 12_685_185)
PLAN = Split(Coin(ObjectRef(b"c" * 32, 1, b"d" * 32), 10**9), (70_000,))


def target_id(number: int) -> Id32:
    return b"target %d" % number


def window(number: int) -> Id32:
    return b"window %d" % number


def board(*numbers: int) -> Board:
    targets = [OpenTarget(target_id(n), np.zeros(1, np.float32), (b"m",), 1.05, 1, 5) for n in numbers]
    return Board(EPOCH, {}, {target.target_id: target for target in targets})


def candidate(target: int, of_window: int) -> Candidate:
    return Candidate(target_id(target), of_window, window(of_window), 0, 0.9, 3.0, 0.1, 0.1, 2.0, needs_exact=False)


def candidates(choices: Mapping[int, list[int]]) -> dict[Id32, tuple[Candidate, ...]]:
    """Per target its windows, best first."""
    return {target_id(t): tuple(candidate(t, w) for w in windows) for t, windows in choices.items()}


def claim(number: int) -> Claim:
    return Claim(b"claim %d" % number, 9_000, {})


def copy(number: int) -> Published:
    return Published(window(number), "https://host/w", 1024, 0)


def work(number: int) -> Work:
    return Work(f"shard {number}", b"m")


NOTHING_TO_DO = Situation(
    now=100.0,
    epoch_started=100.0,
    board=board(),
    candidates={},
    taken=frozenset(),
    submitting=0,
    published=frozenset(),
    publishing=frozenset(),
    unpublishable=frozenset(),
    free_coins=8,
    coin_plan=None,
    arranging=False,
    hits=0,
    bond_outstanding=0,
    bond_per_submission=BOND,
    fees=0,
    unscored=(),
    scoring=0,
    scoring_room=4,
    claims=(),
    claiming=0,
    settled=True,
    claim_coins=8,
    fee_per_submission=FEE,
    plan_fee=3_000,
)

small = st.integers(0, 5)
target_sets = st.frozensets(st.integers(0, 6))
window_sets = st.frozensets(st.integers(0, 5).map(window), max_size=5)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Every second one with plenty to send, so that only lanes, coins and caps hold it back."""
    if draw(st.booleans()):
        return replace(
            NOTHING_TO_DO,
            board=board(*range(7)),
            candidates=candidates({n: [n % 6] for n in range(7)}),
            published=frozenset(map(window, range(6))),
            submitting=draw(st.integers(0, 3)),
            claiming=draw(st.integers(0, 2)),
            free_coins=draw(st.integers(0, 8)),
            hits=draw(small),
            bond_outstanding=draw(small) * BOND,
            fees=draw(st.integers(0, 5)) * FEE,
            fees_in_flight=draw(st.integers(0, 3)) * FEE,
            claims=tuple(map(claim, range(draw(small)))),
        )
    free_coins = draw(small)
    return Situation(
        now=100.0 + draw(st.integers(0, 20)),
        epoch_started=100.0,
        board=board(*draw(target_sets)),
        candidates=candidates(
            draw(st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 5), unique=True, max_size=3)))
        ),
        taken=frozenset(map(target_id, draw(target_sets))),
        submitting=draw(small),
        published=draw(window_sets),
        publishing=draw(window_sets),
        unpublishable=draw(window_sets),
        free_coins=free_coins,
        coin_plan=draw(st.sampled_from([None, PLAN])),
        arranging=draw(st.booleans()),
        hits=draw(small),
        bond_outstanding=draw(small) * BOND,
        bond_per_submission=BOND,
        fees=draw(st.integers(0, 5)) * 2_200,
        unscored=tuple(map(work, range(draw(small)))),
        scoring=draw(small),
        scoring_room=draw(small),
        claims=tuple(map(claim, range(draw(small)))),
        claiming=draw(small),
        settled=draw(st.booleans()),
        claim_coins=free_coins + draw(small),
        publishers=draw(st.sampled_from([8, 8, 1, 0])),
        unchecked=tuple(map(copy, range(draw(small)))),
        checking=draw(st.integers(0, 2)),
        network_away=draw(st.sampled_from([False, False, True])),
        fees_in_flight=draw(st.integers(0, 3)) * FEE,
        fee_per_submission=FEE,
        plan_fee=draw(st.integers(0, 8_000)),
    )


def optional(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), values)


policies = st.builds(
    Policy,
    lanes=st.integers(1, 8),
    max_hits_per_epoch=optional(st.integers(0, 8)),
    epoch_seconds=optional(st.integers(0, 20)),
    bond_cap=optional(st.integers(0, 10 * BOND)),
    gas_cap=optional(st.integers(0, 40_000)),
    publishers=st.integers(1, 4),
    scoring=st.booleans(),
)


def of_type(actions: tuple[Action, ...], kind: type) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


many = settings(deadline=None, max_examples=150)


@given(situations(), policies)
@many
def test_lanes_and_coins_are_never_promised_twice(situation: Situation, policy: Policy) -> None:
    actions = decide(situation, policy)
    submissions, claims = of_type(actions, Submit), of_type(actions, MakeClaim)
    in_flight = situation.submitting + situation.claiming
    if submissions or claims:
        assert in_flight + len(submissions) + len(claims) <= policy.lanes
    assert len(submissions) <= situation.free_coins
    assert len(submissions) + len(claims) <= max(situation.free_coins, situation.claim_coins)
    assert [action.claim for action in claims] == list(situation.claims[: len(claims)])  # type: ignore[attr-defined]


@given(situations(), policies)
@many
def test_only_open_untaken_targets_with_public_bytes_are_submitted_to(situation: Situation, policy: Policy) -> None:
    chosen = [action.candidate for action in decide(situation, policy) if isinstance(action, Submit)]
    assert len({c.target_id for c in chosen}) == len(chosen)
    for one in chosen:
        assert one in situation.candidates[one.target_id]
        assert one.target_id in situation.board.targets
        assert one.target_id not in situation.taken
        assert one.window_checksum in situation.published
        assert one.window_checksum not in situation.unpublishable
        better = situation.candidates[one.target_id][: situation.candidates[one.target_id].index(one)]
        assert not {c.window_checksum for c in better} & (situation.published - situation.unpublishable)


@given(situations(), policies)
@many
def test_no_cap_is_passed(situation: Situation, policy: Policy) -> None:
    actions = decide(situation, policy)
    new = len(of_type(actions, Submit))
    costs = new * FEE + len(of_type(actions, Arrange)) * situation.plan_fee
    costs += sum(action.claim.fee for action in actions if isinstance(action, MakeClaim))
    if policy.gas_cap is not None and costs:
        assert situation.fees + situation.fees_in_flight + costs <= policy.gas_cap
    if not new:
        return
    all_of_them = situation.submitting + new
    if policy.max_hits_per_epoch is not None:
        assert situation.hits + all_of_them <= policy.max_hits_per_epoch
    if policy.bond_cap is not None:
        assert situation.bond_outstanding + all_of_them * BOND <= policy.bond_cap
    if policy.epoch_seconds is not None:
        assert situation.now - situation.epoch_started < policy.epoch_seconds


@given(situations(), policies)
@many
def test_a_window_is_published_once_and_only_if_it_may_help(situation: Situation, policy: Policy) -> None:
    asked = [action for action in decide(situation, policy) if isinstance(action, Publish)]
    windows = [action.window_checksum for action in asked]
    assert len(set(windows)) == len(windows)
    assert not set(windows) & {*situation.published, *situation.publishing, *situation.unpublishable}
    if asked:
        assert len(asked) + len(situation.publishing) <= min(policy.publishers, situation.publishers)
    helped = {
        c.window_checksum
        for target, choices in situation.candidates.items()
        if target in situation.board.targets and target not in situation.taken
        for c in choices
    }
    assert set(windows) <= helped
    assert all(window(action.row) == action.window_checksum for action in asked)


@given(situations(), policies)
@many
def test_scoring_fills_the_room_there_is(situation: Situation, policy: Policy) -> None:
    asked = [action.work for action in decide(situation, policy) if isinstance(action, ScoreShards)]
    out_of_time = policy.epoch_seconds is not None and situation.now - 100.0 >= policy.epoch_seconds
    left_alone = situation.network_away or not situation.publishers  # no GPU is paid for meanwhile
    expected = 0 if not policy.scoring or out_of_time or left_alone else situation.scoring_room
    assert asked == list(situation.unscored[:expected])


@given(situations(), policies)
@many
def test_an_epoch_ends_only_when_nothing_is_under_way_or_left(situation: Situation, policy: Policy) -> None:
    actions = decide(situation, policy)
    under_way = (
        situation.submitting
        or situation.claiming
        or situation.publishing
        or situation.scoring
        or situation.arranging
        or situation.checking
        or situation.network_away
        or not situation.publishers
    )
    if of_type(actions, EndEpoch):
        assert len(actions) == 1
        assert not under_way
        assert situation.settled
    if not actions:
        assert under_way or not situation.settled  # or nothing would ever happen again


@given(situations(), policies)
@many
def test_coins_are_arranged_one_plan_at_a_time(situation: Situation, policy: Policy) -> None:
    arranged = of_type(decide(situation, policy), Arrange)
    if policy.gas_cap is None:
        assert len(arranged) == (situation.coin_plan is not None and not situation.arranging)
    assert len(arranged) <= (situation.coin_plan is not None and not situation.arranging)


@given(situations(), policies)
@many
def test_public_copies_are_checked_a_few_at_a_time_whatever_else_happens(s: Situation, policy: Policy) -> None:
    checked = [action.copy for action in decide(s, policy) if isinstance(action, CheckCopy)]
    assert checked == list(s.unchecked[: max(0, CHECKERS - s.checking)])


@given(situations())
@many
def test_what_can_be_sent_is_sent(situation: Situation) -> None:
    """Without caps: a lane, a coin and public bytes for an open target are enough."""
    ready = any(
        target in situation.board.targets
        and target not in situation.taken
        and {c.window_checksum for c in choices} & (situation.published - situation.unpublishable)
        for target, choices in situation.candidates.items()
    )
    policy = Policy(lanes=situation.submitting + situation.claiming + 1, max_hits_per_epoch=None)
    sent = of_type(decide(situation, policy), Submit)
    assert bool(sent) == (ready and situation.free_coins > 0)


# -- a run of the loop in a world that does at once what it is told


@dataclass
class World:
    """Everything succeeds between two decisions."""

    situation: Situation
    filled: list[Id32] = field(default_factory=list)
    claimed: list[Id32] = field(default_factory=list)

    def carry_out(self, actions: tuple[Action, ...]) -> None:
        now = self.situation
        for action in actions:
            if isinstance(action, Publish):
                now = replace(now, published=frozenset(now.published) | {action.window_checksum})
            elif isinstance(action, Submit):
                self.filled.append(action.candidate.target_id)
                taken = frozenset(now.taken) | {action.candidate.target_id}
                now = replace(now, taken=taken, hits=now.hits + 1, bond_outstanding=now.bond_outstanding + BOND)
                now = replace(now, fees=now.fees + FEE)
            elif isinstance(action, MakeClaim):
                self.claimed.append(action.claim.target_id)
                now = replace(now, claims=tuple(c for c in now.claims if c != action.claim))
                now = replace(now, fees=now.fees + action.claim.fee)
            elif isinstance(action, ScoreShards):
                now = replace(now, unscored=tuple(w for w in now.unscored if w != action.work))
            elif isinstance(action, CheckCopy):
                now = replace(now, unchecked=tuple(c for c in now.unchecked if c != action.copy))
            elif isinstance(action, Arrange):
                now = replace(now, coin_plan=None, fees=now.fees + now.plan_fee)
        self.situation = replace(now, now=now.now + 1)


@given(situations(), policies)
@settings(deadline=None, max_examples=100)
def test_a_run_comes_to_an_end_and_leaves_nothing_it_could_have_done(situation: Situation, policy: Policy) -> None:
    idle = replace(
        situation,
        submitting=0,
        claiming=0,
        scoring=0,
        arranging=False,
        publishing=frozenset(),
        settled=True,
        scoring_room=2,
        free_coins=situation.free_coins + 1,
        claim_coins=situation.claim_coins + 1,
        checking=0,
        publishers=8,
        network_away=False,
        fees_in_flight=0,
    )
    world = World(idle)
    for _ in range(60):
        actions = decide(world.situation, policy)
        assert actions
        if isinstance(actions[0], EndEpoch):
            break
        world.carry_out(actions)
    else:
        raise AssertionError("no end")
    assert len(set(world.filled)) == len(world.filled)
    assert world.claimed == [c.target_id for c in situation.claims][: len(world.claimed)]
    if policy.gas_cap is None:
        assert len(world.claimed) == len(situation.claims)
    else:
        assert world.situation.fees <= max(policy.gas_cap, situation.fees)
    possible = {
        target
        for target, choices in situation.candidates.items()
        if target in situation.board.targets and target not in situation.taken
        if {c.window_checksum for c in choices} - situation.unpublishable
    }
    assert set(world.filled) <= possible
    if actions[0].reason == EXHAUSTED:
        assert set(world.filled) == possible
    if policy.max_hits_per_epoch is None and policy.epoch_seconds is policy.gas_cap is policy.bond_cap is None:
        assert set(world.filled) == possible


# -- examples


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({}, Policy(), EXHAUSTED),
        ({"hits": 150}, Policy(), MAX_HITS),
        ({"now": 130.0}, Policy(epoch_seconds=30), SECONDS),
        ({"fees": 5_000}, Policy(gas_cap=5_000), GAS_CAP),
        ({"fees": 2_801}, Policy(gas_cap=5_000), GAS_CAP),
        ({"claims": (claim(1),)}, Policy(gas_cap=8_999), GAS_CAP),
        ({"bond_outstanding": 2 * BOND}, Policy(bond_cap=3 * BOND - 1), BOND_CAP),
        ({"free_coins": 0, "claim_coins": 0}, Policy(), EXHAUSTED),
    ],
)
def test_why_an_epoch_ends_with_nothing_open(changes: dict[str, object], policy: Policy, reason: str) -> None:
    assert decide(replace(NOTHING_TO_DO, **changes), policy) == (EndEpoch(reason),)  # type: ignore[arg-type]


def test_why_an_epoch_ends_with_something_open() -> None:
    left = replace(NOTHING_TO_DO, board=board(1), candidates=candidates({1: [2]}))
    assert decide(left, Policy()) == (Publish(2, window(2)),)
    broke = replace(left, free_coins=0, claim_coins=0, published=frozenset({window(2)}))
    assert decide(broke, Policy()) == (EndEpoch(FUNDS),)
    unreadable = replace(left, unpublishable=frozenset({window(2)}))
    assert decide(unreadable, Policy()) == (EndEpoch(UNPUBLISHABLE),)
    assert decide(replace(left, taken=frozenset({target_id(1)})), Policy()) == (EndEpoch(EXHAUSTED),)


def test_publishing_comes_before_submitting_and_a_public_second_best_before_waiting() -> None:
    open_one = replace(NOTHING_TO_DO, board=board(1), candidates=candidates({1: [2, 3]}))
    assert decide(open_one, Policy()) == (Publish(2, window(2)),)
    assert decide(replace(open_one, publishing=frozenset({window(2)})), Policy()) == ()
    second = replace(open_one, published=frozenset({window(3)}))
    assert decide(second, Policy()) == (Submit(candidate(1, 3)),)
    both = replace(open_one, published=frozenset({window(2), window(3)}))
    assert decide(both, Policy()) == (Submit(candidate(1, 2)),)


@pytest.mark.parametrize(
    ("changes", "policy", "sent"),
    [
        ({}, Policy(lanes=8, max_hits_per_epoch=None), 5),
        ({"submitting": 2}, Policy(lanes=4), 2),
        ({"claiming": 3}, Policy(lanes=4), 1),
        ({"free_coins": 1}, Policy(), 1),
        ({"hits": 1, "submitting": 2}, Policy(max_hits_per_epoch=4), 1),
        ({"bond_outstanding": BOND, "submitting": 2}, Policy(bond_cap=4 * BOND), 1),
        ({"bond_outstanding": BOND, "submitting": 2}, Policy(bond_cap=3 * BOND), 0),
        ({"fees": 4_999}, Policy(gas_cap=5_000), 0),
        ({"fees": 600}, Policy(gas_cap=5_000), 2),
        ({"fees": 600, "submitting": 1, "fees_in_flight": FEE}, Policy(gas_cap=5_000), 1),
    ],
)
def test_what_is_in_flight_counts_against_every_limit(changes: dict[str, object], policy: Policy, sent: int) -> None:
    ready = replace(
        NOTHING_TO_DO,
        board=board(*range(5)),
        candidates=candidates({n: [n] for n in range(5)}),
        published=frozenset(map(window, range(5))),
    )
    actions = decide(replace(ready, **changes), policy)  # type: ignore[arg-type]
    assert len(of_type(actions, Submit)) == sent


def test_one_window_may_serve_many_targets() -> None:
    many_targets = replace(
        NOTHING_TO_DO,
        board=board(1, 2, 3),
        candidates=candidates({1: [0], 2: [0], 3: [0]}),
        published=frozenset({window(0)}),
    )
    assert [type(a) for a in decide(many_targets, Policy())] == [Submit] * 3
    assert len(decide(replace(many_targets, published=frozenset()), Policy())) == 1


def test_a_cap_on_submissions_stops_no_claim() -> None:
    due = replace(NOTHING_TO_DO, hits=150, claims=(claim(1), claim(2)))
    assert decide(due, Policy()) == (MakeClaim(claim(1)), MakeClaim(claim(2)))


def test_claims_are_made_also_when_no_coin_pays_for_a_bond() -> None:
    """All is bonded: the small change that is left must suffice to bring the bonds home."""
    poor = replace(NOTHING_TO_DO, free_coins=0, claim_coins=1, claims=(claim(1), claim(2)))
    assert decide(poor, Policy()) == (MakeClaim(claim(1)),)


def test_nothing_is_scored_for_a_claim_alone() -> None:
    assert decide(replace(NOTHING_TO_DO, unscored=(work(1),)), Policy(scoring=False)) == (EndEpoch(EXHAUSTED),)


def test_work_under_way_is_waited_for() -> None:
    for name, value in zip(
        ("submitting", "claiming", "scoring", "arranging", "publishing", "resting"),
        (1, 1, 1, True, frozenset({window(1)}), 1),
        strict=True,
    ):
        assert decide(replace(NOTHING_TO_DO, **{name: value}), Policy()) == ()  # type: ignore[arg-type]
    assert decide(replace(NOTHING_TO_DO, settled=False), Policy()) == ()


def test_more_lanes_finish_in_fewer_rounds() -> None:
    start = replace(
        NOTHING_TO_DO,
        board=board(*range(8)),
        candidates=candidates({n: [n % 6] for n in range(8)}),
        published=frozenset(map(window, range(6))),
    )
    rounds = {}
    for lanes in (1, 4, 8):
        world = World(start)
        rounds[lanes] = 0
        while not isinstance((actions := decide(world.situation, Policy(lanes=lanes)))[0], EndEpoch):
            world.carry_out(actions)
            rounds[lanes] += 1
    assert rounds == {1: 8, 4: 2, 8: 1}


def test_reveals_come_first_and_no_cap_holds_them_back() -> None:
    reveal = Reveal(b"m" * 32, b"k" * 32, commit_epoch=6, first=True)
    due = replace(NOTHING_TO_DO, reveals=(reveal,), reveals_open=1, claims=(claim(1),))
    capped = Policy(max_hits_per_epoch=0, gas_cap=0, epoch_seconds=0.0, scoring=False)
    assert decide(due, capped)[0] == MakeReveal(reveal)


def test_an_epoch_does_not_end_before_its_reveals() -> None:
    waiting = replace(NOTHING_TO_DO, reveals_open=1)
    assert decide(waiting, Policy()) == ()
    assert decide(replace(waiting, reveals_open=0), Policy()) == (EndEpoch("exhausted"),)


def test_for_a_target_that_is_only_expected_windows_are_published_and_nothing_is_sent() -> None:
    situation = replace(
        NOTHING_TO_DO,
        board=board(1),
        candidates=candidates({1: [1], 2: [2], 3: [3], 4: [4]}),
        expected=frozenset({target_id(2), target_id(3)}),
        published=frozenset({window(1), window(2)}),
    )
    assert decide(situation, Policy()) == (Submit(candidate(1, 1)), Publish(3, window(3)))
