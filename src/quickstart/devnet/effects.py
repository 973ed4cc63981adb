"""What executing a transaction gives: effects, or a refusal before execution (`soma-protocol` §7.1, §11,
§16)."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.chain.objects import ObjectType, Owner
from quickstart.chain.transactions import ObjectRef


class ErrorKind(IntEnum):
    """Numbers of `ExecutionError.kind` on the wire."""

    INSUFFICIENT_GAS = 1
    INVALID_OWNERSHIP = 2
    OBJECT_NOT_FOUND = 3
    INVALID_OBJECT_TYPE = 4
    INVALID_ARGUMENTS = 6
    NOT_A_VALIDATOR = 8
    MODEL_NOT_FOUND = 11
    NOT_MODEL_OWNER = 12
    MODEL_NOT_ACTIVE = 13
    INSUFFICIENT_COIN_BALANCE = 14
    REPORT_RECORD_NOT_FOUND = 20
    INPUT_OBJECT_DELETED = 21
    OTHER_ERROR = 24
    MODEL_NOT_PENDING = 25
    MODEL_ALREADY_INACTIVE = 26
    MODEL_REVEAL_EPOCH_MISMATCH = 27
    MODEL_EMBEDDING_COMMITMENT_MISMATCH = 28
    MODEL_NO_PENDING_UPDATE = 29
    MODEL_ARCHITECTURE_VERSION_MISMATCH = 30
    MODEL_COMMISSION_RATE_TOO_HIGH = 31
    MODEL_MIN_STAKE_NOT_MET = 32
    TARGET_NOT_OPEN = 35
    TARGET_EXPIRED = 36
    TARGET_NOT_FILLED = 37
    AUDIT_WINDOW_OPEN = 38
    MODEL_NOT_IN_TARGET = 40
    EMBEDDING_DIMENSION_MISMATCH = 41
    DISTANCE_EXCEEDS_THRESHOLD = 42
    INSUFFICIENT_BOND = 43
    AUDIT_WINDOW_CLOSED = 45
    DATA_EXCEEDS_MAX_SIZE = 52
    MODEL_DECRYPTION_KEY_COMMITMENT_MISMATCH = 57


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an executed transaction changed nothing but its coins. `detail` travels as `k=v, k=v` or free
    text."""

    kind: ErrorKind
    detail: str | None = None
    object_id: Id32 | None = None


class ExecutionFailed(Exception):
    """Raised by a rule; `execution.execute` turns it into failed effects."""

    def __init__(self, kind: ErrorKind, detail: str | None = None, object_id: Id32 | None = None) -> None:
        super().__init__(kind.name)
        self.failure = Failure(kind, detail, object_id)


class RefusalCode(Enum):
    """The gRPC status a refusal travels as."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNAVAILABLE = "UNAVAILABLE"


class Refusal(Exception):
    """The node does not execute the transaction: nothing happened, no fee was taken."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnknownObject(Refusal):
    """An object nobody has seen yet. The node waits for it (90 s on the real one) before it gives up."""

    def __init__(self, object_id: Id32) -> None:
        self.object_id = object_id
        text = f"Could not find the referenced object {format_id(object_id)} at version None"
        super().__init__(RefusalCode.UNAVAILABLE, text)


def stale(coin: ObjectRef, current_version: int) -> Refusal:
    """The coin was named at a version that is not its newest."""
    return Refusal(
        RefusalCode.INVALID_ARGUMENT,
        f"Object {describe(coin)} is not available for consumption, its current version: Version({current_version})",
    )


def locked(coin: ObjectRef, holder: Id32) -> Refusal:
    """Another transaction that names the same version of the coin is being executed."""
    digest = f"TransactionDigest({format_digest(holder)})"
    text = f"Object {describe(coin)} already locked by a different transaction: {digest}"
    return Refusal(RefusalCode.FAILED_PRECONDITION, text)


def describe(coin: ObjectRef) -> str:
    """`(0x…, Version(n), o#…)`, the form in which refusals name a coin."""
    return f"({format_id(coin.object_id)}, Version({coin.version}), o#{format_digest(coin.digest)})"


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One side of a change."""

    version: int
    digest: Id32
    owner: Owner


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """`before` is None for a created object, `after` for a deleted one."""

    object_id: Id32
    object_type: ObjectType
    before: ObjectState | None
    after: ObjectState | None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a transaction did. Fees in shannons; `version` is the new version of everything it wrote."""

    digest: Id32
    epoch: int
    failure: Failure | None
    base_fee: int
    operation_fee: int
    value_fee: int
    version: int
    gas_index: int | None
    changed: tuple[ChangedObject, ...]

    @property
    def total_fee(self) -> int:
        return self.base_fee + self.operation_fee + self.value_fee

    def created(self, object_type: ObjectType) -> list[Id32]:
        """Ids of new objects of one type."""
        return [c.object_id for c in self.changed if c.before is None and c.object_type is object_type]
