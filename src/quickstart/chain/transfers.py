"""Failures of HTTP and S3 as typed values: may it be tried again, and if not, what mends it."""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

RETRY_AFTER_CAP_SECONDS = 60.0
"""A server that asks for more is waited for no longer than this."""


class TransferProblem(Enum):
    """What kind of thing is wrong; the value says it in words."""

    BUSY = "busy, may be tried again"
    UNREACHABLE = "does not answer"
    NO_BUCKET = "the bucket does not exist"
    NOT_FOUND = "not found"
    CREDENTIALS = "the credentials are not accepted"
    PERMISSION = "not permitted"
    NO_ACL = "the bucket knows no access control lists"
    EXISTS = "an object of that name is already there"
    REFUSED = "refused"
    UNMAPPED = "no rule knows this failure"


@dataclass(frozen=True, slots=True)
class TransferFailure:
    """`detail`: status or code, for the message. `retry_after_seconds`: pause asked for, capped."""

    problem: TransferProblem
    detail: str
    retry_after_seconds: float | None = None

    @property
    def retryable(self) -> bool:
        return self.problem in (TransferProblem.BUSY, TransferProblem.UNREACHABLE)

    @property
    def mapped(self) -> bool:
        return self.problem is not TransferProblem.UNMAPPED

    def __str__(self) -> str:
        return f"{self.problem.value} ({self.detail})"


_BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529, 530})


def http_failure(status_code: int, headers: Mapping[str, str], now: datetime | None = None) -> TransferFailure | None:
    """What an HTTP status means to somebody who wanted a body; None for 2xx.

    `headers` with lower-case names, or any mapping that ignores case. `now`: the time that
    `Retry-After` dates are counted from, the clock's by default.
    """
    if 200 <= status_code < 300:
        return None
    detail = f"HTTP {status_code}"
    if status_code in _BUSY_STATUSES:
        return TransferFailure(TransferProblem.BUSY, detail, retry_after(headers.get("retry-after"), now))
    if status_code in (401, 403):
        return TransferFailure(TransferProblem.PERMISSION, detail)
    if status_code in (404, 410):
        return TransferFailure(TransferProblem.NOT_FOUND, detail)
    if 400 <= status_code < 600 or 300 <= status_code < 400:
        return TransferFailure(TransferProblem.REFUSED, detail)
    return TransferFailure(TransferProblem.UNMAPPED, detail)


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a `Retry-After` header (number or date), from 0 to the cap; None if unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    # The comparison order also sends NaN to zero.
    return min(RETRY_AFTER_CAP_SECONDS, seconds) if seconds > 0 else 0.0


_S3_PROBLEMS: dict[str, TransferProblem] = {
    "NoSuchBucket": TransferProblem.NO_BUCKET,
    "InvalidBucketName": TransferProblem.NO_BUCKET,
    "NoSuchKey": TransferProblem.NOT_FOUND,
    "NotFound": TransferProblem.NOT_FOUND,
    "InvalidAccessKeyId": TransferProblem.CREDENTIALS,
    "SignatureDoesNotMatch": TransferProblem.CREDENTIALS,
    "InvalidToken": TransferProblem.CREDENTIALS,
    "ExpiredToken": TransferProblem.CREDENTIALS,
    "AuthorizationHeaderMalformed": TransferProblem.CREDENTIALS,
    "InvalidArgument": TransferProblem.REFUSED,
    "Unauthorized": TransferProblem.CREDENTIALS,
    "RequestTimeTooSkewed": TransferProblem.REFUSED,
    "AccessDenied": TransferProblem.PERMISSION,
    "AllAccessDisabled": TransferProblem.PERMISSION,
    "AccountProblem": TransferProblem.PERMISSION,
    "Forbidden": TransferProblem.PERMISSION,
    "AccessControlListNotSupported": TransferProblem.NO_ACL,
    "NotImplemented": TransferProblem.NO_ACL,
    "PreconditionFailed": TransferProblem.EXISTS,
    "ConditionalRequestConflict": TransferProblem.BUSY,
    "OperationAborted": TransferProblem.BUSY,
    "SlowDown": TransferProblem.BUSY,
    "RequestTimeout": TransferProblem.BUSY,
    "RequestLimitExceeded": TransferProblem.BUSY,
    "Throttling": TransferProblem.BUSY,
    "TooManyRequests": TransferProblem.BUSY,
    "InternalError": TransferProblem.BUSY,
    "ServiceUnavailable": TransferProblem.BUSY,
    "PermanentRedirect": TransferProblem.REFUSED,
    "QuotaExceeded": TransferProblem.PERMISSION,
    "EntityTooLarge": TransferProblem.REFUSED,
}


def s3_failure(error: BaseException) -> TransferFailure:
    """What an exception of boto3 means; anything that is not of botocore is unmapped."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _s3_reply(error.response)
    name = type(error).__name__
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return TransferFailure(TransferProblem.CREDENTIALS, name)
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return TransferFailure(TransferProblem.UNREACHABLE, name)
    if isinstance(error, exceptions.ParamValidationError | exceptions.InvalidEndpointDiscoveryConfigurationError):
        return TransferFailure(TransferProblem.REFUSED, name)
    return TransferFailure(TransferProblem.UNMAPPED, name)


def _s3_reply(response: Mapping[str, object] | object) -> TransferFailure:
    reply = response if isinstance(response, Mapping) else {}
    told = reply.get("Error")
    code = str(told.get("Code", "")) if isinstance(told, Mapping) else ""
    metadata = reply.get("ResponseMetadata")
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, Mapping) else None
    wait = retry_after(headers.get("retry-after")) if isinstance(headers, Mapping) else None
    problem = _S3_PROBLEMS.get(code)
    if problem is not None:
        return TransferFailure(problem, code, wait if problem is TransferProblem.BUSY else None)
    # A reply without a body (HEAD), or of a server with codes of its own: the status decides.
    known = (
        http_failure(status, {} if wait is None else {"retry-after": str(wait)}) if isinstance(status, int) else None
    )
    if known is None:
        return TransferFailure(TransferProblem.UNMAPPED, code or "no code")
    return TransferFailure(
        known.problem, f"{code}, {known.detail}" if code else known.detail, known.retry_after_seconds
    )
