"""The values that go into and come out of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32


class IntentKind(StrEnum):
    SUBMIT = "submit"
    CLAIM = "claim"
    SPLIT = "split"
    MERGE = "merge"
    CREATE_MODEL = "create"
    COMMIT = "commit"
    REVEAL = "reveal"
    ADD_STAKE = "stake"
    SWEEP = "sweep"


class IntentStatus(StrEnum):
    """`PENDING` covers unknown: the transaction may have landed, and only its own bytes may be sent again."""

    PENDING = "pending"
    LANDED = "landed"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Intent:
    """One signed transaction, durable before it is sent.

    `subject`: the target a submission or claim is about, the commitment a commit or reveal is about; at most one intent
    per kind and subject is alive.
    `coins`: every coin version it names, with its balance then. `details`: JSON-ready facts for the books.
    """

    digest: Id32
    kind: IntentKind
    subject: Id32 | None
    epoch: int
    created_ms: int
    signed: bytes
    coins: tuple[Coin, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submission:
    """A window given to a target, and what was noted then: its checksum (`window`), its `provenance`, ..."""

    target_id: Id32
    digest: Id32
    epoch: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Movement:
    """A signed amount of shannons under one heading of the books."""

    item: str
    amount: int


class FillState(StrEnum):
    FILLED = "filled"
    CLAIMED = "claimed"
    SLASHED = "slashed"


@dataclass(frozen=True, slots=True)
class Fill:
    """A target we filled. `url`: where the bytes that its bond rests on are read; None if older."""

    target_id: Id32
    digest: Id32 | None
    epoch: int
    reward: int
    bond: int
    window: Id32 | None
    state: FillState = FillState.FILLED
    url: str | None = None


@dataclass(frozen=True, slots=True)
class FillSum:
    """So many fills of an epoch that became the same and have the same reward and bond; shannons each."""

    epoch: int
    state: FillState
    reward: int
    bond: int
    count: int


class Origin(StrEnum):
    """How we came to know a target: spawned by a fill of ours, by one of somebody else's on the checkpoint stream, or
    found in a listing, as those that an epoch begins with are.
    """

    OWN = "own"
    OTHERS = "others"
    LISTED = "listed"


@dataclass(frozen=True, slots=True)
class Timing:
    """The way of one landed submission, ms since 1970 by our clock; `birth_ms` by the chain's, None where unknown.

    The target was born, known to us, matched with the bank, and our transaction was signed and executed.
    """

    target_id: Id32
    origin: Origin
    birth_ms: int | None
    known_ms: int
    matched_ms: int
    signed_ms: int
    landed_ms: int


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch of submitting: what was on the board, what the bank could fill (checked afterwards), what we filled.

    `fillable` counts the latest few thousand of the targets that were seen. `lost`: somebody else was first, before or
    after we had sent something. `missed`: fillable, and open to the end. `ended_by`: `exhausted`, or the cap that
    stopped the epoch.
    """

    epoch: int
    distance_threshold: float
    targets_seen: int
    fillable: int
    filled: int
    lost: int
    missed: int
    ended_by: str


class Fate(StrEnum):
    """What became of a target we did not fill: `LOST` to somebody faster, `MISSED` though the bank could fill it, or
    too `FAR` from everything in the bank.
    """

    LOST = "lost"
    MISSED = "missed"
    FAR = "far"


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A target of one epoch that we did not fill, as its end showed it. Thresholds and distances are of `1 - cosine`.

    `distance`: of the nearest window with a safe winner, its certified error added, and `model` that winner; None where
    the bank has none. `open_ms`: from its birth, or our first sight of it, until it left the board; None if it did not.
    `taker` and `taker_model`: who filled it and with which model, None where the chain was not asked.
    """

    target_id: Id32
    epoch: int
    fate: Fate
    distance_threshold: float
    reward: int
    distance: float | None = None
    model: Id32 | None = None
    open_ms: int | None = None
    taker: Id32 | None = None
    taker_model: Id32 | None = None


class AlarmKind(StrEnum):
    """`UNREADABLE`: the public copy of a window that a bond rests on; `WEIGHTS_UNREADABLE`: of a model of ours.
    `UNKNOWN_VERSION`: nothing is signed.
    """

    UNREADABLE = "unreadable"
    WEIGHTS_UNREADABLE = "weights_unreadable"
    UNKNOWN_VERSION = "unknown_version"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should see to. One of a kind and subject is open at a time; times in ms since 1970."""

    kind: AlarmKind
    subject: str
    message: str
    raised_ms: int
    cleared_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A window whose public copy was read back without credentials and compared, at `verified_ms`."""

    window: Id32
    url: str
    size: int
    verified_ms: int
