"""Failed reads: what is worth another try, what to tell the person."""

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.chain.outcomes import ReadProblem, read_failure
from quickstart.chain.status_text import RETRY_AFTER_CAP_SECONDS
from quickstart.errors import EXIT_USAGE, NetworkError, QuickstartError, UnmappedFailure, UnreachableError

URL = "http://127.0.0.1:9000"
TOO_LARGE = "Error, decoded message length too large: found 4206000 bytes, the limit is: 4194304 bytes"
INCOMPLETE = "error converting from protobuf: field: object reason: FIELD_INVALID description: … reason: FIELD_MISSING"
MISMATCH = "Client/Server api version mismatch, client api version : 0.1.19, server api version : soma-node/0.1.21"


def status(code: str, message: str) -> str:
    return f'status: {code}, message: "{message}", details: [], metadata: MetadataMap {{ headers: {{}} }}'


KNOWN: list[tuple[str, ReadProblem]] = [
    (status("Unavailable", "tcp connect error"), ReadProblem.UNREACHABLE),
    (status("Unavailable", "dns error"), ReadProblem.UNREACHABLE),
    ("transport error", ReadProblem.UNREACHABLE),
    ("Error initializing RPC client: transport error", ReadProblem.UNREACHABLE),
    ("Invalid proxy address format: localhost:9000: relative URL without a base", ReadProblem.UNREACHABLE),
    (status("NotFound", f"Object 0x{'22' * 32} not found"), ReadProblem.NOT_FOUND),
    (status("NotFound", "Transaction 4PNC not found"), ReadProblem.NOT_FOUND),
    (status("NotFound", "chain not found in service info response"), ReadProblem.BAD_REPLY),
    (status("NotFound", "balance not found in response"), ReadProblem.BAD_REPLY),
    (status("NotFound", "no object returned"), ReadProblem.BAD_REPLY),
    (status("NotFound", "system_state not found in get system state response"), ReadProblem.BAD_REPLY),
    (status("NotFound", "protocol version not found"), ReadProblem.BAD_REPLY),
    (status("NotFound", "model_architecture_version not found in protocol config"), ReadProblem.BAD_REPLY),
    (status("NotFound", "get_epoch response missing epoch data"), ReadProblem.BAD_REPLY),
    (status("Unknown", INCOMPLETE), ReadProblem.BAD_REPLY),
    (
        status("Internal", "system_state could not be converted to domain type: Missing parameters"),
        ReadProblem.BAD_REPLY,
    ),
    (status("OutOfRange", TOO_LARGE), ReadProblem.STATE_TOO_LARGE),
    (status("ResourceExhausted", "too many requests, retry after 3 s"), ReadProblem.RATE_LIMITED),
    (status("Unavailable", "http2 error"), ReadProblem.TRANSIENT),
    (status("DeadlineExceeded", "deadline"), ReadProblem.TRANSIENT),
    (status("Internal", "h2 protocol error"), ReadProblem.TRANSIENT),
    ("Network error: error sending request for url (http://127.0.0.1:9000/x)", ReadProblem.TRANSIENT),
    ("All 1 validators failed, last error: Network error: error sending request", ReadProblem.TRANSIENT),
    ("timed out waiting for the next epoch", ReadProblem.TRANSIENT),
    (status("InvalidArgument", "invalid status_filter: 'x'"), ReadProblem.REFUSED),
    (status("Unimplemented", ""), ReadProblem.REFUSED),
    (status("PermissionDenied", "no"), ReadProblem.REFUSED),
    ("Service not configured: No scoring_url was provided", ReadProblem.REFUSED),
    ("No faucet_url was provided when creating SomaClient", ReadProblem.REFUSED),
    (
        "gRPC error: code: 'Client specified an invalid argument', message: \"At least one model\"",
        ReadProblem.REFUSED,
    ),
    (
        "gRPC error: code: 'Internal error', message: \"Runtime competition error: Blob error\"",
        ReadProblem.TRANSIENT,
    ),
    (MISMATCH, ReadProblem.VERSION_MISMATCH),
    ("the moon is in the wrong house", ReadProblem.UNMAPPED),
    (status("DataLoss", "the moon is in the wrong house"), ReadProblem.UNMAPPED),
]


@pytest.mark.parametrize(("text", "problem"), KNOWN)
def test_failures_of_reads(text: str, problem: ReadProblem) -> None:
    failure = read_failure(RuntimeError(text), URL)
    assert failure.problem is problem
    assert failure.mapped == (problem is not ReadProblem.UNMAPPED)
    assert URL in failure.message and "\n" not in failure.message


def test_every_problem_is_reached() -> None:
    assert {problem for _, problem in KNOWN} == set(ReadProblem)


def test_only_what_may_pass_is_tried_again() -> None:
    retried = {problem for text, problem in KNOWN if read_failure(RuntimeError(text), URL).retryable}
    assert retried == {ReadProblem.UNREACHABLE, ReadProblem.TRANSIENT, ReadProblem.RATE_LIMITED}


def test_a_rate_limit_tells_its_pause() -> None:
    failure = read_failure(RuntimeError(status("ResourceExhausted", "retry after 3 s")), URL)
    assert failure.retry_after_seconds == 3.0
    for_ever = read_failure(RuntimeError(status("ResourceExhausted", f"retry after {'9' * 400}")), URL)
    assert for_ever.retry_after_seconds == RETRY_AFTER_CAP_SECONDS


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://127.0.0.1:9000", "uv run devnet"),
        ("http://localhost:9000", "uv run devnet"),
        ("http://[::1]:9000", "uv run devnet"),
        ("https://fullnode.testnet.soma.org", "check the address"),
        ("http://[broken", "check the address"),
    ],
)
def test_a_dead_node_is_named_with_what_to_do(url: str, remedy: str) -> None:
    error = read_failure(RuntimeError(status("Unavailable", "tcp connect error")), url).as_error()
    assert isinstance(error, UnreachableError)
    assert error.exit_code == EXIT_USAGE
    assert url in str(error) and remedy in str(error)


async def _dead_node() -> list[Exception]:
    from soma_sdk import SomaClient

    errors: list[Exception] = []
    client = await SomaClient("http://127.0.0.1:1")
    calls = (
        client.get_server_version(),
        client.get_latest_system_state(),
        SomaClient("http://127.0.0.1:1", faucet_url="http://127.0.0.1:1"),
        SomaClient("127.0.0.1:1"),
    )
    for call in calls:
        try:
            await call
        except RuntimeError as error:
            errors.append(error)
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        try:
            await channel.unary_unary("/soma.rpc.LedgerService/GetServiceInfo")(b"")
        except grpc.aio.AioRpcError as error:
            errors.append(error)
    return errors


def test_a_dead_node_is_recognised_in_the_words_of_every_client() -> None:
    errors = asyncio.run(_dead_node())
    assert len(errors) == 5
    for error in errors:
        assert isinstance(read_failure(error, "http://127.0.0.1:1").as_error(), UnreachableError), error


def test_errors_to_raise() -> None:
    assert type(read_failure(RuntimeError(status("NotFound", "x")), URL).as_error()) is NetworkError
    assert isinstance(read_failure(RuntimeError("the moon"), URL).as_error(), UnmappedFailure)
    assert read_failure(ConnectionRefusedError(), URL).problem is ReadProblem.UNREACHABLE
    assert read_failure(TimeoutError(), URL).problem is ReadProblem.TRANSIENT
    assert read_failure(ValueError("ObjectID hex literal must start with 0x"), URL).problem is ReadProblem.REFUSED
    assert not read_failure(ValueError("not base58"), URL).mapped


@given(st.text(max_size=300))
def test_any_text_gets_a_message_of_one_line(text: str) -> None:
    failure = read_failure(RuntimeError(text), URL)
    assert isinstance(failure.as_error(), QuickstartError)
    assert "\n" not in failure.message and len(failure.message) < 500
