"""Checkpoints: one for each input, numbered from genesis (0), published a moment after execution, in
order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from quickstart.devnet.faults import Faults
from quickstart.devnet.inputs import Applied


@dataclass(slots=True)
class Checkpoints:
    """All checkpoints of a chain, and who listens. `log[n - 1]` is checkpoint n; genesis has no entry.

    Numbering inputs makes a restart number them the same, without storing anything.
    """

    delay_seconds: float
    faults: Faults
    clock: Callable[[], float]
    log: list[Applied] = field(default_factory=list)
    published: int = 0
    _due: asyncio.Queue[tuple[float, int]] = field(default_factory=asyncio.Queue)
    _listeners: set[asyncio.Queue[int]] = field(default_factory=set)

    def add(self, applied: Applied) -> int:
        """Numbers what was just applied, and has it published in time."""
        self.log.append(applied)
        number = len(self.log)
        self._due.put_nowait((self.clock() + self.delay_seconds, number))
        return number

    def get(self, number: int) -> Applied | None:
        """What a checkpoint holds; None for genesis.

        Raises:
            IndexError: there is no such checkpoint yet.
        """
        if not 0 <= number <= len(self.log):
            raise IndexError(f"Checkpoint {number} not found")
        return self.log[number - 1] if number else None

    async def publish(self) -> None:
        """Runs for as long as the node: hands due checkpoints to every listener."""
        while True:
            due, number = await self._due.get()
            await asyncio.sleep(max(0.0, due + self.faults.checkpoint_delay_seconds - self.clock()))
            self.published = number
            if not self.faults.no_checkpoint and not self.faults.take("skip_checkpoints"):
                for listener in self._listeners:
                    listener.put_nowait(number)

    async def listen(self, heartbeat_seconds: float) -> AsyncIterator[tuple[int, Applied | None]]:
        """Checkpoints as they are published; between them, the last one's number again and None."""
        queue: asyncio.Queue[int] = asyncio.Queue()
        self._listeners.add(queue)
        number = self.published
        try:
            while True:
                try:
                    async with asyncio.timeout(heartbeat_seconds):
                        number = await queue.get()
                    applied = self.get(number)
                except TimeoutError:
                    applied = None
                await self.faults.streams_speak()
                yield number, applied
        finally:
            self._listeners.discard(queue)
