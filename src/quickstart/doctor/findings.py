"""What a check says: all is well, or one line about what is not and what mends it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from quickstart.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE


class Severity(StrEnum):
    """`WARNING`: it works, or could not be looked at; `ERROR`: a run does not begin, or loses money."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check`: what was looked at; `message`: one line; `mending`: the command or page that mends it, empty if all is
    well. `fix`: name of the fix in `doctor.fixes` that does it without asking, if there is one.
    """

    check: str
    severity: Severity
    message: str
    mending: str = ""
    fix: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, Severity.OK, message)


def warning(check: str, message: str, mending: str, fix: str = "") -> Finding:
    return Finding(check, Severity.WARNING, message, mending, fix)


def error(check: str, message: str, mending: str, fix: str = "") -> Finding:
    return Finding(check, Severity.ERROR, message, mending, fix)


def not_checked(check: str, because: str, mending: str) -> Finding:
    """A check that needs what another one found missing."""
    return warning(check, f"not checked: {because}", mending)


def worst(findings: Iterable[Finding]) -> Severity:
    order = list(Severity)
    return max((finding.severity for finding in findings), key=order.index, default=Severity.OK)


def exit_code(findings: Iterable[Finding], *, strict: bool) -> int:
    """0 when all is well, 2 with errors, 1 with warnings if `strict`."""
    match worst(findings):
        case Severity.ERROR:
            return EXIT_USAGE
        case Severity.WARNING if strict:
            return EXIT_FAILED
    return EXIT_DONE
