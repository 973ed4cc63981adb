"""What commands that sign outside of a submitting run have in common: network, wallet, places, storage, office."""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from quickstart.chain.identity import service_info
from quickstart.chain.keys import Wallet
from quickstart.chain.versions import SigningPermit
from quickstart.cli.commands import premises
from quickstart.cli.networks import network, settings_for, storage, wallet_for
from quickstart.cli.state import open_state
from quickstart.submission.premises import Network, Places
from quickstart.submission.storage import Storage
from quickstart.trainer.office import open_office


@dataclass(frozen=True, slots=True)
class Desk:
    """What every such command needs: the network, the wallet on it, its places and storage."""

    where: Network
    wallet: Wallet
    places: Places
    storage: Storage
    open_office: Callable[[str], Any]


@asynccontextmanager
async def desk(arguments: argparse.Namespace, *, signs: bool) -> AsyncIterator[Desk]:
    """Opens it, as the arguments and settings say. Where nothing is signed, it has no storage, and needs none.

    Raises:
        SettingsError: no bucket, on a network whose node is another machine: other signers are kept out by what lies
            there, whether or not anything is published.
    """
    settings = settings_for(arguments, publishes=signs)
    state = open_state(arguments.state or settings.state)
    wallet = wallet_for(arguments, settings, state)
    async with network(arguments, settings, state, wallet) as where:
        rpc_url = where.endpoints.rpc
        with storage(rpc_url, settings, publishes=signs) as storage_for:
            places = Places.of(state, await service_info(rpc_url), wallet)
            ours, kept = premises(rpc_url, settings), storage_for(places)
            permit = SigningPermit(settings.accepted_versions)
            yield Desk(
                where,
                wallet,
                places,
                kept,
                lambda command: open_office(where, wallet, places, kept, ours, command, permit),
            )
