"""`rebuild` and `cleanup`: a wallet's ledger made again, and what nobody needs any more taken away."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from quickstart.chain.board import Epoch
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.own_models import OwnModel
from quickstart.cli.arguments import cleanup_parser, rebuild_parser
from quickstart.cli.cloud import on_modal, upkeep_on_modal
from quickstart.cli.commands import premises
from quickstart.cli.networks import KEY_NAME, network, settings_for, storage, wallet_for
from quickstart.cli.rendering import NOTHING_SENT, print_cleanup, print_json, print_rebuild
from quickstart.cli.state import open_state
from quickstart.errors import EXIT_DONE, EXIT_FAILED, SettingsError, UsageError
from quickstart.modal_app.account import modal_errors
from quickstart.modal_app.belongings import Belonging, belongings, remove
from quickstart.modal_app.names import CLEANUP, REBUILD
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.settings import Settings, load_settings, publishing_names
from quickstart.submission.premises import Places
from quickstart.submission.s3_lease import LEASES, PROBE, bucket_lease, lease_key
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.storage import object_key
from quickstart.submission.upkeep import Upkeep, needed_by
from quickstart.trainer.reveals import Phase, pending_reveals, status
from quickstart.trainer.vault import backup_name

Work = Callable[[Upkeep], Awaitable[dict[str, Any]]]


def run_rebuild(arguments: argparse.Namespace) -> int:
    """Makes this machine's ledger again from chain and bucket; or that of what is deployed."""
    if on_modal(arguments):
        return upkeep_on_modal(arguments, REBUILD, rebuild_parser())
    result = _with_upkeep(arguments, lambda upkeep: upkeep.rebuild(dry_run=arguments.dry_run))
    print_json(result) if arguments.json else print_rebuild(result)
    return EXIT_DONE


def run_cleanup(arguments: argparse.Namespace) -> int:
    """Removes what nobody needs: published windows whose targets are claimed, or with `--all` everything elsewhere."""
    if arguments.all:
        return _remove_all(arguments)
    if arguments.yes:
        raise UsageError("--yes answers for --all: add --all, or leave --yes out")
    if on_modal(arguments):
        return upkeep_on_modal(arguments, CLEANUP, cleanup_parser())

    def clean(upkeep: Upkeep) -> Awaitable[dict[str, Any]]:
        own = upkeep.places.ledger
        others = [path for path in _ledgers(own) if path != own]
        return upkeep.cleanup(others, dry_run=arguments.dry_run)

    result = _with_upkeep(arguments, clean)
    print_json(result) if arguments.json else print_cleanup(result)
    return EXIT_DONE


def _ledgers(own: Path) -> list[Path]:
    """Ledgers of every wallet on every chain of a state folder: they may publish in the same bucket."""
    return sorted(own.parents[2].glob("*/*/" + own.name))


def _with_upkeep(arguments: argparse.Namespace, work: Work) -> dict[str, Any]:
    """Opens network, wallet and storage, and does the work there.

    Raises:
        UsageError: what `settings_for` finds.
    """
    settings = settings_for(arguments, publishes=True)
    state = open_state(arguments.state or settings.state)
    return asyncio.run(_opened(arguments, settings, state, work))


async def _opened(arguments: argparse.Namespace, settings: Settings, state: Path, work: Work) -> dict[str, Any]:
    wallet = wallet_for(arguments, settings, state)
    async with network(arguments, settings, state, wallet) as where:
        with storage(where.endpoints.rpc, settings, publishes=True) as storage_for:
            info = await service_info(where.endpoints.rpc)
            places = Places.of(state, info, wallet)
            stored = storage_for(places)
            return await work(Upkeep(where, wallet, places, info, stored, premises(where.endpoints.rpc, settings)))


def _remove_all(arguments: argparse.Namespace) -> int:
    """Lists everything of ours on Modal and in the bucket, asks, and takes it away.

    What bonds and models of ours rest on stays in the bucket. The state folder of this machine is not touched.

    Raises:
        UsageError: another wallet, or this one on another chain, uses the bucket too: what it needs cannot be told; or
            a model of ours waits for its reveal.
    """
    if not on_modal(arguments):
        raise UsageError("--all is about Modal and the bucket: leave out --local, --network and --rpc-url")
    settings = load_settings(KEY_NAME, *publishing_names())
    if settings.s3 is None or settings.secret_key is None:
        raise SettingsError("missing: the bucket or the key")
    wallet = Wallet.parse(settings.secret_key.get_secret_value())
    rpc_url = settings.rpc_url or TESTNET_RPC
    state = open_state(arguments.state or settings.state)
    places = Places.of(state, asyncio.run(service_info(rpc_url)), wallet)
    rests = asyncio.run(_rests_on(rpc_url, wallet, places))
    with modal_errors():
        there = belongings()
    _refuse_waiting_reveals(rpc_url, wallet, there)
    bucket = S3Storage(settings.s3)
    try:
        keys = bucket.keys()
        _refuse_shared(keys, places, settings.s3.bucket)
        going = [key for key in keys if key not in rests]
        document = {
            "modal": [{"kind": one.kind, "name": one.name} for one in there],
            "objects": len(going),
            "kept_objects": len(keys) - len(going),
        }
        listed = [f"{one.kind} {one.name}" for one in there]
        listed.append(f"{len(going)} objects in the bucket {settings.s3.bucket}")
        if not arguments.json:
            print("to be removed: " + ", ".join(listed))
            if document["kept_objects"]:
                print(f"kept: {document['kept_objects']} objects that bonds or models of ours rest on")
        if arguments.dry_run:
            _told(arguments, document | {"removed": False, "dry_run": True}, NOTHING_SENT)
            return EXIT_DONE
        if not _is_wanted(arguments):
            _told(arguments, document | {"removed": False}, "nothing was removed")
            return EXIT_FAILED
        _refuse_waiting_reveals(rpc_url, wallet, there)  # a person may have taken an hour to say yes
        with modal_errors():
            remove(there)
        with bucket_lease(settings.s3, places, "cleanup"):  # nobody rests a bond on what goes
            rests = asyncio.run(_rests_on(rpc_url, wallet, places))
            bucket.remove_keys(key for key in keys if key not in rests and not key.startswith(LEASES))
        bucket.remove_keys((lease_key(places), PROBE))
    finally:
        bucket.close()
    _told(arguments, document | {"removed": True}, "removed; the state folder of this machine is as it was")
    return EXIT_DONE


async def _rests_on(rpc_url: str, wallet: Wallet, places: Places) -> frozenset[str]:
    """Keys of the objects that bonds and models of ours rest on: as the chain has them, and ledgers of this machine."""
    reader = NetworkReader(await connect(Endpoints(rpc_url)), rpc_url)
    needed = set(needed_by(_ledgers(places.ledger)))
    for target_id in await reader.fills_of(wallet.address):
        target = await reader.target(target_id)
        if target is not None and target.manifest is not None:
            needed.add(target.manifest.checksum)
    needed |= {
        model.manifest.checksum for model in (await reader.board()).models.values() if model.owner == wallet.address
    }
    _, models = await reader.own_models(wallet.address)
    for pending in (model.pending for model in models if model.pending is not None):
        # Without the key, of which a copy lies here, a reveal is missed, and with it half of the stake.
        needed |= {pending.manifest.checksum, backup_name(wallet.secret, pending.key)}
    return frozenset(map(object_key, needed))


def _refuse_waiting_reveals(rpc_url: str, wallet: Wallet, there: Iterable[Belonging]) -> None:
    """What is deployed may be all that reveals: once it is gone, half of a first stake would be too."""
    if not any(one.kind == "app" for one in there):
        return
    epoch, models = asyncio.run(_own_models(rpc_url, wallet))
    by_id = {model.model_id: model for model in models}
    for reveal in pending_reveals(models):
        if status(reveal, by_id, epoch.number).phase in (Phase.COMMITTED, Phase.REVEAL_DUE):
            raise UsageError(
                f"the model {format_id(reveal.model_id)} waits for its reveal in epoch {reveal.commit_epoch + 1}, "
                "which what is deployed makes: run `uv run reveal` in that epoch, then this again; nothing was removed"
            )


async def _own_models(rpc_url: str, wallet: Wallet) -> tuple[Epoch, tuple[OwnModel, ...]]:
    return await NetworkReader(await connect(Endpoints(rpc_url)), rpc_url).own_models(wallet.address)


def _refuse_shared(keys: Iterable[str], places: Places, bucket: str) -> None:
    others = [key for key in keys if key.startswith(LEASES) and key not in (PROBE, lease_key(places))]
    if others:
        raise UsageError(
            f"the bucket {bucket} is used for another wallet or chain too ({others[0]}), whose bonds may rest on it: "
            "where that has ended, delete that object; nothing was removed"
        )


def _is_wanted(arguments: argparse.Namespace) -> bool:
    """Whether a person says yes.

    Raises:
        UsageError: there is nobody to ask.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: run this in a terminal, or add --yes; nothing was removed")
    print("all of this? type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"


def _told(arguments: argparse.Namespace, document: dict[str, Any], said: str) -> None:
    print_json(document) if arguments.json else print(said)
