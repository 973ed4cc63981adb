"""Every failure text of the SDK becomes a typed outcome; one that no rule knows stays unknown and says so.

`failures.json` holds what the SDK gives for each kind of failed execution: the text its convenience calls raise and
the status in its effects.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstart.chain.ids import format_digest
from quickstart.chain.outcomes import (
    Failure,
    FailureKind,
    Refusal,
    RefusalReason,
    Unknown,
    UnknownCause,
    Verdict,
    classify,
    failure_of,
    verdict_of,
)
from quickstart.errors import UnmappedFailure, UnreachableError

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "failures.json").read_text())

COIN = "0x" + "22" * 32
HOLDER = bytes(range(32))
DETAILS = ', details: [], metadata: MetadataMap { headers: {"content-type": "application/grpc"} }'
STALE = f"Object ({COIN}, Version(7), o#4PNC) is not available for consumption, its current version: Version(9)"
NON_RETRIABLE = (
    "Transaction is rejected as invalid by more than 1/3 of validators by stake (non-retriable). "
    "Non-retriable errors: [{} with 10000 stake]. Retriable errors: []."
)
LOCKED = (
    f"Failed to sign: Object ({COIN}, Version(7), o#4PNC) already locked by a different transaction: "
    f"TransactionDigest({format_digest(HOLDER)})"
)


def status(code: str, message: str) -> str:
    """A status as raw calls raise it."""
    return f'status: {code}, message: "{message}"{DETAILS}'


def wrapped(code: str, message: str) -> str:
    """The same as convenience calls raise it."""
    inner = status(code, message).replace('"', '\\"')
    return f'gRPC error: status: Internal, message: "RPC error: {inner}", details: [], metadata: MetadataMap {{}}'


def namespace(value: Any) -> Any:
    return SimpleNamespace(**{k: namespace(v) for k, v in value.items()}) if isinstance(value, dict) else value


# -- executed and failed


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"kind{row['kind']}")
def test_every_kind_of_failure_is_known_in_text_and_in_effects(row: dict[str, Any]) -> None:
    from_effects = failure_of(namespace(row["status"]))
    assert from_effects == failure_of(row["status"])
    assert from_effects is not None and from_effects.mapped
    from_text = classify(RuntimeError(row["text"]))
    assert isinstance(from_text, Failure) and from_text.digest is not None
    assert verdict_of(from_text) is Verdict.FAILED
    assert (from_text.kind, from_text.variant) == (from_effects.kind, from_effects.variant)
    assert format_digest(from_text.digest) in row["text"]
    if from_effects.kind is not FailureKind.DISTANCE_EXCEEDS_THRESHOLD:
        assert dict(from_text.details) == dict(from_effects.details)


def test_the_table_holds_nothing_that_was_not_seen() -> None:
    seen = {failure.kind for row in RECORDED if (failure := failure_of(row["status"])) is not None}
    assert seen == set(FailureKind) - {FailureKind.UNMAPPED}


@pytest.mark.parametrize(
    ("variant", "details"),
    [
        ("TargetExpired", {"generation_epoch": 1, "current_epoch": 2}),
        ("InsufficientBond", {"required": 6500, "provided": 4000}),
        ("SomaError", {"error": "a text"}),
        ("InvalidArguments", {"reason": "some reason"}),
        ("DistanceExceedsThreshold", {"score": 1.5, "threshold": 1.0499999523162842}),
    ],
)
def test_details_are_numbers_where_they_are_numbers(variant: str, details: dict[str, Any]) -> None:
    found = [failure_of(row["status"]) for row in RECORDED]
    assert any(f is not None and f.variant == variant and dict(f.details) == details for f in found)


def test_success_is_no_failure() -> None:
    assert failure_of("Success") is None


def test_a_newer_variant_is_a_failure_that_says_it_is_unmapped() -> None:
    bare = failure_of(SimpleNamespace(Failure=SimpleNamespace(error="BrandNewVariant")))
    detailed = failure_of({"Failure": {"error": {"BrandNewVariant": {"epoch": 3}}}})
    for failure in (bare, detailed):
        assert failure is not None and not failure.mapped
        assert failure.variant == "BrandNewVariant"
        assert verdict_of(failure) is Verdict.FAILED
    assert str(detailed) == "BrandNewVariant (epoch 3)"


@pytest.mark.parametrize(
    "nonsense", [None, "Failed", 3, {}, SimpleNamespace(), {"Failure": {}}, {"Failure": {"error": {}}}]
)
def test_what_is_no_status_is_not_taken_for_one(nonsense: object) -> None:
    with pytest.raises(UnmappedFailure):
        failure_of(nonsense)


# -- refused


REFUSED: list[tuple[str, RefusalReason]] = [
    (status("InvalidArgument", STALE), RefusalReason.STALE_COIN),
    (wrapped("InvalidArgument", STALE), RefusalReason.STALE_COIN),
    (status("InvalidArgument", NON_RETRIABLE.format(STALE)), RefusalReason.STALE_COIN),
    (
        status("InvalidArgument", f"Invalid Object digest for object {COIN}. Expected digest : o#4PNC"),
        RefusalReason.STALE_COIN,
    ),
    (status("FailedPrecondition", LOCKED), RefusalReason.LOCKED_COIN),
    (wrapped("FailedPrecondition", LOCKED), RefusalReason.LOCKED_COIN),
    (status("FailedPrecondition", "ObjectLockConflict { obj_ref: … }"), RefusalReason.LOCKED_COIN),
    (
        status("InvalidArgument", "Invalid user signature: Signature is not valid: wrong"),
        RefusalReason.BAD_SIGNATURE,
    ),
    (
        status("InvalidArgument", 'Invalid user signature: Required Signature from 0x11 is absent [\\"0x22\\"]'),
        RefusalReason.WRONG_SENDER,
    ),
    (
        status("Aborted", "Transaction was not signed by the correct sender: not owner"),
        RefusalReason.WRONG_SENDER,
    ),
    (status("Aborted", "Gas payment error No gas payment provided"), RefusalReason.MALFORMED),
    (status("InvalidArgument", NON_RETRIABLE.format("something new")), RefusalReason.REJECTED),
    (f"Data error: {status('Unavailable', 'http2 error')}", RefusalReason.NOTHING_SENT),
    (f"Data error: {status('Unavailable', 'tcp connect error')}", RefusalReason.NOTHING_SENT),
    (status("Unavailable", "tcp connect error"), RefusalReason.NOTHING_SENT),
    (status("Unavailable", "dns error"), RefusalReason.NOTHING_SENT),
    (wrapped("Unavailable", "tcp connect error"), RefusalReason.NOTHING_SENT),
    ("Error initializing RPC client: transport error", RefusalReason.NOTHING_SENT),
    ("transport error", RefusalReason.NOTHING_SENT),
    (
        f"Data error: No available coin for address {'22' * 32} (excluded 2 locked coins). Fund it",
        RefusalReason.NO_COIN,
    ),
    (
        f"Data error: No available gas coin for address {'22' * 32} (excluded 0 locked coins)",
        RefusalReason.NO_COIN,
    ),
    ("Data error: Nothing to merge: one coin", RefusalReason.NO_COIN),
    (f"No coin found for {'22' * 32}", RefusalReason.NO_COIN),
    (
        "Service not configured: No admin_url was provided when creating SomaClient",
        RefusalReason.NOT_CONFIGURED,
    ),
    ("No faucet_url was provided when creating SomaClient", RefusalReason.NOT_CONFIGURED),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_refusals(text: str, reason: RefusalReason) -> None:
    outcome = classify(RuntimeError(text))
    assert isinstance(outcome, Refusal)
    assert outcome.reason is reason
    assert verdict_of(outcome) is Verdict.REFUSED


def test_every_reason_is_reached() -> None:
    assert {reason for _, reason in REFUSED} == set(RefusalReason)


@pytest.mark.parametrize(
    "text", [status("InvalidArgument", STALE), wrapped("InvalidArgument", NON_RETRIABLE.format(STALE))]
)
def test_a_stale_coin_is_named_with_its_versions(text: str) -> None:
    outcome = classify(RuntimeError(text))
    assert isinstance(outcome, Refusal)
    assert (outcome.object_id, outcome.stated_version, outcome.current_version) == (bytes([0x22]) * 32, 7, 9)
    assert outcome.reason.settles_earlier_attempts


@pytest.mark.parametrize("text", [status("FailedPrecondition", LOCKED), wrapped("FailedPrecondition", LOCKED)])
def test_a_locked_coin_is_named_with_its_holder(text: str) -> None:
    outcome = classify(RuntimeError(text))
    assert isinstance(outcome, Refusal)
    assert (outcome.object_id, outcome.stated_version, outcome.holder_digest) == (
        bytes([0x22]) * 32,
        7,
        HOLDER,
    )
    # The holder may be an earlier attempt with the same bytes.
    assert not outcome.reason.settles_earlier_attempts


@pytest.mark.parametrize(
    "error",
    [
        ValueError("unexpected end of input"),
        ValueError("invalid value: 69, expected one of: 0, 1, 2, 3"),
        ValueError("invalid length 0, expected an byte array of size 32"),
        ValueError("ULEB128 encoding was not minimal in size"),
        ValueError("remaining input"),
        ValueError("Embedding cannot be empty"),
        ValueError("Invalid URL: relative URL without a base"),
        ValueError("ObjectID hex literal must start with 0x"),
        ValueError("Either data or both data_checksum and data_size are required"),
        TypeError("argument 'tx_bytes': Can't extract `str` to `Vec`"),
    ],
)
def test_arguments_the_sdk_does_not_take_are_refused(error: Exception) -> None:
    outcome = classify(error)
    assert isinstance(outcome, Refusal)
    assert outcome.reason is RefusalReason.MALFORMED


async def _refused_by_the_sdk() -> list[Exception]:
    from soma_sdk import SomaClient

    client = await SomaClient("http://127.0.0.1:1")
    errors: list[Exception] = []
    for argument in (b"", b"\x01\x00\x00\x01", bytes(40), b"\xff" * 40, "text", None, 7):
        try:
            await client.execute_transaction(argument)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            errors.append(error)
    return errors


def test_the_sdks_own_words_for_bad_bytes_are_known() -> None:
    import asyncio

    errors = asyncio.run(_refused_by_the_sdk())
    assert len(errors) == 7
    for error in errors:
        outcome = classify(error)
        assert isinstance(outcome, Refusal) and outcome.reason is RefusalReason.MALFORMED, error


# -- unknown


OPEN: list[tuple[str, UnknownCause]] = [
    ("Transaction executed but checkpoint wait timed out", UnknownCause.UNCONFIRMED),
    (
        'gRPC error: status: Internal, message: "Transaction executed but checkpoint wait timed out"',
        UnknownCause.UNCONFIRMED,
    ),
    (
        f"Transaction executed but checkpoint stream had an error: {status('Unknown', 'Too many pings')}",
        UnknownCause.UNCONFIRMED,
    ),
    (
        'gRPC error: status: Internal, message: "Transaction executed but checkpoint stream had an error: '
        'status: InvalidArgument, message: \\"x\\""',
        UnknownCause.UNCONFIRMED,
    ),
    (wrapped("Unavailable", "http2 error"), UnknownCause.CONNECTION_LOST),
    (status("Unavailable", "http2 error"), UnknownCause.CONNECTION_LOST),
    (status("Unknown", "transport error"), UnknownCause.CONNECTION_LOST),
    (
        status("Internal", "h2 protocol error: error reading a body from connection"),
        UnknownCause.CONNECTION_LOST,
    ),
    (wrapped("DeadlineExceeded", "deadline"), UnknownCause.NO_ANSWER),
    (wrapped("Unknown", "what"), UnknownCause.NO_ANSWER),
    (status("Unavailable", "overloaded, come back"), UnknownCause.NO_ANSWER),
    (status("Cancelled", "operation was canceled"), UnknownCause.NO_ANSWER),
    (
        status(
            "Unavailable",
            "Transaction timed out before finality could be reached. Attempts: 17 & timeout: 90s. "
            f"Last: Could not find the referenced object {COIN} at version None",
        ),
        UnknownCause.NO_FINALITY,
    ),
    (status("ResourceExhausted", "too many requests"), UnknownCause.RATE_LIMITED),
    (
        status("Unknown", "error converting from protobuf: field: effects reason: FIELD_INVALID"),
        UnknownCause.UNREADABLE_REPLY,
    ),
    (
        status(
            "OutOfRange",
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        ),
        UnknownCause.UNREADABLE_REPLY,
    ),
]


@pytest.mark.parametrize(("text", "cause"), OPEN)
def test_unknown_outcomes(text: str, cause: UnknownCause) -> None:
    outcome = classify(RuntimeError(text))
    assert isinstance(outcome, Unknown)
    assert outcome.cause is cause and outcome.mapped
    assert verdict_of(outcome) is Verdict.UNKNOWN


def test_a_quoted_refusal_inside_an_open_status_refuses_nothing() -> None:
    """What validators said on the way to a time-out does not prove that the transaction is dead."""
    for inner in (STALE, LOCKED, status("InvalidArgument", STALE)):
        outcome = classify(RuntimeError(status("Unavailable", f"timed out before finality; last error: {inner}")))
        assert isinstance(outcome, Unknown), inner


@pytest.mark.parametrize(
    "hint", ["retry-after: 7", 'metadata: {"retry-after": "7"}', "retry_after=7", "Retry After 7 s"]
)
def test_a_rate_limit_tells_how_long_to_wait(hint: str) -> None:
    outcome = classify(RuntimeError(f'status: ResourceExhausted, message: "slow down", details: [], {hint}'))
    assert isinstance(outcome, Unknown)
    assert outcome.retry_after_seconds == 7.0


@pytest.mark.parametrize(
    "error", [TimeoutError(), ConnectionResetError("reset"), OSError(5, "I/O"), UnmappedFailure("x")]
)
def test_errors_from_below_leave_the_outcome_open(error: Exception) -> None:
    assert isinstance(classify(error), Unknown)


INVENTED = [
    "the moon is in the wrong house",
    status("InvalidArgument", "the moon is in the wrong house"),
    status("Internal", "the moon is in the wrong house"),
    status("DataLoss", "the moon is in the wrong house"),
    "Transaction failed: something else entirely",
]


@pytest.mark.parametrize("text", INVENTED)
def test_an_invented_text_is_unknown_and_says_that_no_rule_knows_it(text: str) -> None:
    outcome = classify(RuntimeError(text))
    assert isinstance(outcome, Unknown)
    assert not outcome.mapped


def test_a_value_error_of_our_own_does_not_pass_for_a_refusal() -> None:
    """Reading the effects of an executed transaction may fail; that must never free its coins."""
    for text in (
        "invalid literal for int() with base 10: 'x'",
        "not base58 of 32 bytes: 'q'",
        "",
        "Invalid character 'O'",
    ):
        outcome = classify(ValueError(text))
        assert isinstance(outcome, Unknown) and not outcome.mapped


pieces = st.sampled_from(
    (
        *("gRPC error: ", "RPC error: ", "Data error: ", "Transaction failed: ", "status: ", ', message: "', '\\"'),
        *("InvalidArgument", "Unavailable", "X failed (digest: ", "): Failure { error: ", "TransactionDigest(", " }"),
        *(STALE, LOCKED),
    )
)


@given(
    st.lists(pieces | st.text(max_size=12), max_size=12).map("".join),
    st.sampled_from([RuntimeError, ValueError]),
)
def test_any_text_gets_an_outcome(text: str, kind: type[Exception]) -> None:
    outcome = classify(kind(text))
    assert verdict_of(outcome) in (Verdict.FAILED, Verdict.REFUSED, Verdict.UNKNOWN)
    assert "\n" not in getattr(outcome, "text", "")


def test_an_unreachable_node_is_not_an_outcome_of_a_transaction() -> None:
    # Lanes connect before anything is sent; that error is the caller's, and never looks settled here.
    assert isinstance(classify(UnreachableError("no answer")), Unknown)
