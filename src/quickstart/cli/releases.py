"""`publish` and `reveal`: wiring of settings, network, wallet, storage and the trainer's office."""

import argparse
import asyncio
import sys
from typing import Any

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.ids import format_id
from quickstart.cli.rendering import NOTHING_SENT, print_json
from quickstart.cli.signing import desk
from quickstart.errors import EXIT_DONE, EXIT_FAILED, UsageError
from quickstart.trainer.office import Committed, Quote, compound, publish, quote, reveal_due
from quickstart.trainer.products import Product, read_product
from quickstart.trainer.publication import Create
from quickstart.trainer.reveals import commitments, pending
from quickstart.units import format_soma


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
        if arguments.dry_run:
            print(f"dry run   {NOTHING_SENT}")
    if document["dry_run"]:
        return EXIT_DONE
    return EXIT_FAILED if any(one["lost"] for one in document["commitments"]) else EXIT_DONE


async def _publish(arguments: argparse.Namespace, product: Product) -> dict[str, Any]:
    async with desk(arguments, signs=not arguments.dry_run) as at:
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
            share = arguments.compound
            added = await compound(office, committed.model_id, share, arguments.keep) if share else 0
        if not arguments.json:
            print(f"committed model {format_id(committed.model_id)} in epoch {committed.epoch}")
            print(f"revealed in epoch {committed.epoch + 1}, by `uv run submit` or `uv run reveal --wait`")
        return _document(seen[0], committed) | {"added_stake_shannons": added}


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
    async with desk(arguments, signs=not arguments.dry_run) as at:
        if arguments.dry_run:
            reader = NetworkReader(await connect(at.where.endpoints), at.where.endpoints.rpc)
            epoch, models = await reader.own_models(at.wallet.address)
            statuses = pending(models, epoch.number)
        else:
            async with at.open_office("reveal") as office:
                statuses = await reveal_due(office, wait=arguments.wait)
    return {"dry_run": arguments.dry_run, "commitments": commitments(statuses)}
