"""The commands that act on Modal: deploy, start and follow, claim, stop. `quickstart.submitter` is what runs there."""

import argparse
import socket
import time
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from quickstart.cli.arguments import CommandParser
from quickstart.cli.following import ends_within, follow
from quickstart.cli.rendering import print_dry_action, print_json
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.modal_app.account import has_ended, modal_errors
from quickstart.modal_app.names import (
    APP,
    CLAIM,
    CLAIMING,
    DASHBOARD_MODULE,
    DICT,
    DISARMED,
    GPU_CALLS,
    MODULES,
    REVEAL,
    RUNNING,
    STARTED,
    SUBMITTER,
    TENDING,
    TRAINING_APP,
    TRAINING_MODULE,
    TRAINING_RUNNING,
    TRAINING_STARTED,
    UPKEEP,
)
from quickstart.settings import load_settings

if TYPE_CHECKING:
    import modal

ORDERLY_SECONDS = 30.0
"""How long `stop` waits for a run to end in order before it is cancelled: it looks every two seconds."""

CANCEL_SECONDS = 60.0
"""How long `stop` waits for a cancelled run. Modal ends it in any case."""

CLAIM_SECONDS = 600.0
"""How long `submit` waits for a claim or upkeep that is at work: there is one signer."""

EVERYWHERE = frozenset({"json", "verbose", "profile", "detach", "network", "local", "rpc_url"})
"""Options that a command takes also when it runs on Modal, or that say that it does not."""


def on_modal(arguments: argparse.Namespace) -> bool:
    """Whether no network and no place of our own is named: then the deployed apps do the work."""
    return not (arguments.network or arguments.local or arguments.rpc_url)


def refuse_local_options(
    arguments: argparse.Namespace, parser: CommandParser, known: frozenset[str] = EVERYWHERE
) -> None:
    """What is deployed takes its settings from the secrets and the code, not from the command line. `known`: options
    that mean something to it all the same.

    Raises:
        UsageError: names the options that were given and mean something on this machine only.
    """
    given = [
        "--" + name.replace("_", "-")
        for name, value in vars(arguments).items()
        if name not in known and value != parser.get_default(name)
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)} means nothing to what is deployed: add --local or --network, or set it in .env "
            "and run `uv run create-secrets`"
        )


def run_deploy(arguments: argparse.Namespace) -> int:
    """Deploys every app, that which trains only where there is money for it, and arms the schedules.

    Raises:
        UsageError: a secret is missing or lacks a key; or Modal refuses what is declared.
    """
    import modal

    settings = load_settings()
    modules = [*MODULES]
    modules += [DASHBOARD_MODULE] if settings.dashboard_password else []
    modules += [TRAINING_MODULE] if settings.training_dollars_per_day else []
    deployed = []
    with modal_errors():
        for name in modules:
            app: modal.App = import_module(name).app
            if arguments.dry_run:
                pass
            elif arguments.json:
                app.deploy()
            else:
                with modal.enable_output():
                    app.deploy()
            deployed.append({"app": app.name, "app_id": app.app_id, "module": name})
        if not arguments.dry_run:
            _state().pop(DISARMED, None)
    if arguments.dry_run:
        would = [row["app"] for row in deployed]
        print_dry_action({"would_deploy": would}, f"would deploy {', '.join(map(str, would))}", as_json=arguments.json)
    elif arguments.json:
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
        call = _cycle_at_work(state)
        found = call is not None
        if call is None:
            call = submitter.spawn()
            state.put(STARTED, call.object_id)
    leaving = "`uv run submit` follows it again, `uv run stop` stops it"
    return follow(call, state, arguments, found=found, leaving=leaving)


def claim_on_modal(arguments: argparse.Namespace) -> int:
    """Starts the deployed claim function and follows it.

    Raises:
        UsageError: nothing is deployed, or the claim ended with something that a person can mend.
    """
    with modal_errors():
        claim = _function(CLAIM)
        state = _state()
        call = claim.spawn()
        state.put(CLAIMING, call.object_id)
    return follow(call, state, arguments, found=False, leaving="`uv run stop` stops it")


def upkeep_on_modal(arguments: argparse.Namespace, what: str, parser: CommandParser) -> int:
    """Starts the deployed upkeep function on `what`, and follows it.

    Raises:
        UsageError: nothing is deployed, or it ended with something that a person can mend.
    """
    refuse_local_options(arguments, parser, EVERYWHERE | {"dry_run"})
    with modal_errors():
        upkeep = _function(UPKEEP)
        state = _state()
        call = upkeep.spawn(what, dry_run=arguments.dry_run)
        state.put(TENDING, call.object_id)
    return follow(call, state, arguments, found=False, leaving="`uv run stop` stops it")


def run_stop(arguments: argparse.Namespace) -> int:
    """Disarms the schedule, ends what is at work, then the scoring it had started. Safe to repeat.

    The order matters: a cycle that is still at work would start more of what was just ended. It sees by itself that
    it is to end, settles what is in flight and leaves; only one that does not is cancelled.

    Raises:
        UsageError: nothing is deployed.
    """
    with modal_errors():
        reveals = _is_training_deployed()
        state = _state(create=not arguments.dry_run)
        keys = (RUNNING, STARTED, CLAIMING, TENDING, TRAINING_RUNNING, TRAINING_STARTED)
        runs = list(_at_work(state, *keys))
        if arguments.dry_run:
            return _would_stop(runs, len(list(_gpu_calls(state))), as_json=arguments.json)
        state.put(DISARMED, f"since {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())} by {socket.gethostname()}")
        for run in runs:
            if arguments.now or not ends_within(run, ORDERLY_SECONDS):
                run.cancel()
                ends_within(run, CANCEL_SECONDS)
        scoring = list(_gpu_calls(state))
        for key, call in scoring:
            _cancel(call)
            state.pop(key, None)
    stopped = [run.object_id for run in runs]
    document = {"disarmed": True, "stopped": stopped, "gpu_calls_stopped": len(scoring)}
    if arguments.json:
        print_json(document | ({"reveals_go_on": True} if reveals else {}))
        return EXIT_DONE
    print(f"{'schedule':<9} disarmed until `uv run submit` or `uv run deploy`")
    print(f"{'runs':<9} {', '.join(stopped) + ' stopped' if stopped else 'none was at work'}")
    print(f"{'GPU calls':<9} {len(scoring)} stopped")
    if reveals:
        print(f"{'reveals':<9} go on, half a stake hangs on each; `uv run modal app stop {TRAINING_APP}` ends them too")
    print("nothing earned is lost: the next run settles what was in flight, and claims")
    return EXIT_DONE


def _would_stop(runs: "list[modal.FunctionCall[Any]]", scoring: int, *, as_json: bool) -> int:
    names = [run.object_id for run in runs]
    document = {"would_disarm": True, "would_stop": names, "gpu_calls": scoring}
    said = f"would disarm the schedule, stop {', '.join(names) or 'no run'} and {scoring} GPU calls"
    print_dry_action(document, said, as_json=as_json)
    return EXIT_DONE


def _function(name: str) -> "modal.Function[..., Any, Any]":
    """A deployed function; a missing one is found out here."""
    import modal

    return modal.Function.from_name(APP, name).hydrate()


def _is_training_deployed() -> bool:
    """Whether the app that trains is deployed, which reveals; else the submitter must be.

    Raises:
        modal.exception.NotFoundError: neither is.
    """
    import modal

    try:
        modal.Function.from_name(TRAINING_APP, REVEAL).hydrate()
    except modal.exception.NotFoundError:
        _function(SUBMITTER)
        return False
    return True


def _state(*, create: bool = True) -> "modal.Dict":
    import modal

    return modal.Dict.from_name(DICT, create_if_missing=create).hydrate()


def _cycle_at_work(state: "modal.Dict") -> "modal.FunctionCall[Any] | None":
    """The cycle's call, whoever started it; None if there is none. A claim or upkeep at work is waited for."""
    others = {state.get(key): name for key, name in ((CLAIMING, "claim"), (TENDING, "upkeep"))}
    for call in _at_work(state, RUNNING, STARTED):
        name = others.get(call.object_id)
        if name is None:
            return call
        print(f"{'waiting':<9} for the {name} {call.object_id}", flush=True)
        if not ends_within(call, CLAIM_SECONDS):
            raise UsageError(f"the {name} {call.object_id} is still at work; run this again when it has ended")
    return None


def _at_work(state: "modal.Dict", *keys: str) -> "Iterator[modal.FunctionCall[Any]]":
    """The calls named under these keys that wait or run, each once."""
    import modal

    for call_id in dict.fromkeys(filter(None, map(state.get, keys))):
        call = modal.FunctionCall.from_id(call_id)
        if not has_ended(call):
            yield call


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
