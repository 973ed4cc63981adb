"""A running devnet: one node, one gRPC server, four ports. `serve` is what `uv run devnet` calls."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

import grpc

from quickstart.devnet.bcs_services import BcsServices
from quickstart.devnet.config import DevnetConfig, DevnetUrls
from quickstart.devnet.faults import Faults
from quickstart.devnet.front import Front
from quickstart.devnet.http_routes import HttpRoutes
from quickstart.devnet.node import Node, chain_id_text
from quickstart.devnet.rpc import Rpc
from quickstart.units import MIB

logger = logging.getLogger(__name__)

GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * MIB),
    ("grpc.max_send_message_length", 256 * MIB),
    # The SDK pings every 5 s while a call is open; grpcio would call that abuse and close the connection
    # (§1).
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)


class DevnetServer:
    """`async with DevnetServer(config) as server:` serves from `server.urls` until the block ends."""

    def __init__(self, config: DevnetConfig, faults: Faults | None = None) -> None:
        self.config = config
        self.faults = faults or Faults()
        self.node: Node
        self.urls: DevnetUrls
        self._fronts: list[Front] = []
        self._grpc: grpc.aio.Server

    async def start(self) -> DevnetUrls:
        """Opens the chain and the ports.

        Raises:
            StateError: the state folder cannot be used.
            UnreachableError: a port is taken.
        """
        self.node = Node(self.config, self.faults)
        self._grpc = grpc.aio.server(options=GRPC_OPTIONS)
        self._grpc.add_generic_rpc_handlers(Rpc(self.node, self._drop).handlers())
        self._grpc.add_generic_rpc_handlers(BcsServices(self.node).handlers())
        backend_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        try:
            urls = [await self._open_front(name, backend_port) for name in ("rpc", "faucet", "scoring", "admin")]
        except BaseException:
            await self.stop()
            raise
        self.node.base_url = urls[0]
        self.node.start()
        rpc, faucet, scoring, admin = urls
        chain_id = chain_id_text(self.node.state.chain_id)
        self.urls = DevnetUrls(rpc, faucet, scoring, admin, chain_id, os.getpid())
        return self.urls

    async def stop(self) -> None:
        """Ends everything within a second."""
        await asyncio.gather(*(front.stop() for front in self._fronts))
        await self._grpc.stop(0)
        await self.node.stop()

    async def __aenter__(self) -> "DevnetServer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _open_front(self, name: str, backend_port: int) -> str:
        front = Front(self.faults, backend_port, HttpRoutes(self.node).answer)
        self._fronts.append(front)
        port = await front.start(getattr(self.config, f"{name}_port"), f"--{name}-port")
        return f"http://127.0.0.1:{port}"

    def _drop(self, peer: str) -> None:
        if not any(front.drop(peer) for front in self._fronts):
            logger.warning("no connection %s to drop", peer)


def serve(config: DevnetConfig, ready: Callable[[DevnetUrls], None] | None = None) -> None:
    """`serve_until` as a whole program: returns at SIGINT or SIGTERM."""
    asyncio.run(serve_until(config, ready))


async def serve_until(
    config: DevnetConfig,
    ready: Callable[[DevnetUrls], None] | None = None,
    stopped: asyncio.Event | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM, or until `stopped` is set; `ready` gets the addresses once it serves.

    Raises:
        StateError: the state folder cannot be used.
        UnreachableError: a port is taken.
    """
    loop = asyncio.get_running_loop()
    stopped = stopped or asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with DevnetServer(config) as server:
        if ready is not None:
            ready(server.urls)
        await stopped.wait()
