"""Everything that the checks look at, as values and calls: where it is, and how it is asked."""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.identity import ServiceInfo, service_info
from quickstart.chain.keys import Wallet
from quickstart.errors import SettingsError
from quickstart.scoring.engines import create_engine
from quickstart.settings import Settings
from quickstart.threads import unattended

if TYPE_CHECKING:
    from quickstart.chain.board import Epoch
    from quickstart.chain.coins import Coin
    from quickstart.scoring.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


class Node:
    """A full node, asked once for what several checks want to know.

    Raises: (every method) what `service_info` and `NetworkReader` raise.
    """

    def __init__(self, rpc_url: str) -> None:
        self.rpc_url = rpc_url
        self._info: asyncio.Task[ServiceInfo] | None = None
        self._state: asyncio.Task[tuple[Epoch, tuple[Coin, ...]]] | None = None

    async def info(self) -> ServiceInfo:
        """Who the node is."""
        if self._info is None:
            self._info = asyncio.ensure_future(service_info(self.rpc_url))
        return await asyncio.shield(self._info)

    async def state(self, wallet: Wallet | None) -> "tuple[Epoch, tuple[Coin, ...]]":
        """The epoch with its parameters, and the wallet's coins."""
        if self._state is None:
            self._state = asyncio.ensure_future(self._read(wallet))
        return await asyncio.shield(self._state)

    async def _read(self, wallet: Wallet | None) -> "tuple[Epoch, tuple[Coin, ...]]":
        await self.info()  # one that does not answer is found out in one way only
        reader = NetworkReader(await connect(Endpoints(self.rpc_url)), self.rpc_url)
        owner = wallet.address if wallet else bytes(32)
        epoch, _ = await reader.own_models(owner)
        return epoch, await reader.coins(owner) if wallet else ()


def free_bytes(folder: Path) -> int:
    """Room on the disk that a folder is on, or will be on once it is made."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`settings`: None if they are malformed, `trouble` says how. `on_modal`: whether what is deployed is looked at.

    `clock`: seconds since 1970; `free_bytes`: of the disk a folder is on; `engine`: what scores on this machine.
    """

    settings: Settings | None
    trouble: str
    env_file: Path
    state: Path
    node: Node
    on_modal: bool
    clock: Callable[[], float] = time.time
    free_bytes: Callable[[Path], int] = free_bytes
    engine: "Callable[[], Engine]" = field(default=create_engine)

    @property
    def wallet(self) -> Wallet | None:
        if self.settings is None or self.settings.secret_key is None:
            return None
        return Wallet.parse(self.settings.secret_key.get_secret_value())

    def known_settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: they are malformed.
        """
        if self.settings is None:
            raise SettingsError(f"not checked: {self.trouble}")
        return self.settings


async def in_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Like `asyncio.to_thread`, in a thread that nobody waits for: a service that hangs must not hold up the end."""
    return await asyncio.wrap_future(unattended(partial(work, *arguments, **named)))
