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
    CREATE_MODEL = "create_model"
    COMMIT = "commit"
    REVEAL = "reveal"
    ADD_STAKE = "add_stake"


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
    """A target we filled. `latency_ms`: from first sight of the target to the landed submission."""

    target_id: Id32
    digest: Id32 | None
    epoch: int
    reward: int
    bond: int
    window: Id32 | None
    latency_ms: int | None
    state: FillState = FillState.FILLED


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch of submitting: what was on the board, what the bank could fill (checked afterwards), what we filled.

    `missed`: fillable and not filled by us. `ended_by`: `exhausted`, or the cap that stopped the epoch.
    """

    epoch: int
    distance_threshold: float
    targets_seen: int
    fillable: int
    filled: int
    missed: int
    ended_by: str


@dataclass(frozen=True, slots=True)
class Published:
    """A window whose public copy was read back without credentials and compared, at `verified_ms`."""

    window: Id32
    url: str
    size: int
    verified_ms: int
