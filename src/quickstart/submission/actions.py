"""What the loop can ask for, and what it decides from: plain values."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from quickstart.bank.shards import ShardId
from quickstart.chain.board import Board
from quickstart.chain.ids import Id32
from quickstart.chain.treasury import Plan
from quickstart.ledger.records import Published
from quickstart.matching.values import Candidate
from quickstart.submission.claims import Claim
from quickstart.trainer.reveals import Reveal


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits a person sets. Money in shannons, times in seconds; None is no limit.

    `bond_cap`: bonds outstanding; `gas_cap`: fees per epoch (a day). `publishers`: uploads at a time. `scoring`:
    whether to score at all (a claim alone does not). `patient`: an epoch with nothing left to do is not over; others
    fill targets, and new ones open.
    """

    lanes: int = 8
    max_hits_per_epoch: int | None = 150
    epoch_seconds: float | None = None
    bond_cap: int | None = None
    gas_cap: int | None = None
    publishers: int = 8
    scoring: bool = True
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One unit of scoring: a shard, or some windows of it, with one model."""

    shard: ShardId
    model_id: Id32
    rows: tuple[int, ...] | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the loop decides from, at `now` (seconds on any clock).

    `candidates`: per open or expected target what is safe to send, best first, the targets in the order to take them.
    `expected`: targets that are not open yet: publish for them, send nothing. `taken`: targets with an intent of ours,
    in flight, landed or failed. `published`: windows whose public copy was read back; `publishing`: on their way;
    `unpublishable`: given up for this run. `free_coins`: coins that pay for one submission; `claim_coins`: coins that
    pay for any of `claims`, which costs less: bonds that are due come home also when nothing is left for a new one.
    `hits`: landed submissions of this epoch; `fees`: shannons paid in it. `unscored`: scoring to do, the most useful
    first; `scoring_room`: requests the executor still takes. `settled`: the board was read after everything of ours
    had become visible, so that what it shows as open is open. `publishers`: uploads that the bucket takes at a time
    now, 0 while it is left alone. `unchecked`: public copies to read again; `checking`: those being read.
    `network_away`: the node fails, and is left alone. `fees_in_flight`: of what is under way;
    `plan_fee`: of `coin_plan`. `resting`: refused transactions whose coins come back in a few seconds. `reveals`: of
    our models, to attempt now; `reveals_open`: those that this epoch must still see.
    """

    now: float
    epoch_started: float
    board: Board
    candidates: Mapping[Id32, tuple[Candidate, ...]]
    taken: Set[Id32]
    submitting: int
    published: Set[Id32]
    publishing: Set[Id32]
    unpublishable: Set[Id32]
    free_coins: int
    coin_plan: Plan | None
    arranging: bool
    hits: int
    bond_outstanding: int
    bond_per_submission: int
    fees: int
    unscored: tuple[Work, ...]
    scoring: int
    scoring_room: int
    claims: tuple[Claim, ...]
    claiming: int
    settled: bool
    claim_coins: int = 0
    publishers: int = 8
    unchecked: tuple[Published, ...] = ()
    checking: int = 0
    network_away: bool = False
    fees_in_flight: int = 0
    fee_per_submission: int = 0
    plan_fee: int = 0
    expected: Set[Id32] = frozenset()
    reveals: tuple[Reveal, ...] = ()
    reveals_open: int = 0
    resting: int = 0


@dataclass(frozen=True, slots=True)
class ScoreShards:
    work: Work


@dataclass(frozen=True, slots=True)
class Publish:
    """Upload a window and read its public copy back."""

    row: int
    window_checksum: Id32


@dataclass(frozen=True, slots=True)
class CheckCopy:
    """Read a public copy again that a bond rests on."""

    copy: Published


@dataclass(frozen=True, slots=True)
class Submit:
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class MakeClaim:
    claim: Claim


@dataclass(frozen=True, slots=True)
class MakeReveal:
    """One attempt to reveal weights of ours; half a stake may hang on it."""

    reveal: Reveal


@dataclass(frozen=True, slots=True)
class Arrange:
    """Split or merge coins."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class EndEpoch:
    """Nothing more to do in this epoch. `reason`: `exhausted`, or the cap that stopped it."""

    reason: str


Action: TypeAlias = ScoreShards | Publish | CheckCopy | Submit | MakeClaim | MakeReveal | Arrange | EndEpoch
