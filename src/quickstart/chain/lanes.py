"""Lanes: SDK clients for sending, one per transaction in flight.

An SDK client serialises its calls, so K clients make K lanes. A client whose connection failed is thrown away: the
SDK does not always recover one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from quickstart.chain.client import Endpoints, connect


class Lanes:
    """At most `count` clients, each made by `make_client` when first needed."""

    def __init__(
        self, endpoints: Endpoints, count: int, make_client: Callable[[Endpoints], Awaitable[Any]] = connect
    ) -> None:
        self.endpoints = endpoints
        self._make_client = make_client
        self._free: list[Any] = []
        self._slots = asyncio.Semaphore(count)
        self.count = count

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """A client nobody else uses meanwhile. Leave with an exception and it is not used again."""
        async with self._slots:
            client = self._free.pop() if self._free else await self._make_client(self.endpoints)
            yield client
            self._free.append(client)
