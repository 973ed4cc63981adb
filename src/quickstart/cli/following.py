"""Following a call on Modal from here: its progress, its result, and Ctrl-C, which leaves it running."""

import argparse
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from quickstart.cli.progress import PLAIN_EVERY_SECONDS
from quickstart.cli.rendering import (
    print_claim,
    print_cleanup,
    print_json,
    print_rebuild,
    print_result,
    result_code,
)
from quickstart.cli.stopping import interrupts_noted
from quickstart.errors import EXIT_DONE, QuickstartError, UnreachableError
from quickstart.modal_app.account import has_ended, modal_errors
from quickstart.modal_app.names import PROGRESS

if TYPE_CHECKING:
    import modal

FOLLOW_SECONDS = 1.0
"""How often a run that is followed is asked for its progress."""


def follow(
    call: "modal.FunctionCall[Any]",
    state: "modal.Dict",
    arguments: argparse.Namespace,
    *,
    found: bool,
    leaving: str,
) -> int:
    """Follows a call to its end, unless it is to be left alone; the exit code.

    `found`: it was at work before; `leaving`: what to say of it after Ctrl-C.

    Raises:
        QuickstartError: it was stopped, or failed on Modal; a failure of our own code comes as it was raised there.
    """
    with interrupts_noted() as interrupted:
        if arguments.json and arguments.detach:
            print_json({"call": call.object_id, "already_running": found})
        elif not arguments.json:
            rest = "`uv run stop` stops it" if arguments.detach else "Ctrl-C leaves it running"
            print(f"{'found' if found else 'started':<9} {call.object_id} on Modal; {rest}", flush=True)
        if arguments.detach:
            return EXIT_DONE
        result = _wait(call, state, interrupted, quiet=arguments.json)
    if result is None:
        print(f"{call.object_id} goes on on Modal; {leaving}", file=sys.stderr)
        return EXIT_DONE
    return _show(result, as_json=arguments.json)


def ends_within(call: "modal.FunctionCall[Any]", seconds: float) -> bool:
    """Waits for a call's end; whether it came in time."""
    deadline = time.monotonic() + seconds
    while not has_ended(call):
        if time.monotonic() > deadline:
            return False
        time.sleep(FOLLOW_SECONDS / 4)
    return True


def _show(result: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        print_json(result)
    elif "skipped" in result:
        print(f"{'skipped':<9} {result['skipped']}")
    elif "error" in result:
        print("error: " + " ".join(str(result["error"]).split()), file=sys.stderr)
    elif "fills_restored" in result:
        print_rebuild(result)
    elif "removed" in result:
        print_cleanup(result)
    elif "windows" in result:
        print_result(result)
    else:
        print_claim(result)
    return result_code(result)


def _wait(
    call: "modal.FunctionCall[Any]", state: "modal.Dict", interrupted: threading.Event, *, quiet: bool
) -> dict[str, Any] | None:
    """What the call returns, or None after Ctrl-C; prints its progress every few seconds."""
    due = 0.0
    while (result := _result(call)) is None and not interrupted.is_set():
        with modal_errors():
            progress = state.get(PROGRESS)
        if progress and progress[0] == call.object_id and not quiet and time.monotonic() >= due:
            due = time.monotonic() + PLAIN_EVERY_SECONDS
            print(progress[1], flush=True)
    return result


def _result(call: "modal.FunctionCall[Any]") -> dict[str, Any] | None:
    """What the call returned; None if it has not ended within `FOLLOW_SECONDS`."""
    from modal import exception

    try:
        return dict(call.get(timeout=FOLLOW_SECONDS))
    except TimeoutError:
        return None
    except (exception.ConnectionError, exception.ServiceError) as error:
        raise UnreachableError(f"no answer from Modal; {call.object_id} goes on there") from error
    except exception.Error as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise QuickstartError(f"{call.object_id} was stopped, or failed on Modal: {text[:300]}") from error
