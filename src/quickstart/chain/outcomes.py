"""What a failed call means: every failure of SDK, HTTP and S3 becomes a typed value here, and nowhere else.

For a transaction the question is whether it may have landed (`soma-protocol` §7, §16):

    LANDED    executed, with the effects that were wanted
    FAILED    executed and failed: fee paid, coins have new versions             Failure
    REFUSED   this attempt did nothing: coins unchanged                          Refusal
    UNKNOWN   it may have landed: send the same bytes again, or read the digest  Unknown

A text that no rule knows is UNKNOWN too, the only safe guess, and says so (`mapped` is False) so that it gets
reported. A rate limit or a busy node is UNKNOWN as well: of several validators some may have taken the
transaction before another shed it, and the remedy is the same (wait, then send the same bytes again).

Reads have no outcome to settle, only failures that may pass (`reading`); so have HTTP and S3 (`transfers`).
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from quickstart.chain.failures import Failure, FailureKind, failure_of, parse_failed_text
from quickstart.chain.ids import Id32, parse_digest, parse_id
from quickstart.chain.reading import ReadFailure, ReadProblem, read_failure
from quickstart.chain.status_text import BAD_ARGUMENT, StatusText, excerpt, parse_status_text, retry_after_in
from quickstart.chain.transfers import TransferFailure, TransferProblem, http_failure, s3_failure
from quickstart.errors import NetworkError

__all__ = [
    "Failure",
    "FailureKind",
    "Outcome",
    "ReadFailure",
    "ReadProblem",
    "Refusal",
    "RefusalReason",
    "TransferFailure",
    "TransferProblem",
    "Unknown",
    "UnknownCause",
    "Verdict",
    "classify",
    "failure_of",
    "http_failure",
    "parse_failed_text",
    "read_failure",
    "s3_failure",
    "verdict_of",
]


class Verdict(Enum):
    """What became of a transaction; the module's docstring says what each means for its coins."""

    LANDED = "landed"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class RefusalReason(Enum):
    """Why nothing happened; the value is the reason in words."""

    STALE_COIN = "the transaction names an old version of an object"
    LOCKED_COIN = "another transaction holds a coin"
    BAD_SIGNATURE = "the signature is not valid"
    WRONG_SENDER = "the signer is not the sender or owner"
    MALFORMED = "the bytes or arguments are not a valid transaction"
    REJECTED = "more than a third of the validators reject the transaction for good"
    NO_COIN = "the wallet has no coin to pay with"
    NOT_CONFIGURED = "a service that is needed has no address"
    NOTHING_SENT = "the call ended before anything was sent"

    @property
    def settles_earlier_attempts(self) -> bool:
        """Whether the node, knowing these very bytes, says that they can never land.

        Bytes that were sent before and ended UNKNOWN are settled by such a refusal (a node answers executed
        bytes with their first effects). The other reasons tell of the present attempt only.
        """
        return self in _SETTLING


_SETTLING = frozenset(
    {
        RefusalReason.STALE_COIN,
        RefusalReason.BAD_SIGNATURE,
        RefusalReason.WRONG_SENDER,
        RefusalReason.MALFORMED,
        RefusalReason.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refused before execution. Versions and the holder's digest where the node named them."""

    reason: RefusalReason
    text: str
    object_id: Id32 | None = None
    stated_version: int | None = None
    current_version: int | None = None
    holder_digest: Id32 | None = None


class UnknownCause(Enum):
    """Why the outcome is not known; the value is the cause in words."""

    UNCONFIRMED = "executed, but its effects were not delivered"
    CONNECTION_LOST = "the connection broke while the call was under way"
    NO_FINALITY = "the node gave up waiting for the validators"
    RATE_LIMITED = "the node sheds load"
    NO_ANSWER = "the call ended without a verdict"
    UNREADABLE_REPLY = "the reply could not be decoded"
    UNMAPPED = "no rule knows this failure"


@dataclass(frozen=True, slots=True)
class Unknown:
    """May have landed. `retry_after_seconds`: the pause asked for before the same bytes are sent again."""

    cause: UnknownCause
    text: str
    retry_after_seconds: float | None = None

    @property
    def mapped(self) -> bool:
        return self.cause is not UnknownCause.UNMAPPED


Outcome: TypeAlias = Failure | Refusal | Unknown
"""How a transaction ended otherwise than by landing."""


def verdict_of(outcome: Outcome) -> Verdict:
    """The verdict a value of this module stands for."""
    if isinstance(outcome, Failure):
        return Verdict.FAILED
    return Verdict.REFUSED if isinstance(outcome, Refusal) else Verdict.UNKNOWN


_COIN = r"Object \((0x[0-9a-fA-F]{1,64})(?:, Version\((\d+)\))?"
_STALE = re.compile(
    _COIN + r".*?is not available for consumption(?:, its current version: Version\((\d+)\))?", re.DOTALL
)
_WRONG_DIGEST = re.compile(r"Invalid Object digest for object (0x[0-9a-fA-F]{1,64})")
_LOCKED = re.compile(
    r"(?:" + _COIN + r".*?)?(?:already locked by a different transaction"
    r"(?:: (?:TransactionDigest\()?([1-9A-HJ-NP-Za-km-z]{32,44}))?|ObjectLockConflict)",
    re.DOTALL,
)
_REFUSING_TEXTS = (
    (re.compile(r"Required Signature from .* is absent", re.DOTALL), RefusalReason.WRONG_SENDER),
    (re.compile(r"not signed by the correct sender"), RefusalReason.WRONG_SENDER),
    (re.compile(r"Invalid user signature|[Ss]ignature is not valid"), RefusalReason.BAD_SIGNATURE),
    (
        re.compile(r"Gas payment error|digest mismatch|error converting from protobuf|FIELD_"),
        RefusalReason.MALFORMED,
    ),
    (re.compile(r"rejected as invalid by more than 1/3 of validators"), RefusalReason.REJECTED),
)
_LOCAL_TEXTS = (
    (re.compile(r"No available (?:gas )?coin|No coin found for|Nothing to merge"), RefusalReason.NO_COIN),
    (re.compile(r"Service not configured|No \w+_url was provided"), RefusalReason.NOT_CONFIGURED),
    (re.compile(r"Data error: "), RefusalReason.NOTHING_SENT),
    (re.compile(r"(?:Error initializing RPC client: )?transport error$"), RefusalReason.NOTHING_SENT),
    (re.compile(r"Invalid proxy address format"), RefusalReason.NOTHING_SENT),
)
_NOT_CONNECTED = re.compile(r"^(?:tcp connect error|dns error)")
_NO_FINALITY = re.compile(r"timed out before finality|Could not find the referenced object")
_UNREADABLE = re.compile(
    r"error converting from protobuf|message length too large|could not be converted to domain type"
)
# Any message under these codes leaves the outcome open (§16).
_OPEN_CODES = frozenset({"Unavailable", "DeadlineExceeded", "Unknown", "Cancelled"})


def classify(error: BaseException) -> Outcome:
    """What an exception of the SDK's `execute_transaction`, or of one of its convenience calls, means.

    The SDK's own ValueErrors and TypeErrors tell of arguments refused on this side. Others, say of code that
    reads the effects of an executed transaction, prove nothing and stay unknown.
    """
    text = str(error)
    if isinstance(error, TypeError | ValueError | OverflowError):
        if BAD_ARGUMENT.search(text):
            return Refusal(RefusalReason.MALFORMED, excerpt(text))
        return Unknown(UnknownCause.UNMAPPED, excerpt(f"{type(error).__name__}: {text}"))
    if isinstance(error, OSError | NetworkError):
        return Unknown(UnknownCause.NO_ANSWER, excerpt(text or type(error).__name__))
    if text.startswith("Transaction executed but") or '"Transaction executed but' in text:
        return Unknown(UnknownCause.UNCONFIRMED, excerpt(text))
    failure = parse_failed_text(text)
    if failure is not None:
        return failure
    for pattern, reason in _LOCAL_TEXTS:
        if pattern.match(text):
            return Refusal(reason, excerpt(text))
        if reason is RefusalReason.NO_COIN and text.startswith("Data error: ") and pattern.search(text):
            return Refusal(reason, excerpt(text))
    status = parse_status_text(text)
    if status is not None:
        return _refusal(status) or _unknown(status, text)
    return Unknown(UnknownCause.UNMAPPED, excerpt(text))


def _refusal(status: StatusText) -> Refusal | None:
    message = status.message
    if status.code == "Unavailable" and _NOT_CONNECTED.search(message):
        return Refusal(RefusalReason.NOTHING_SENT, excerpt(message))
    if status.code not in ("InvalidArgument", "FailedPrecondition", "Aborted"):
        return None
    stale = _STALE.search(message)
    if stale:
        stated, current = (None if version is None else int(version) for version in stale.group(2, 3))
        return Refusal(RefusalReason.STALE_COIN, excerpt(message), parse_id(stale[1]), stated, current)
    wrong_digest = _WRONG_DIGEST.search(message)
    if wrong_digest:
        return Refusal(RefusalReason.STALE_COIN, excerpt(message), parse_id(wrong_digest[1]))
    locked = _LOCKED.search(message)
    if locked:
        return Refusal(
            RefusalReason.LOCKED_COIN,
            excerpt(message),
            object_id=None if locked[1] is None else parse_id(locked[1]),
            stated_version=None if locked[2] is None else int(locked[2]),
            holder_digest=_digest_or_none(locked[3]),
        )
    for pattern, reason in _REFUSING_TEXTS:
        if pattern.search(message):
            return Refusal(reason, excerpt(message))
    return None


def _unknown(status: StatusText, text: str) -> Unknown:
    shown = excerpt(f"{status.code}: {status.message}")
    if status.code == "ResourceExhausted":
        return Unknown(UnknownCause.RATE_LIMITED, shown, retry_after_in(text))
    if _UNREADABLE.search(status.message):
        return Unknown(UnknownCause.UNREADABLE_REPLY, shown)
    if _NO_FINALITY.search(status.message):
        return Unknown(UnknownCause.NO_FINALITY, shown)
    if re.search(r"http2 error|h2 protocol error|transport error|connection|broken pipe|pings", status.message):
        return Unknown(UnknownCause.CONNECTION_LOST, shown)
    if status.code in _OPEN_CODES:
        return Unknown(UnknownCause.NO_ANSWER, shown, retry_after_in(text))
    return Unknown(UnknownCause.UNMAPPED, shown)


def _digest_or_none(text: str | None) -> Id32 | None:
    try:
        return None if text is None else parse_digest(text)
    except ValueError:
        return None
