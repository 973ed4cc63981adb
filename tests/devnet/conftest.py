"""Running devnets for tests: every server lives on one event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from soma_sdk import Keypair, SomaClient

from quickstart.chain.ids import parse_id
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.node import Node
from quickstart.devnet.server import DevnetServer

T = TypeVar("T")
ANY_PORT = {"rpc_port": 0, "faucet_port": 0, "scoring_port": 0, "admin_port": 0}
QUICK = {**ANY_PORT, "latency_seconds": 0.0, "checkpoint_seconds": 0.01, "index_lag_seconds": 0.0, "seed": 7}


@dataclass
class Running:
    """A served devnet, and the way into it."""

    server: DevnetServer
    loop: asyncio.AbstractEventLoop

    @property
    def node(self) -> Node:
        return self.server.node

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function on the server's loop, where nothing else runs meanwhile."""

        async def work() -> T:
            return function()

        return self.run(work())

    def fund(self, keypair: Keypair, *amounts: int) -> None:
        address = parse_id(keypair.address())
        for amount in amounts:
            self.call(lambda amount=amount: self.node.give(address, amount, 1))  # type: ignore[misc]

    def epoch(self) -> int:
        return self.run(self.node.advance_epoch())

    async def client(self) -> SomaClient:
        urls = self.server.urls
        return await SomaClient(urls.rpc, faucet_url=urls.faucet, admin_url=urls.admin, scoring_url=urls.scoring)


@pytest.fixture(scope="session")
def server_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture(scope="module")
def start(server_loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., Running]]:
    """`start(**config)` serves a devnet until the end of the module."""
    servers: list[DevnetServer] = []

    def begin(**changes: Any) -> Running:
        server = DevnetServer(DevnetConfig(**{**QUICK, **changes}))
        asyncio.run_coroutine_threadsafe(server.start(), server_loop).result(30)
        servers.append(server)
        return Running(server, server_loop)

    yield begin
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.stop(), server_loop).result(30)
