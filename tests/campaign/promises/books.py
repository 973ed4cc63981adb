"""Promise 13: the books balance."""

import random
from collections import Counter

from quickstart.chain.transactions import ClaimRewards, ReportSubmission, TransactionData
from quickstart.devnet.genesis import RIVAL, VALIDATOR
from quickstart.devnet.keys import DevnetKey, devnet_key
from quickstart.ledger.records import FillState, IntentKind, IntentStatus
from quickstart.submission.actions import Policy
from quickstart.submission.session import claims_only
from tests.campaign.registry import Findings, Promise
from tests.campaign.simulation import SOMA, Simulation, conflicts

EPOCHS = 3
POLICY = Policy(lanes=4, max_hits_per_epoch=8, publishers=4)
EVERYTHING = ("won", "lost", "expired and claimed", "claimed by others", "slashed", "splits", "merges")


def books_balance(scale: int, seed: int) -> Findings:
    """`scale` wallets through three epochs of wins and losses; then two epochs of claims, until nothing is left."""
    happened: Counter[str] = Counter()
    off: list[str] = []
    for number in range(scale):
        draw = random.Random(seed * 100_003 + number)
        world = Simulation(POLICY, coins=draw.choice([(SOMA,), (40_000,) * 8, (300_000,) * 3]), epochs=1)
        for epoch in range(EPOCHS + 2):
            world.node.steal = draw.randint(1, 3) if epoch < EPOCHS else 0
            off += [f"epoch {epoch}: {what}" for what in _run_epoch(world, POLICY if epoch < EPOCHS else None)]
            _report_one(world, draw)
            world.node.end_epoch()
            _others_act(world, draw)
        off += [f"at the end: {what}" for what in _run_epoch(world, None)]
        happened += _counts(world)
        world.close()
    off += [f"nothing was {what}" for what in EVERYTHING if scale >= 3 and not happened[what]]
    figures = {"difference in shannons": 0 if not off else off[0], **{what: happened[what] for what in EVERYTHING}}
    done = "three epochs of wins, losses, expiries, slashed fills, splits and merges, then all claimed"
    return {"done": done, "times": scale, "lost": len(off), "figures": figures}


def _run_epoch(world: Simulation, policy: Policy | None) -> list[str]:
    """Works to the end of an epoch, compares once more as a session does, and says what differs from the chain."""
    for step in (policy, claims_only(POLICY)):
        if step is not None:
            world.start(step)
            world.settle(600.0)
            world.pass_time(1.0)
            if world.ended_by is not None:
                return [f"a run ended with {world.ended_by!r}"]
    return [*world.differences(), *conflicts(world.node, world.owner)]


def _report_one(world: Simulation, draw: random.Random) -> None:
    """A validator finds one fill of the epoch before to be false."""
    state = world.node.state
    in_audit = [i for i, t in state.targets() if t.submitter == world.owner and t.fill_epoch + 1 == state.epoch]
    if in_audit:
        _act(world, devnet_key(VALIDATOR), ReportSubmission(draw.choice(sorted(in_audit))))


def _others_act(world: Simulation, draw: random.Random) -> None:
    """Somebody claims a fill of ours before we do; small coins arrive."""
    state, rival = world.node.state, devnet_key(RIVAL)
    due = [i for i, t in state.targets() if t.submitter == world.owner and t.fill_epoch + 1 < state.epoch]
    if due and draw.random() < 0.5:
        world.node.give(rival.address, SOMA)
        _act(world, rival, ClaimRewards(draw.choice(sorted(due))))
    for _ in range(draw.randint(0, 4)):
        world.node.give(world.owner, draw.choice((500, 30_000, 45_000)))
    world.pass_time(1.0)


def _act(world: Simulation, key: DevnetKey, kind: ReportSubmission | ClaimRewards) -> None:
    coin = world.node.state.coins(key.address)[-1].ref
    world.node.act(key, TransactionData(kind, key.address, (coin,)))


def _counts(world: Simulation) -> Counter[str]:
    ledger = world.books()
    fills = ledger.fill_counts()
    ours = {fill.target_id for fill in ledger.fills()}
    claims = [
        row["subject"] for row in ledger._rows("SELECT subject FROM intents WHERE kind = 'claim' AND status = 'landed'")
    ]
    landed = {kind: ledger.counts(kind).get(IntentStatus.LANDED, 0) for kind in IntentKind}
    own_claims = sum(subject in ours for subject in claims)
    counts = Counter(
        {
            "won": len(ours),
            "lost": ledger.counts(IntentKind.SUBMIT).get(IntentStatus.FAILED, 0),
            "expired and claimed": len(claims) - own_claims,
            "claimed by others": fills.get(FillState.CLAIMED, 0) + fills.get(FillState.SLASHED, 0) - own_claims,
            "slashed": fills.get(FillState.SLASHED, 0),
            "splits": landed[IntentKind.SPLIT],
            "merges": landed[IntentKind.MERGE],
        }
    )
    ledger.close()
    return counts


PROMISES = (Promise(13, "the books balance", books_balance, short=3, long=100),)
