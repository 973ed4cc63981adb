"""A served devnet on a loop in a thread of its own, so that other processes and this one can use it at once."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from quickstart.chain.client import Endpoints
from quickstart.chain.ids import Id32
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.node import Node
from quickstart.devnet.server import DevnetServer

T = TypeVar("T")

ANY_PORT = {"rpc_port": 0, "faucet_port": 0, "scoring_port": 0, "admin_port": 0}


@dataclass
class ServedNetwork:
    server: DevnetServer
    loop: asyncio.AbstractEventLoop

    @property
    def node(self) -> Node:
        return self.server.node

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.server.urls.rpc)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function where nothing else touches the node meanwhile."""

        async def work() -> T:
            return function()

        return self.run(work())

    def give(self, owner: Id32, *amounts: int) -> None:
        """Coins, which listings show when this returns."""
        for amount in amounts:
            self.call(lambda amount=amount: self.node.give(owner, amount, 1))  # type: ignore[misc]
        time.sleep(1.1 * self.node.config.index_lag_seconds)

    def end_epoch(self) -> int:
        return self.run(self.node.advance_epoch())


async def _stopped(server: DevnetServer) -> None:
    """Stops it; connections that were taken at that moment see that nobody is behind them, and end by themselves."""
    await server.stop()
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left, timeout=5)
    await asyncio.sleep(0)


@contextmanager
def served(**changes: Any) -> Iterator[ServedNetwork]:
    """A devnet until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = DevnetServer(DevnetConfig(**{**ANY_PORT, "seed": 8, **changes}))
    network = ServedNetwork(server, loop)
    try:
        network.run(server.start())
        yield network
    finally:
        network.run(_stopped(server))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
