"""What the commands do, once their arguments are known: wiring of settings, network, wallet, storage and session."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quickstart.cli.main import DEVNET_WINDOWS
from quickstart.cli.networks import network, open_state, storage, wallet_for
from quickstart.cli.rendering import (
    ProgressView,
    print_counts,
    print_dry_run,
    print_epochs,
    print_json,
    print_money,
    print_result,
)
from quickstart.data.folder import FolderSource, python_library
from quickstart.errors import EXIT_DONE, EXIT_FAILED, LeaseHeldError, UsageError
from quickstart.executors.base import Executor
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.settings import Settings, load_settings
from quickstart.submission.actions import Policy
from quickstart.submission.requests import CLAIM
from quickstart.submission.session import Places, Plan, Session, open_session
from quickstart.units import GIB

WEIGHTS_CACHE_BYTES = 40 * GIB

STOP_SECONDS = 2.0
"""How long Ctrl-C waits for transactions in flight; those still open are settled by the next run."""

NOTHING_DEPLOYED = (
    "nothing is deployed to run on Modal yet: run the loop on this machine with --local, "
    "or try it all on the embedded network with --network devnet"
)


def run_submit(arguments: argparse.Namespace) -> int:
    """The loop on this machine: the main job on a devnet, the real thing on another network."""
    settings, state = _prepare(arguments)
    sources = [FolderSource(path) for path in arguments.source or _configured(settings)] or [python_library()]
    windows = arguments.windows or (DEVNET_WINDOWS if arguments.network else settings.windows_per_run)
    plan = Plan(
        policy=Policy(
            lanes=arguments.lanes or settings.lanes,
            max_hits_per_epoch=arguments.max_hits,
            epoch_seconds=arguments.seconds,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
        ),
        epochs=arguments.epochs,
        windows=windows,
        sources=tuple(sources),
        seed=arguments.seed,
        command="submit",
        dry_run=arguments.dry_run,
    )
    result = asyncio.run(_run(arguments, settings, state, plan))
    if arguments.json:
        print_json(result)
    elif arguments.dry_run:
        print_dry_run(result)
    else:
        print_result(result)
    return EXIT_FAILED if result["interrupted"] else EXIT_DONE


def run_claim(arguments: argparse.Namespace) -> int:
    """Claims here, or, when another command holds the wallet's lease, asks that one and follows it."""
    settings, state = _prepare(arguments)
    plan = Plan(
        policy=Policy(lanes=settings.lanes, gas_cap=settings.gas_cap_shannons, scoring=False, max_hits_per_epoch=0),
        epochs=0,
        windows=0,
        sources=(),
        command="claim",
    )
    result = asyncio.run(_run(arguments, settings, state, plan))
    if arguments.json:
        print_json(result)
    elif "asked" in result:
        print(f"claimed by {result['asked']}: {result['claims_landed']} claims landed so far")
    else:
        print_counts(result)
        print_money(result["money"])
    return EXIT_FAILED if result["interrupted"] else EXIT_DONE


def run_status(arguments: argparse.Namespace) -> int:
    """Reads every ledger of the state folder; needs no network."""
    from quickstart.ledger.ledger import Ledger
    from quickstart.submission.summary import summary

    settings = load_settings()
    state = open_state(arguments.state or settings.state)
    ledgers = sorted((state / "networks").glob("*/*/ledger.sqlite"))
    if not ledgers:
        raise UsageError(f"no ledger in {state} yet: run `uv run submit --network devnet` first")
    documents: list[dict[str, Any]] = []
    for path in ledgers:
        ledger = Ledger(path)
        current = max((report.epoch for report in ledger.epoch_reports()), default=0)
        documents.append(
            {"chain_id": path.parent.parent.name, "address": "0x" + path.parent.name}
            | summary(ledger, current_epoch=current)
        )
        ledger.close()
    if arguments.json:
        print_json({"wallets": documents})
        return EXIT_DONE
    for document in documents:
        print(f"chain     {document['chain_id']}, wallet {document['address']}")
        print_epochs(document["epochs"])
        print_counts(document)
        print_money(document["money"])
    return EXIT_DONE


def run_devnet(arguments: argparse.Namespace) -> int:
    """Serves an embedded network until Ctrl-C."""
    from quickstart.devnet.config import config_from
    from quickstart.devnet.server import serve

    serve(config_from(arguments))
    return EXIT_DONE


def _prepare(arguments: argparse.Namespace) -> tuple[Settings, Path]:
    settings = load_settings()
    if not arguments.network and not arguments.local and not arguments.rpc_url:
        raise UsageError(NOTHING_DEPLOYED)
    return settings, open_state(arguments.state or settings.state)


def _configured(settings: Settings) -> list[Path]:
    return [settings.source] if settings.source else []


async def _run(arguments: argparse.Namespace, settings: Settings, state: Path, plan: Plan) -> dict[str, Any]:
    wallet = wallet_for(arguments, settings, state)
    async with network(arguments, settings, state) as where:
        with storage(where.endpoints.rpc, settings, state) as storage_for, ProgressView(quiet=arguments.json) as view:
            session = await open_session(
                where, wallet, state, plan, storage_for, _executor(arguments, state), view.show
            )
            with _stop_on_signals(session.stop):
                try:
                    return await (session.rehearse() if plan.dry_run else session.run())
                except LeaseHeldError as held:
                    if plan.command != CLAIM:
                        raise
                    return await _ask_holder(session, str(held))


async def _ask_holder(session: Session, held: str) -> dict[str, Any]:
    """Hands a claim to the process that signs for the wallet, and waits for its answer."""
    box = session.places.requests
    name = box.post(CLAIM)
    try:
        answer = await asyncio.to_thread(box.wait_for_answer, name)
    finally:
        box.withdraw(name)
    return {"asked": held.split(" signs for")[0], "interrupted": False, **answer}


def _executor(arguments: argparse.Namespace, state: Path) -> Callable[[Places], Executor]:
    def make(places: Places) -> Executor:
        settings = WorkerSettings(
            bank=places.bank,
            weights=state / "weights",
            weights_cache_bytes=WEIGHTS_CACHE_BYTES,
            engine=getattr(arguments, "engine", "auto"),
        )
        return LocalExecutor(settings, getattr(arguments, "workers", 1))

    return make


@contextmanager
def _stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a run in order, within seconds: what is in flight is in the ledger already."""
    loop = asyncio.get_running_loop()

    def give_up() -> None:
        print("interrupted; what was in flight is settled by the next run", file=sys.stderr, flush=True)
        os._exit(EXIT_FAILED)

    def on_signal() -> None:
        loop.call_later(STOP_SECONDS, give_up)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
