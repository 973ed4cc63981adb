"""Things that go wrong on demand: set in process, or with `POST /fault` on the admin port."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class Faults:
    """Switches for tests. Counters count down, one per event; booleans and delays stay until they are
    changed.

    latency_seconds: time an ExecuteTransaction takes, instead of the configured one.
    freeze_seconds: when set, nothing is read or answered for so long, as if the node were stopped.
    reply_lost: so many transactions are applied, and then their connection is aborted without a reply.
    checkpoint_delay_seconds: checkpoints come so much later.
    no_checkpoint: checkpoints are not published at all.
    skip_checkpoints: so many checkpoints are left out of every stream.
    end_streams: so many checkpoint streams end at their next message.
    stream_silence_seconds: when set, checkpoint streams say nothing for so long.
    no_stream: new subscriptions are refused, as by a node that does not offer them.
    target_stolen: so many submissions find that another key has just filled their target.
    audit_verdict: "fraud" or "honest" instead of what the audit finds; "" for the truth.
    rpc_unavailable, rpc_exhausted: so many gRPC calls answer Unavailable (503) or ResourceExhausted (429).
    http_status, http_failures: so many HTTP requests of weights or data answer with that status.
    retry_after_seconds: sent along with those.
    server_version: software and version that the node says it is; "" for the usual.
    """

    latency_seconds: float | None = None
    freeze_seconds: float = 0.0
    reply_lost: int = 0
    checkpoint_delay_seconds: float = 0.0
    no_checkpoint: bool = False
    skip_checkpoints: int = 0
    end_streams: int = 0
    stream_silence_seconds: float = 0.0
    no_stream: bool = False
    target_stolen: int = 0
    audit_verdict: str = ""
    rpc_unavailable: int = 0
    rpc_exhausted: int = 0
    http_status: int = 503
    http_failures: int = 0
    retry_after_seconds: int | None = None
    server_version: str = ""
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    _frozen_until: float = field(default=0.0, repr=False)
    _silent_until: float = field(default=0.0, repr=False)

    def update(self, values: dict[str, Any]) -> None:
        """Sets switches by name.

        Raises:
            ValueError: an unknown name, or a value of another type.
        """
        unknown = values.keys() - _NAMES
        if unknown:
            raise ValueError(f"unknown fault {', '.join(sorted(unknown))}; known: {', '.join(sorted(_NAMES))}")
        for name, value in values.items():
            if value is not None and not isinstance(value, bool | int | float | str):
                raise ValueError(f"{name} cannot be {value!r}")
            setattr(self, name, value)
        if "freeze_seconds" in values:
            self._frozen_until = self.clock() + self.freeze_seconds
        if "stream_silence_seconds" in values:
            self._silent_until = self.clock() + self.stream_silence_seconds

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name in _NAMES}

    def take(self, name: str) -> bool:
        """Counts the counter down; whether the fault happens now."""
        left: int = getattr(self, name)
        if left <= 0:
            return False
        setattr(self, name, left - 1)
        return True

    async def thawed(self) -> None:
        """Returns when the node is not frozen."""
        await self._until(self._frozen_until)

    async def streams_speak(self) -> None:
        """Returns when checkpoint streams are not silent."""
        await self._until(self._silent_until)

    async def _until(self, moment: float) -> None:
        left = moment - self.clock()
        if left > 0:
            await asyncio.sleep(left)


_NAMES = frozenset(f.name for f in fields(Faults) if not f.name.startswith("_") and f.name != "clock")
