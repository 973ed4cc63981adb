"""The commands that act on Modal: deploy, start and follow, claim, stop. `quickstart.submitter` is what runs there."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from quickstart.cli.arguments import CommandParser
from quickstart.cli.rendering import print_claim, print_json, print_result
from quickstart.errors import EXIT_DONE, EXIT_USAGE, QuickstartError, UnreachableError, UsageError
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.names import (
    APP,
    CLAIM,
    DICT,
    DISARMED,
    GPU_CALLS,
    MODULES,
    PROGRESS,
    RUNNING,
    SUBMITTER,
)

if TYPE_CHECKING:
    import modal

FOLLOW_SECONDS = 1.0
"""How often a run that is followed is asked for its progress."""

STOPPING_SECONDS = 60.0
"""How long `stop` waits for the cycle to end in order; cancelled as it is, it ends in any case."""

EVERYWHERE = frozenset({"json", "verbose", "detach", "network", "local", "rpc_url"})
"""Options that a command takes also when it runs on Modal, or that say that it does not."""


def on_modal(arguments: argparse.Namespace) -> bool:
    """Whether no network and no place of our own is named: then the deployed apps do the work."""
    return not (arguments.network or arguments.local or arguments.rpc_url)


def refuse_local_options(arguments: argparse.Namespace, parser: CommandParser) -> None:
    """What is deployed takes its settings from the secrets and the code, not from the command line.

    Raises:
        UsageError: names the options that were given and mean something on this machine only.
    """
    given = [
        "--" + name.replace("_", "-")
        for name, value in vars(arguments).items()
        if name not in EVERYWHERE and value != parser.get_default(name)
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)} means nothing to what is deployed: add --local or --network, or set it in .env "
            "and run `uv run create-secrets`"
        )


def run_deploy(arguments: argparse.Namespace) -> int:
    """Deploys every app and arms the schedule.

    Raises:
        UsageError: a secret is missing or lacks a key; or Modal refuses what is declared.
    """
    import modal

    deployed = []
    with modal_errors():
        for name in MODULES:
            app: modal.App = import_module(name).app
            if arguments.json:
                app.deploy()
            else:
                with modal.enable_output():
                    app.deploy()
            deployed.append({"app": app.name, "app_id": app.app_id, "module": name})
        _state(create=True).pop(DISARMED, None)
    if arguments.json:
        print_json({"deployed": deployed})
    else:
        for row in deployed:
            print(f"{'deployed':<9} {row['app']} ({row['app_id']}), from {row['module']}")
        print("the schedule runs by itself from now on; `uv run submit` starts a run at once, `uv run stop` ends all")
    return EXIT_DONE


def submit_on_modal(arguments: argparse.Namespace) -> int:
    """Starts the deployed submitter, or finds it at work, and follows it.

    Raises:
        UsageError: nothing is deployed, or the run ended with something that a person can mend.
    """
    with modal_errors():
        submitter = _function(SUBMITTER)
        state = _state()
        state.pop(DISARMED, None)
        call = _running(state)
        found = call is not None
        if call is None:
            call = submitter.spawn()
            state.put(RUNNING, call.object_id)
    return _tell(call, arguments, found, print_result, "submit")


def claim_on_modal(arguments: argparse.Namespace) -> int:
    """Starts the deployed claim function and follows it.

    Raises:
        UsageError: nothing is deployed, or the claim ended with something that a person can mend.
    """
    with modal_errors():
        call = _function(CLAIM).spawn()
    return _tell(call, arguments, False, print_claim, "claim")


def run_stop(arguments: argparse.Namespace) -> int:
    """Disarms the schedule, ends the cycle at work, then the scoring it had started. Safe to repeat.

    The order matters: a cycle that is still at work would start more of what was just ended.

    Raises:
        UsageError: nothing is deployed.
    """
    with modal_errors():
        _function(SUBMITTER)
        state = _state()
        state.put(DISARMED, time.time())
        cycle = _running(state)
        if cycle is not None:
            cycle.cancel()
            _wait(cycle)
        calls = list(_gpu_calls(state))
        for key, call in calls:
            _cancel(call)
            state.pop(key, None)
        state.pop(RUNNING, None)
    document = {"disarmed": True, "cycle_stopped": cycle.object_id if cycle else None, "gpu_calls_stopped": len(calls)}
    if arguments.json:
        print_json(document)
        return EXIT_DONE
    print("schedule  disarmed until `uv run submit` or `uv run deploy`")
    print(f"cycle     {f'stopped ({cycle.object_id})' if cycle else 'none was running'}")
    print(f"GPU calls {len(calls)} stopped")
    print("nothing earned is lost: the next run settles what was in flight, and claims")
    return EXIT_DONE


def _function(name: str) -> "modal.Function[..., Any, Any]":
    """A deployed function; a missing one is found out here."""
    import modal

    return modal.Function.from_name(APP, name).hydrate()


def _state(*, create: bool = False) -> "modal.Dict":
    import modal

    return modal.Dict.from_name(DICT, create_if_missing=create).hydrate()


def _running(state: "modal.Dict") -> "modal.FunctionCall[Any] | None":
    """The call of the cycle at work; None if there is none."""
    import modal

    call_id = state.get(RUNNING)
    if not call_id:
        return None
    call = modal.FunctionCall.from_id(call_id)
    return None if _has_ended(call) else call


def _has_ended(call: "modal.FunctionCall[Any]") -> bool:
    """Whether a call is over, however it ended.

    Raises:
        modal.exception.Error: Modal does not answer, which says nothing about the call.
    """
    from modal import exception

    try:
        call.get(timeout=0)
    except TimeoutError:  # the builtin: it is waiting or at work
        return False
    except (exception.ConnectionError, exception.ServiceError, exception.AuthError):
        raise
    except Exception:  # noqa: BLE001 - whatever the call itself raised, or Modal forgot: it has ended
        return True
    return True


def _wait(call: "modal.FunctionCall[Any]") -> None:
    """Until a cancelled call has ended, so that it starts nothing more."""
    end = time.monotonic() + STOPPING_SECONDS
    while not _has_ended(call) and time.monotonic() < end:
        time.sleep(FOLLOW_SECONDS / 4)


def _gpu_calls(state: "modal.Dict") -> "Iterator[tuple[str, modal.FunctionCall[Any]]]":
    import modal

    for key in list(state.keys()):
        if isinstance(key, str) and key.startswith(GPU_CALLS + "/"):
            call_id = state.get(key)
            if isinstance(call_id, str):
                yield key, modal.FunctionCall.from_id(call_id)


def _cancel(call: "modal.FunctionCall[Any]") -> None:
    """Ends a scoring call and the container under it: an idle GPU is paid for too."""
    from modal import exception

    try:
        call.cancel(terminate_containers=True)
    except exception.NotFoundError:  # over for so long that Modal has forgotten it
        return


def _tell(
    call: "modal.FunctionCall[Any]",
    arguments: argparse.Namespace,
    found: bool,
    as_text: Callable[[dict[str, Any]], None],
    command: str,
) -> int:
    """Follows a call to its end unless it is to be left alone; the exit code."""
    if arguments.detach:
        if arguments.json:
            print_json({"call": call.object_id, "already_running": found})
        else:
            print(f"{'running' if found else 'started'}   {call.object_id}; `uv run stop` stops it")
        return EXIT_DONE
    if not arguments.json:
        print(f"{'found' if found else 'started'}   {call.object_id} on Modal; Ctrl-C leaves it running", flush=True)
    try:
        result = _follow(call, quiet=arguments.json)
    except KeyboardInterrupt:
        print(
            f"{call.object_id} goes on on Modal; `uv run {command}` follows it again, `uv run stop` stops it"
            if command == "submit"
            else f"{call.object_id} goes on on Modal",
            file=sys.stderr,
        )
        return EXIT_DONE
    return _show(result, arguments, as_text)


def _show(result: dict[str, Any], arguments: argparse.Namespace, as_text: Callable[[dict[str, Any]], None]) -> int:
    if arguments.json:
        print_json(result)
    elif "error" in result:
        print("error: " + " ".join(str(result["error"]).split()), file=sys.stderr)
    elif "ended" in result:
        print(result["ended"])
    else:
        as_text(result)
    return EXIT_USAGE if "error" in result else EXIT_DONE


def _follow(call: "modal.FunctionCall[Any]", *, quiet: bool) -> dict[str, Any]:
    """What the call returns; prints its progress as it changes.

    Raises:
        QuickstartError: it was stopped, or failed on Modal; a failure of our own code comes as it was raised there.
    """
    with modal_errors():
        state = _state()
    shown = None
    while (result := _result(call)) is None:
        with modal_errors():
            progress = state.get(PROGRESS)
        if progress and progress != shown and progress[0] == call.object_id and not quiet:
            print(progress[1], flush=True)
        shown = progress
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
