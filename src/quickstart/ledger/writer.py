"""Group commit: writes that arrive while a commit is under way share the next one.

A commit waits for the disk (milliseconds here, tens of them on a network volume). With eight lanes each waiting for
its own, the disk would decide the rate; so writers queue, and one thread commits whatever has queued.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from quickstart.ledger.ledger import Ledger

T = TypeVar("T")


class LedgerWriter:
    """Runs operations on a ledger from one event loop; each `write` returns when its commit is durable."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._queue: list[tuple[Callable[[Ledger], Any], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, operation: Callable[[Ledger], T]) -> T:
        """Runs `operation`, returns its result, raises what it raised."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                results = await asyncio.to_thread(self.ledger.group, [operation for operation, _ in batch])
            except Exception as error:  # noqa: BLE001 - the whole batch is undone: whoever waits for it must hear why
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
