"""A devnet on this event loop, which runs only while a test runs something on it."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.server import DevnetServer

T = TypeVar("T")


class Served:
    """A server, and the loop it lives on."""

    def __init__(self, runner: asyncio.Runner, server: DevnetServer) -> None:
        self.runner = runner
        self.server = server
        self.node = server.node
        self.rpc = server.urls.rpc

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def limited() -> T:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    def client(self) -> Any:
        from soma_sdk import SomaClient

        async def connected() -> Any:
            return await SomaClient(self.rpc)

        return self.run(connected())

    def fund(self, owner: Id32, *amounts: int) -> list[Coin]:
        given = [self.node.give(owner, amount, 1).object_ids[0] for amount in amounts]
        return [Coin(self.node.state.objects[coin_id].ref, a) for coin_id, a in zip(given, amounts, strict=True)]


@contextmanager
def served(**changes: Any) -> Iterator[Served]:
    """A devnet without audits, latency or lag."""
    quick = DevnetConfig(
        **{
            "rpc_port": 0,
            "faucet_port": 0,
            "scoring_port": 0,
            "admin_port": 0,
            "audit": False,
            "seed": 3,
            "latency_seconds": 0.0,
            "index_lag_seconds": 0.0,
            "checkpoint_seconds": 0.0,
            "heartbeat_seconds": 0.02,
            "models": 1,
            **changes,
        }
    )
    with asyncio.Runner() as runner:
        server = DevnetServer(quick)
        runner.run(server.start())
        try:
            yield Served(runner, server)
        finally:
            runner.run(server.stop())


class Counted:
    """An SDK client that notes the calls that go through it."""

    def __init__(self, sdk: Any) -> None:
        self._sdk = sdk
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sdk, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, options))
            return method(*arguments, **options)

        return call

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)


def counted_reader(devnet: Served) -> tuple[NetworkReader, Counted]:
    sdk = Counted(devnet.client())
    return NetworkReader(sdk, devnet.rpc), sdk
