"""What a failed read of the network means: may it be tried again, and what to raise when it may not."""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from quickstart.chain.status_text import BAD_ARGUMENT, StatusText, excerpt, retry_after_in, status_of
from quickstart.errors import NetworkError, QuickstartError, UnmappedFailure, UnreachableError


class ReadProblem(Enum):
    """The kinds of failed reads; the value says what it is."""

    UNREACHABLE = "nothing answers at the address"
    TRANSIENT = "broke off or timed out"
    RATE_LIMITED = "the node limits the rate of calls"
    NOT_FOUND = "not there, or not yet: listings lag behind by 0.3 s"
    STATE_TOO_LARGE = "a reply exceeds the SDK's 4 MiB: from about 470 models on no read of the state works"
    VERSION_MISMATCH = "SDK and node differ in version; a warning, never a stop"
    BAD_REPLY = "a reply lacks what the SDK needs"
    REFUSED = "the request is not taken as it is"
    UNMAPPED = "no rule knows this failure"


_RETRYABLE = frozenset({ReadProblem.UNREACHABLE, ReadProblem.TRANSIENT, ReadProblem.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """One failed read. `message`: one line for people. `retry_after_seconds`: the pause asked for."""

    problem: ReadProblem
    message: str
    retry_after_seconds: float | None = None

    @property
    def not_found(self) -> bool:
        return self.problem is ReadProblem.NOT_FOUND

    @property
    def retryable(self) -> bool:
        """The same read may succeed in a moment. A node that does not answer may be just starting."""
        return self.problem in _RETRYABLE

    @property
    def mapped(self) -> bool:
        return self.problem is not ReadProblem.UNMAPPED

    def as_error(self) -> QuickstartError:
        """The exception to raise when no retry is left."""
        if self.problem is ReadProblem.UNREACHABLE:
            return UnreachableError(self.message)
        if self.problem is ReadProblem.UNMAPPED:
            return UnmappedFailure(self.message)
        return NetworkError(self.message)


# Rules in order, on the status's message or, where there is no status, the whole text.
_RULES: tuple[tuple[re.Pattern[str], ReadProblem], ...] = (
    (re.compile(r"api version mismatch"), ReadProblem.VERSION_MISMATCH),
    (re.compile(r"message length too large|larger than max"), ReadProblem.STATE_TOO_LARGE),
    (
        re.compile(
            r"not found in .*(?:response|config)|^no object returned|^protocol version not found|: Missing "
            r"|missing epoch data|FIELD_(?:MISSING|INVALID)|could not be converted to domain type"
        ),
        ReadProblem.BAD_REPLY,
    ),
    (
        re.compile(r"Service not configured|^No \w+_url was provided|Invalid proxy address"),
        ReadProblem.REFUSED,
    ),
    (re.compile(r"validators failed, last error|^Network error"), ReadProblem.TRANSIENT),
    (re.compile(r"^time-?d? ?out|timed out|timeout", re.IGNORECASE), ReadProblem.TRANSIENT),
)
_NOT_CONNECTED = re.compile(
    r"^(?:tcp connect error|dns error)|(?:^|: )transport error$|^Invalid proxy address"
    r"|failed to connect to all addresses"
    r"|DNS resolution failed|Connection refused"
)
_PROBLEM_OF_CODE = {
    "NotFound": ReadProblem.NOT_FOUND,
    "ResourceExhausted": ReadProblem.RATE_LIMITED,
    "Unavailable": ReadProblem.TRANSIENT,
    "DeadlineExceeded": ReadProblem.TRANSIENT,
    "Cancelled": ReadProblem.TRANSIENT,
    "Aborted": ReadProblem.TRANSIENT,
    "Unknown": ReadProblem.TRANSIENT,
    "Internal": ReadProblem.TRANSIENT,
    "InvalidArgument": ReadProblem.REFUSED,
    "FailedPrecondition": ReadProblem.REFUSED,
    "OutOfRange": ReadProblem.REFUSED,
    "Unimplemented": ReadProblem.REFUSED,
    "PermissionDenied": ReadProblem.REFUSED,
    "Unauthenticated": ReadProblem.REFUSED,
}


def read_failure(error: BaseException, url: str) -> ReadFailure:
    """What an exception of an SDK read or constructor, or of plain gRPC, means; `url`: what was called."""
    text = str(error)
    status = status_of(error)
    message = status.message if status else text
    problem = _problem(error, status, message)
    told = excerpt(message) or type(error).__name__
    if problem is ReadProblem.UNREACHABLE:
        return ReadFailure(problem, f"no answer from {url} ({told}); {_remedy(url)}")
    if problem is ReadProblem.STATE_TOO_LARGE:
        told = problem.value
    elif problem is ReadProblem.UNMAPPED:
        told = f"an unknown failure: {excerpt(text) or type(error).__name__}"
    wait = retry_after_in(text) if problem in _RETRYABLE else None
    return ReadFailure(problem, f"{url}: {told}", wait)


def _problem(error: BaseException, status: StatusText | None, message: str) -> ReadProblem:
    if isinstance(error, TypeError | ValueError):
        return ReadProblem.REFUSED if BAD_ARGUMENT.search(message) else ReadProblem.UNMAPPED
    if isinstance(error, ConnectionError) or _NOT_CONNECTED.search(message):
        return ReadProblem.UNREACHABLE
    if isinstance(error, OSError):
        return ReadProblem.TRANSIENT
    for pattern, problem in _RULES:
        if pattern.search(message):
            return problem
    return _PROBLEM_OF_CODE.get(status.code, ReadProblem.UNMAPPED) if status else ReadProblem.UNMAPPED


def _remedy(url: str) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return "start an embedded network there with: uv run devnet"
    return "check the address and the connection"
