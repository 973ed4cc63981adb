"""Failures of HTTP and S3."""

from datetime import UTC, datetime

import pytest
from botocore import exceptions
from hypothesis import given
from hypothesis import strategies as st

from quickstart.chain.transfers import (
    RETRY_AFTER_CAP_SECONDS,
    TransferProblem,
    http_failure,
    retry_after,
    s3_failure,
)

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (408, TransferProblem.BUSY),
        (429, TransferProblem.BUSY),
        (500, TransferProblem.BUSY),
        (503, TransferProblem.BUSY),
        (522, TransferProblem.BUSY),
        (401, TransferProblem.PERMISSION),
        (403, TransferProblem.PERMISSION),
        (404, TransferProblem.NOT_FOUND),
        (410, TransferProblem.NOT_FOUND),
        (301, TransferProblem.REFUSED),
        (416, TransferProblem.REFUSED),
        (501, TransferProblem.REFUSED),
        (199, TransferProblem.UNMAPPED),
        (700, TransferProblem.UNMAPPED),
    ],
)
def test_statuses(code: int, problem: TransferProblem) -> None:
    failure = http_failure(code, {})
    assert failure is not None
    assert failure.problem is problem
    assert failure.mapped == (problem is not TransferProblem.UNMAPPED)
    assert failure.retryable == (problem is TransferProblem.BUSY)
    assert str(code) in str(failure)


@pytest.mark.parametrize("code", [200, 204, 206])
def test_success_is_no_failure(code: int) -> None:
    assert http_failure(code, {}) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("nan", 0.0),
        ("86400", RETRY_AFTER_CAP_SECONDS),
        ("Sun, 22 Nov 2026 12:00:05 GMT", 5.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    failure = http_failure(429, {"retry-after": header}, NOON)
    assert failure is not None
    assert failure.retry_after_seconds == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_bounded(header: str) -> None:
    seconds = retry_after(header, NOON)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_CAP_SECONDS


def client_error(code: str, http_status: int, headers: dict[str, str] | None = None) -> exceptions.ClientError:
    metadata = {
        "HTTPStatusCode": http_status,
        "HTTPHeaders": headers or {},
        "RequestId": "",
        "HostId": "",
        "RetryAttempts": 0,
    }
    return exceptions.ClientError(
        {"Error": {"Code": code, "Message": "…"}, "ResponseMetadata": metadata},  # type: ignore[typeddict-item]
        "PutObject",
    )


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (client_error("NoSuchBucket", 404), TransferProblem.NO_BUCKET),
        (client_error("NoSuchKey", 404), TransferProblem.NOT_FOUND),
        (client_error("404", 404), TransferProblem.NOT_FOUND),
        (client_error("403", 403), TransferProblem.PERMISSION),
        (client_error("InvalidAccessKeyId", 403), TransferProblem.CREDENTIALS),
        (client_error("SignatureDoesNotMatch", 403), TransferProblem.CREDENTIALS),
        (client_error("AccessDenied", 403), TransferProblem.PERMISSION),
        (client_error("AccessControlListNotSupported", 400), TransferProblem.NO_ACL),
        (client_error("NotImplemented", 501), TransferProblem.NO_ACL),
        (client_error("PreconditionFailed", 412), TransferProblem.EXISTS),
        (client_error("SlowDown", 503), TransferProblem.BUSY),
        (client_error("SomethingOfTheirOwn", 503), TransferProblem.BUSY),
        (client_error("SomethingOfTheirOwn", 400), TransferProblem.REFUSED),
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), TransferProblem.UNREACHABLE),
        (exceptions.ConnectTimeoutError(endpoint_url="http://x"), TransferProblem.UNREACHABLE),
        (exceptions.ReadTimeoutError(endpoint_url="http://x"), TransferProblem.UNREACHABLE),
        (exceptions.ConnectionClosedError(endpoint_url="http://x"), TransferProblem.UNREACHABLE),
        (exceptions.SSLError(endpoint_url="http://x", error="…"), TransferProblem.UNREACHABLE),
        (exceptions.NoCredentialsError(), TransferProblem.CREDENTIALS),
        (exceptions.ParamValidationError(report="…"), TransferProblem.REFUSED),
        (ValueError("the moon"), TransferProblem.UNMAPPED),
        (exceptions.BotoCoreError(), TransferProblem.UNMAPPED),
    ],
)
def test_s3(error: Exception, problem: TransferProblem) -> None:
    failure = s3_failure(error)
    assert failure.problem is problem
    assert failure.mapped == (problem is not TransferProblem.UNMAPPED)


def test_s3_tells_the_pause() -> None:
    assert s3_failure(client_error("SlowDown", 503, {"retry-after": "4"})).retry_after_seconds == 4.0
    assert s3_failure(client_error("Own", 503, {"retry-after": "4"})).retry_after_seconds == 4.0
