"""The texts the SDK puts around a gRPC status, taken apart (`soma-protocol` §7.1, §16)."""

import re
from dataclasses import dataclass

EXCERPT_CHARACTERS = 240

RETRY_AFTER_CAP_SECONDS = 600.0
"""A node that asks for more is asked again after this: a wait without end would be as if the run had ended."""

BAD_ARGUMENT = re.compile(
    r"^argument '\w+': |^invalid (?:length|value)\b.*expected|^unexpected end of input|ULEB128"
    r"|^remaining input|relative URL without a base|^Invalid URL|^ObjectID hex literal|^Expected a vec"
    r"|^invalid page_token"
    r"|cannot be empty$|^Either data or both|^missing '|^Invalid value was given",
    re.DOTALL,
)
"""Texts of the ValueErrors and TypeErrors with which the SDK refuses arguments before it sends anything."""

# Only wrappers at the very start are peeled: a message may quote other statuses, and those decide nothing.
_WRAPPER = re.compile(r'(?:gRPC error: )?status: Internal, message: \\*"RPC error: (?=status: )')
_STATUS = re.compile(r'(?:gRPC error: |RPC error: )?status: (?P<code>\w+), message: \\*"', re.DOTALL)
_MESSAGE_END = re.compile(r'\\*"(?:, details: \[|\s*$)')
# Scoring and admin speak through a newer stack, which prints a code's description instead of its name.
_DESCRIBED = re.compile(r"gRPC error: code: '(?P<description>[^']*)', message: \"(?P<message>.*)", re.DOTALL)
_CODES_BY_DESCRIPTION = {
    "Client specified an invalid argument": "InvalidArgument",
    "Internal error": "Internal",
    "Some requested entity was not found": "NotFound",
    "The service is currently unavailable": "Unavailable",
    "Deadline expired before operation could complete": "DeadlineExceeded",
    "Some resource has been exhausted": "ResourceExhausted",
    "Operation is not implemented or not supported": "Unimplemented",
    "Unknown error": "Unknown",
}
_RETRY_AFTER = re.compile(r"retry[-_ ]after[\":= ]+(\d+(?:\.\d+)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StatusText:
    """`code`: the gRPC code's name (`InvalidArgument`), `message`: what the server or transport said."""

    code: str
    message: str


def status_of(error: BaseException) -> StatusText | None:
    """The status of an SDK error, or of one of plain gRPC; None where there is none."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):
        name = getattr(code(), "name", "")
        return StatusText("".join(part.capitalize() for part in str(name).split("_")), str(details() or ""))
    return parse_status_text(str(error))


def parse_status_text(text: str) -> StatusText | None:
    """The status inside an SDK text, without the SDK's wrappers; None if there is none at its start."""
    described = _DESCRIBED.match(text)
    if described is not None:
        code = _CODES_BY_DESCRIPTION.get(described["description"], described["description"])
        return StatusText(code, _until_end(described["message"]))
    wrapper = _WRAPPER.match(text)
    inner = text[wrapper.end() :] if wrapper else text
    status = _STATUS.match(inner)
    if status is None:
        return None
    return StatusText(status["code"], _until_end(inner[status.end() :]))


def retry_after_in(text: str) -> float | None:
    """Seconds a rate-limiting server asked to wait, where its text or metadata tell them; at most the cap."""
    match = _RETRY_AFTER.search(text)
    return min(RETRY_AFTER_CAP_SECONDS, float(match[1])) if match else None


def excerpt(text: str) -> str:
    """One line of bounded length, for messages and logs."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1] + "…"


def _until_end(message: str) -> str:
    end = _MESSAGE_END.search(message)
    return message[: end.start()] if end else message
