"""`publish` and `reveal`: wiring of settings, network, wallet, storage and the trainer's office."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.versions import SigningPermit
from quickstart.cli.commands import premises
from quickstart.cli.networks import network, settings_for, storage, wallet_for
from quickstart.cli.rendering import print_json
from quickstart.cli.state import open_state
from quickstart.errors import EXIT_DONE, EXIT_FAILED, UsageError
from quickstart.ledger.records import IntentKind
from quickstart.submission.premises import Network, Places
from quickstart.submission.storage import Storage
from quickstart.trainer.office import Committed, Office, Quote, open_office, publish, quote
from quickstart.trainer.products import Product, read_product
from quickstart.trainer.publication import Create, PublicationDesk, to_compound
from quickstart.trainer.reveals import RETRY_SECONDS, Phase
from quickstart.units import format_soma

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command here needs: the network, the wallet on it, its places and storage."""

    where: Network
    wallet: Wallet
    places: Places
    storage: Storage
    chain_id: str
    open_office: Callable[[str], Any]


@asynccontextmanager
async def desk(arguments: argparse.Namespace, *, publishes: bool) -> AsyncIterator[Desk]:
    """Opens it, as the arguments and settings say."""
    settings = settings_for(arguments, publishes=publishes)
    state = open_state(arguments.state or settings.state)
    wallet = wallet_for(arguments, settings, state)
    async with network(arguments, settings, state, wallet) as where:
        with storage(where.endpoints.rpc, settings, publishes=publishes) as storage_for:
            info = await service_info(where.endpoints.rpc)
            places = Places.of(state, info, wallet)
            ours, kept = premises(where.endpoints.rpc, settings), storage_for(places)
            permit = SigningPermit(settings.accepted_versions)
            yield Desk(
                where,
                wallet,
                places,
                kept,
                info.chain_id,
                lambda command: open_office(where, wallet, places, kept, ours, command, permit),
            )


def run_publish(arguments: argparse.Namespace) -> int:
    """Commits a trained model."""
    product = read_product(arguments.folder)
    document = asyncio.run(_publish(arguments, product))
    if arguments.json:
        print_json(document)
    return EXIT_DONE


def run_reveal(arguments: argparse.Namespace) -> int:
    """Reveals what is due."""
    document = asyncio.run(_reveal(arguments))
    if arguments.json:
        print_json(document)
    else:
        for one in document["commitments"]:
            print(f"model {one['model']}  commit of epoch {one['commit_epoch']}: {one['phase']}; next: {one['next']}")
        if not document["commitments"]:
            print("nothing was committed by this wallet")
    missing = [one for one in document["commitments"] if one["phase"] == Phase.REVEAL_DUE]
    return EXIT_FAILED if missing else EXIT_DONE


async def _publish(arguments: argparse.Namespace, product: Product) -> dict[str, Any]:
    async with desk(arguments, publishes=not arguments.dry_run) as at:
        reader = NetworkReader(await connect(at.where.endpoints), at.where.endpoints.rpc)
        least = (await reader.own_models(at.wallet.address))[0].parameters.model_min_stake
        stake = arguments.stake or least
        if arguments.dry_run:
            offered, _, _ = await quote(reader, at.wallet.address, product, stake, update=arguments.update)
            _show(offered, arguments)
            return _document(offered, None)
        seen: list[Quote] = []

        def confirm(offered: Quote) -> None:
            seen.append(offered)
            _show(offered, arguments)
            if offered.costs.at_risk and not arguments.yes:
                _ask()

        async with at.open_office("publish") as office:
            committed = await publish(
                office,
                product,
                stake=stake,
                commission_bps=arguments.commission,
                update=arguments.update,
                keep=arguments.keep,
                confirm=confirm,
            )
            added = await _compound(office, committed, arguments) if arguments.compound else 0
        if not arguments.json:
            print(f"committed model {format_id(committed.model_id)} in epoch {committed.epoch}")
            print(f"revealed in epoch {committed.epoch + 1}, by `uv run submit` or `uv run reveal --wait`")
        return _document(seen[0], committed) | {"added_stake_shannons": added}


async def _compound(office: Office, committed: Committed, arguments: argparse.Namespace) -> int:
    """Adds a share of the model's rewards to its stake; shannons added."""
    epoch, _ = await office.reader.own_models(office.wallet.address)
    earned = office.ledger.totals().get("reward_model", 0)
    before = sum(int(intent.details["stake"]) for intent, _ in office.ledger.landed(IntentKind.ADD_STAKE))
    spare = office.outbox.pool.balance - arguments.keep
    amount = to_compound(earned, before, arguments.compound, spare)
    if amount:
        await PublicationDesk(office.outbox).stake(committed.model_id, amount, epoch)
    return amount


def _show(offered: Quote, arguments: argparse.Namespace) -> None:
    if arguments.json:
        return
    costs = offered.costs
    what = "create a model and commit" if isinstance(offered.step, Create) else "commit"
    print(f"will {what}: stake {format_soma(costs.stake)}, fees {format_soma(costs.fees)}")
    print(f"wallet    {format_soma(offered.balance)}, keeps {format_soma(arguments.keep)} at least")
    print(f"targets   {offered.assigned:.1%} of random ones would be assigned to it at its stake")
    if costs.at_risk:
        print(f"can be lost: {format_soma(costs.at_risk)}, half the stake, if the next epoch passes without its reveal")
    else:
        print("can be lost: the fees; an update that is not revealed is dropped")


def _ask() -> None:
    """Raises UsageError unless a person says yes."""
    if not sys.stdin.isatty():
        raise UsageError("a stake can be lost, and nobody is here to be asked: give --yes")
    if input("stake and commit? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("not published; nothing was signed")


def _document(offered: Quote, committed: Committed | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "step": type(offered.step).__name__.lower(),
        "stake_shannons": offered.costs.stake,
        "fees_shannons": offered.costs.fees,
        "at_risk_shannons": offered.costs.at_risk,
        "assigned_share": offered.assigned,
        "committed": None,
    }
    if committed is not None:
        document["committed"] = {
            "model": format_id(committed.model_id),
            "epoch": committed.epoch,
            "url": committed.release.manifest.url,
        }
    return document


async def _reveal(arguments: argparse.Namespace) -> dict[str, Any]:
    async with desk(arguments, publishes=False) as at, at.open_office("reveal") as office:
        while True:
            await office.reveals.look()
            for reveal in office.reveals.due:
                await office.reveals.begin(reveal)
            phases = {one.phase for one in office.reveals.statuses}
            if Phase.REVEAL_DUE in phases and office.reveals.open:
                await asyncio.sleep(POLL_SECONDS)
            elif Phase.COMMITTED in phases and arguments.wait:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        return {
            "commitments": [
                {
                    "model": format_id(one.reveal.model_id),
                    "commit_epoch": one.reveal.commit_epoch,
                    "phase": one.phase.value,
                    "next": one.leads_to.value,
                }
                for one in office.reveals.statuses
            ]
        }
