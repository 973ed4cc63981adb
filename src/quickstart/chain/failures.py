"""Executed and failed: the kinds of failure a transaction's effects can carry (`soma-protocol` §7.1).

A failed transaction is a value. It paid its fee and its coins have new versions; nothing else happened.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from quickstart.chain.ids import Id32, parse_digest
from quickstart.errors import UnmappedFailure

Detail: TypeAlias = int | float | str


class FailureKind(Enum):
    """Every variant the SDK can print; the value is the SDK's own name of it."""

    INSUFFICIENT_GAS = "InsufficientGas"
    INVALID_OWNERSHIP = "InvalidOwnership"
    OBJECT_NOT_FOUND = "ObjectNotFound"
    INVALID_OBJECT_TYPE = "InvalidObjectType"
    INVALID_TRANSACTION_TYPE = "InvalidTransactionType"
    INVALID_ARGUMENTS = "InvalidArguments"
    DUPLICATE_VALIDATOR = "DuplicateValidator"
    NOT_A_VALIDATOR = "NotAValidator"
    VALIDATOR_ALREADY_REMOVED = "ValidatorAlreadyRemoved"
    ADVANCED_TO_WRONG_EPOCH = "AdvancedToWrongEpoch"
    MODEL_NOT_FOUND = "ModelNotFound"
    NOT_MODEL_OWNER = "NotModelOwner"
    MODEL_NOT_ACTIVE = "ModelNotActive"
    INSUFFICIENT_COIN_BALANCE = "InsufficientCoinBalance"
    COIN_BALANCE_OVERFLOW = "CoinBalanceOverflow"
    VALIDATOR_NOT_FOUND = "ValidatorNotFound"
    STAKING_POOL_NOT_FOUND = "StakingPoolNotFound"
    CANNOT_REPORT_ONESELF = "CannotReportOneself"
    REPORT_RECORD_NOT_FOUND = "ReportRecordNotFound"
    INPUT_OBJECT_DELETED = "InputObjectDeleted"
    CERTIFICATE_DENIED = "CertificateDenied"
    SHARED_OBJECT_CONGESTION = "ExecutionCancelledDueToSharedObjectCongestion"
    SOMA_ERROR = "SomaError"
    MODEL_NOT_PENDING = "ModelNotPending"
    MODEL_ALREADY_INACTIVE = "ModelAlreadyInactive"
    MODEL_REVEAL_EPOCH_MISMATCH = "ModelRevealEpochMismatch"
    MODEL_EMBEDDING_COMMITMENT_MISMATCH = "ModelEmbeddingCommitmentMismatch"
    MODEL_NO_PENDING_UPDATE = "ModelNoPendingUpdate"
    MODEL_ARCHITECTURE_VERSION_MISMATCH = "ModelArchitectureVersionMismatch"
    MODEL_COMMISSION_RATE_TOO_HIGH = "ModelCommissionRateTooHigh"
    MODEL_MIN_STAKE_NOT_MET = "ModelMinStakeNotMet"
    MODEL_DECRYPTION_KEY_COMMITMENT_MISMATCH = "ModelDecryptionKeyCommitmentMismatch"
    NO_ACTIVE_MODELS = "NoActiveModels"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_NOT_OPEN = "TargetNotOpen"
    TARGET_EXPIRED = "TargetExpired"
    TARGET_NOT_FILLED = "TargetNotFilled"
    TARGET_ALREADY_CLAIMED = "TargetAlreadyClaimed"
    AUDIT_WINDOW_OPEN = "AuditWindowOpen"
    AUDIT_WINDOW_CLOSED = "AuditWindowClosed"
    MODEL_NOT_IN_TARGET = "ModelNotInTarget"
    EMBEDDING_DIMENSION_MISMATCH = "EmbeddingDimensionMismatch"
    DISTANCE_EXCEEDS_THRESHOLD = "DistanceExceedsThreshold"
    INSUFFICIENT_BOND = "InsufficientBond"
    INSUFFICIENT_EMISSION_BALANCE = "InsufficientEmissionBalance"
    DATA_EXCEEDS_MAX_SIZE = "DataExceedsMaxSize"
    DUPLICATE_VALIDATOR_METADATA = "DuplicateValidatorMetadata"
    MISSING_PROOF_OF_POSSESSION = "MissingProofOfPossession"
    INVALID_PROOF_OF_POSSESSION = "InvalidProofOfPossession"
    UNMAPPED = ""
    """A variant newer than this table; its name is in the failure's `variant`."""


_KIND_OF_VARIANT = {kind.value: kind for kind in FailureKind if kind.value}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution.

    `details`: what the variant carries, by the network's names (epochs and sizes int, shannons int, distances
    float, ids text). `digest`: the transaction's, where the failure's text told it.
    """

    kind: FailureKind
    variant: str
    details: Mapping[str, Detail] = field(default_factory=dict, hash=False)
    digest: Id32 | None = None

    @property
    def mapped(self) -> bool:
        return self.kind is not FailureKind.UNMAPPED

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.details.items())
        return f"{self.variant} ({told})" if told else self.variant


def failure_of(status: object) -> Failure | None:
    """A Python status of effects (`r.V1.status`): None for success, else what failed.

    The SDK gives `'Success'` or a namespace `Failure.error`, which is a variant's name or a namespace
    with one attribute named after it. Mappings do as well.

    A variant this program does not know is still a failure (`kind` UNMAPPED): it executed, without success.

    Raises:
        UnmappedFailure: not a status at all.
    """
    if status == "Success":
        return None
    failed = _members(status).get("Failure")
    error = _members(failed).get("error")
    if isinstance(error, str):
        return _failure(error, {})
    nested = _members(error)
    if len(nested) != 1:
        raise UnmappedFailure("a reply of the node is not a status of transaction effects")
    (variant, details), *_ = nested.items()
    return _failure(variant, dict(_flatten(details)))


_FAILED_TEXT = re.compile(
    r"Transaction failed: (?P<label>\w+) failed \(digest: (?P<digest>[1-9A-HJ-NP-Za-km-z]{32,44})\): "
    r"Failure \{ error: (?P<variant>\w+)(?P<rest>.*)\}\s*$",
    re.DOTALL,
)
_FIELD = re.compile(r'(\w+): (?:"((?:[^"\\]|\\.)*)"|Some\((\w+)\)|(\w+))(?=[,\s}]|$)')


def parse_failed_text(text: str) -> Failure | None:
    """The text the SDK's convenience calls raise for a failed transaction; None for any other.

    The printed tensors of `DistanceExceedsThreshold` are cut short by the SDK and are left out.
    """
    match = _FAILED_TEXT.search(text)
    if match is None:
        return None
    variant, rest = match["variant"], match["rest"]
    details: dict[str, Detail] = {}
    if "TensorData" not in rest:
        for name, quoted, optional, bare in _FIELD.findall(rest):
            details[name] = _number(optional or bare) if optional or bare else quoted
    try:
        digest = parse_digest(match["digest"])
    except ValueError:
        digest = None
    return _failure(variant, details, digest)


def _failure(variant: str, details: Mapping[str, Detail], digest: Id32 | None = None) -> Failure:
    return Failure(_KIND_OF_VARIANT.get(variant, FailureKind.UNMAPPED), variant, details, digest)


def _members(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    return dict(vars(value)) if hasattr(value, "__dict__") else {}


def _flatten(value: object) -> Iterator[tuple[str, Detail]]:
    """Named leaves of nested namespaces; a scalar float32 tensor is its number, anything else its text."""
    for name, member in _members(value).items():
        inner = _members(member)
        if {"dtype", "bytes"} <= inner.keys():
            raw = inner["bytes"]
            if isinstance(raw, bytes | list) and len(raw) == 4:
                yield name, float(struct.unpack("<f", bytes(raw))[0])
        elif inner:
            yield from _flatten(member)
        elif isinstance(member, int | float | str):
            yield name, member
        else:
            yield name, str(member)


def _number(text: str) -> Detail:
    return int(text) if text.isdecimal() and len(text) < 20 else text
