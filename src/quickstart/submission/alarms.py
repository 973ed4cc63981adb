"""What a person should see to: kept in the ledger, and told in the log once, at error level."""

import logging
import time
from collections.abc import Callable

from quickstart.chain.board import Epoch
from quickstart.chain.versions import SigningPermit, explain
from quickstart.ledger.records import Alarm, AlarmKind
from quickstart.ledger.writer import LedgerWriter

log = logging.getLogger(__name__)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Alarms:
    """Raises and clears alarms of one wallet. `clock`: milliseconds since 1970."""

    def __init__(self, writer: LedgerWriter, clock: Callable[[], int] = now_ms) -> None:
        self._writer = writer
        self._clock = clock

    async def ring(self, kind: AlarmKind, subject: str, message: str) -> None:
        """Raises an alarm; nothing more while one of its kind and subject is open."""
        alarm = Alarm(kind, subject, message, self._clock())
        if await self._writer.write(lambda ledger: ledger.raise_alarm(alarm)):
            log.error("%s", message)

    async def clear(self, kind: AlarmKind, subject: str | None = None) -> None:
        """Closes what is open of a kind: for one subject, or all of them."""
        at = self._clock()
        if await self._writer.write(lambda ledger: ledger.clear_alarms(kind, at, subject)):
            log.warning("over: %s %s", kind.value, subject or "")


async def watch_versions(permit: SigningPermit, epoch: Epoch, alarms: Alarms) -> bool:
    """Tells the permit what the network runs now; whether nothing may be signed, which is an alarm."""
    before = permit.withheld
    permit.observe(epoch.protocol_version, epoch.parameters.model_architecture_version)
    if permit.withheld:
        await alarms.ring(AlarmKind.UNKNOWN_VERSION, ",".join(permit.withheld), explain(permit.withheld))
    elif before:
        await alarms.clear(AlarmKind.UNKNOWN_VERSION)
    return bool(permit.withheld)
