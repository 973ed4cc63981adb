"""Modal's errors in our words, and what became of a call. Modal itself is loaded where it is first needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from quickstart.errors import NetworkError, SettingsError, UnreachableError, UsageError
from quickstart.profiles import chosen

NOTHING_DEPLOYED = (
    "nothing is deployed on Modal: run `uv run deploy` first; or run the loop on this machine with --local, "
    "or try it all on the embedded network with --network devnet"
)
SETUP = "run `uv run modal setup`"


@contextmanager
def modal_errors() -> Iterator[None]:
    """Calls of Modal within the block fail in one line that says how to mend it.

    Raises:
        SettingsError: no token, or one that Modal does not accept.
        UsageError: what was asked for is not deployed, or a secret is missing or lacks a key.
        UnreachableError: Modal does not answer.
        TimeoutError: as it came.
        NetworkError: Modal failed otherwise.
    """
    from modal import exception

    try:
        yield
    except TimeoutError:  # the builtin, an OSError: a call that has not ended yet
        raise
    except exception.AuthError as error:
        raise SettingsError(f"Modal does not know you ({_first_sentence(error)}): {SETUP}") from error
    except exception.PermissionDeniedError as error:
        raise SettingsError(f"your Modal token may not do that ({_first_sentence(error)}): {SETUP}") from error
    except exception.NotFoundError as error:
        raise UsageError(_not_found(str(error))) from error
    except (exception.ConnectionError, exception.ServiceError, OSError) as error:
        # Modal's client raises bare connection errors too when its server has never answered.
        raise UnreachableError(
            f"no answer from Modal ({_first_sentence(error)}); check the network and run this again"
        ) from error
    except exception.VersionError as error:
        raise UsageError(f"Modal wants a newer client ({_first_sentence(error)}); update this program") from error
    except exception.InvalidError as error:
        raise UsageError(f"Modal refuses this: {_first_sentence(error)}") from error
    except exception.Error as error:
        raise NetworkError(f"Modal failed: {type(error).__name__}: {_first_sentence(error)}") from error


class Call(Protocol):
    """A function call somewhere else (`modal.FunctionCall`)."""

    @property
    def object_id(self) -> str: ...

    def get(self, timeout: float | None = None) -> Any: ...

    def cancel(self, terminate_containers: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: with what it returned, or with what it raised on the other side."""

    value: Any = None
    error: Exception | None = None


def ending_of(call: Call, seconds: float = 0.0) -> Ending | None:
    """How a call ended, or None if it has not within `seconds`: it waits or is at work.

    Raises:
        Exception: Modal could not be asked, which says nothing about the call. What a call of ours raised never looks
            like that: `own_failures`.
    """
    from modal import exception

    try:
        return Ending(call.get(timeout=seconds))
    except TimeoutError:  # the builtin, an OSError; Modal's own of that name are about calls that have ended
        return None
    except (
        exception.ConnectionError,
        exception.ServiceError,
        exception.AuthError,
        exception.InternalError,
        exception.ClientClosed,
        OSError,
    ):
        raise
    except Exception as error:  # noqa: BLE001 - whatever the call itself raised, or Modal forgot: it has ended
        return Ending(error=error)


def has_ended(call: Call) -> bool:
    """Whether a call is over, however it ended.

    Raises:
        Exception: as `ending_of`.
    """
    return ending_of(call) is not None


@contextmanager
def own_failures() -> Iterator[None]:
    """Around what runs on Modal: errors of kinds that `ending_of` takes for trouble with asking leave it as a
    `RuntimeError`. Modal raises at the caller what was raised here, of the same class.
    """
    from modal import exception

    try:
        yield
    except (exception.Error, OSError) as error:
        raise RuntimeError(described(error)) from error


def described(error: Exception) -> str:
    """An error of any kind in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _not_found(text: str) -> str:
    if "secret" in text.lower():
        return f"{text.rstrip('.')}: run `uv run create-secrets`"
    if name := chosen().name:
        return (
            f"{text.rstrip('.')}: the profile {name} uses the Modal environment {name}: make it with "
            f"`uv run modal environment create {name}`, then run `uv run deploy --profile {name}`"
        )
    return NOTHING_DEPLOYED


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:200]
