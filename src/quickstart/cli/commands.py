"""What the commands do, once their arguments are known: wiring of settings, network, wallet, storage and session."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstart.alerts.watch import watching
from quickstart.chain.addresses import is_loopback
from quickstart.chain.lease import live_holder
from quickstart.cli.arguments import claim_parser, submit_parser
from quickstart.cli.cloud import claim_on_modal, on_modal, refuse_local_options, submit_on_modal
from quickstart.cli.networks import network, settings_for, storage, wallet_for
from quickstart.cli.progress import ProgressView
from quickstart.cli.rendering import (
    print_claim,
    print_devnet,
    print_dry_run,
    print_json,
    print_result,
    result_code,
)
from quickstart.cli.state import open_state
from quickstart.cli.stopping import INTERRUPTED, stop_on_signals
from quickstart.data.sources import open_sources
from quickstart.data.window import SourcePlan, address_seed
from quickstart.errors import EXIT_DONE, HeldElsewhereError, LeaseHeldError
from quickstart.executors.base import Executor
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.settings import Settings
from quickstart.submission.actions import Policy
from quickstart.submission.premises import Places, Plan, Premises
from quickstart.submission.requests import CLAIM, POLL_SECONDS
from quickstart.submission.s3_lease import bucket_lease
from quickstart.submission.session import Session, open_session
from quickstart.units import GIB

WEIGHTS_CACHE_BYTES = 40 * GIB

DEVNET_WINDOWS = 320
"""What a run on a network of our own scores when nothing is said: a minute on two cores."""

LOCAL_MAX_HITS = 150
"""Submissions per epoch there, when nothing is said: enough to make the difficulty climb."""


def run_submit(arguments: argparse.Namespace) -> int:
    """What is deployed; or the loop on this machine: the main job on a devnet, the real thing on another network."""
    if on_modal(arguments):
        refuse_local_options(arguments, submit_parser())
        return submit_on_modal(arguments)
    settings = settings_for(arguments, publishes=not arguments.dry_run)
    state = open_state(arguments.state or settings.state)
    sources = open_sources(arguments.source, settings)
    for source in sources:
        next(source.windows(SourcePlan(arguments.seed or 0)), None)  # refused before anything is started, if it must be
    plan = Plan(
        policy=Policy(
            lanes=arguments.lanes or settings.lanes,
            max_hits_per_epoch=arguments.max_hits or (LOCAL_MAX_HITS if arguments.network else None),
            epoch_seconds=arguments.seconds,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
        ),
        epochs=arguments.epochs,
        windows=arguments.windows or (DEVNET_WINDOWS if arguments.network else settings.windows_per_run),
        sources=sources,
        filters=settings.filter_names,
        command="submit",
        dry_run=arguments.dry_run,
        accepted_versions=settings.accepted_versions,
    )
    result = asyncio.run(_run(arguments, settings, state, plan))
    return _tell(result, arguments, print_dry_run if plan.dry_run else print_result)


def run_claim(arguments: argparse.Namespace) -> int:
    """Claims by what is deployed, or here, or by another command that holds the wallet's lease."""
    if on_modal(arguments):
        refuse_local_options(arguments, claim_parser())
        return claim_on_modal(arguments)
    # A bucket is asked for although nothing is published: the lease that keeps a deployed signer out lies there.
    settings = settings_for(arguments, publishes=not arguments.dry_run)
    state = open_state(arguments.state or settings.state)
    plan = Plan(
        policy=Policy(lanes=settings.lanes, gas_cap=settings.gas_cap_shannons, scoring=False, max_hits_per_epoch=0),
        epochs=0,
        windows=0,
        sources=(),
        command="claim",
        dry_run=arguments.dry_run,
        accepted_versions=settings.accepted_versions,
    )
    result = asyncio.run(_claim(arguments, settings, state, plan))
    return _tell(result, arguments, print_dry_run if plan.dry_run else print_claim)


def run_devnet(arguments: argparse.Namespace) -> int:
    """Serves an embedded network until Ctrl-C."""
    from quickstart.devnet.config import DevnetUrls, config_from
    from quickstart.devnet.server import serve

    def ready(urls: DevnetUrls) -> None:
        if arguments.json:
            print_json(urls.as_dict())
        else:
            print_devnet(urls)

    serve(config_from(arguments), ready)
    return EXIT_DONE


def _tell(result: dict[str, Any], arguments: argparse.Namespace, as_text: Callable[[dict[str, Any]], None]) -> int:
    """Prints a result in the way that was asked for; the exit code."""
    if arguments.json:
        print_json(result)
    elif not result["interrupted"]:
        as_text(result)
    if result["interrupted"]:
        print(INTERRUPTED, file=sys.stderr)
    return result_code(result)


async def _run(arguments: argparse.Namespace, settings: Settings, state: Path, plan: Plan) -> dict[str, Any]:
    wallet = wallet_for(arguments, settings, state)
    plan = replace(plan, seed=address_seed(wallet.address) if arguments.seed is None else arguments.seed)
    publishes = bool(plan.sources) and not plan.dry_run
    async with network(arguments, settings, state, wallet) as where:
        with (
            storage(where.endpoints.rpc, settings, publishes=publishes) as storage_for,
            ProgressView(quiet=arguments.json) as view,
        ):
            executor = local_executor(arguments, state, private_hosts=is_loopback(where.endpoints.rpc))
            session = await open_session(
                where, wallet, state, plan, storage_for, executor, view.show, premises(where.endpoints.rpc, settings)
            )
            alone = arguments.network or plan.dry_run
            watch = nullcontext() if alone else watching(settings, state, session.places, where.endpoints.rpc)
            with stop_on_signals(session.stop, view.close), watch:
                try:
                    return await (session.rehearse() if plan.dry_run else session.run())
                except LeaseHeldError as held:
                    if plan.command != CLAIM or isinstance(held, HeldElsewhereError):
                        raise
                    return await _ask_holder(session, str(held))


async def _claim(arguments: argparse.Namespace, settings: Settings, state: Path, plan: Plan) -> dict[str, Any]:
    """Claims through whoever signs for the wallet, as long as somebody does; else here."""
    while True:
        try:
            return await _run(arguments, settings, state, plan)
        except _HolderEndedError:
            continue


class _HolderEndedError(Exception):
    """Whoever held the lease has gone without answering: the wallet is free again."""


async def _ask_holder(session: Session, held: str) -> dict[str, Any]:
    """Hands a claim to the process that signs for the wallet, and follows it to the answer.

    Raises:
        _HolderEndedError: it ended first.
    """
    box = session.places.requests
    name = box.post(CLAIM)
    try:
        while (answer := box.take_answer(name)) is None:
            if live_holder(session.places.lease) is None:
                raise _HolderEndedError
            await asyncio.sleep(POLL_SECONDS)
    finally:
        box.withdraw(name)
    return {"asked": held.split(" signs for")[0], "interrupted": False, **answer}


def premises(rpc_url: str, settings: Settings) -> Premises:
    """Where a node of this machine is signed for, its file lease will do; else other machines may sign too."""
    if is_loopback(rpc_url) or (bucket := settings.s3) is None:
        return Premises()
    return Premises(lease=lambda places, command: bucket_lease(bucket, places, command))


def local_executor(arguments: argparse.Namespace, state: Path, *, private_hosts: bool) -> Callable[[Places], Executor]:
    def make(places: Places) -> Executor:
        settings = WorkerSettings(
            bank=places.bank,
            weights=state / "weights",
            weights_cache_bytes=WEIGHTS_CACHE_BYTES,
            engine=getattr(arguments, "engine", "auto"),
            private_hosts=private_hosts,
        )
        return LocalExecutor(settings, getattr(arguments, "workers", 1))

    return make
