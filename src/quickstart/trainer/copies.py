"""The public copies of our models' weights: readable until they are revealed, and for as long as they are in play.

Validators fetch a model's weights whenever they audit a target it was assigned to; one that they cannot have may be
reported, and a model reported by enough of them loses most of its stake (`soma-protocol` §11.5).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import httpx

from quickstart.chain.own_models import OwnModel
from quickstart.chain.transactions import Manifest
from quickstart.errors import DataUnreadableError
from quickstart.ledger.records import AlarmKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms, now_ms
from quickstart.submission.custody import AGAIN_AFTER_MS, CHECK_EVERY_MS
from quickstart.submission.storage import verify_range
from quickstart.threads import unattended
from quickstart.units import KIB

log = logging.getLogger(__name__)

LOOK_BYTES = 64 * KIB


def manifests_of(models: Iterable[OwnModel]) -> tuple[Manifest, ...]:
    """What others must be able to read of our models: weights in play, and those that wait for their reveal."""
    found = []
    for model in models:
        found += [model.manifest] if model.manifest is not None else []
        found += [model.pending.manifest] if model.pending is not None else []
    return tuple(dict.fromkeys(found))


def due(manifests: Iterable[Manifest], checked_ms: Mapping[str, tuple[int, bool]], now: int) -> tuple[Manifest, ...]:
    """What to read now: six hours after it was last readable, five minutes after it was not. Pure; ms since 1970.

    `checked_ms`: by address, when it was last looked at, and whether it was readable.
    """
    waiting = []
    for manifest in manifests:
        at, readable = checked_ms.get(manifest.url, (0, False))
        if not 0 <= now - at < (CHECK_EVERY_MS if readable else AGAIN_AFTER_MS):
            waiting.append(manifest)
    return tuple(waiting)


def trouble_with(manifest: Manifest, client: httpx.Client) -> str | None:
    """Why others cannot read a model's file; None if they can. What is read is its end alone, in a piece as validators
    do: a file that is named by its checksum does not change, it is lost, cut off or closed.
    """
    first = max(manifest.size // 2, manifest.size - LOOK_BYTES)
    try:
        verify_range(manifest.url, first, manifest.size, client=client)
    except DataUnreadableError as error:
        return str(error)
    return None


class ModelCopies:
    """Looks after them for one wallet. `clock`: ms since 1970."""

    def __init__(self, client: httpx.Client, writer: LedgerWriter, clock: Callable[[], int] = now_ms) -> None:
        self._client = client
        self._ledger = writer.ledger
        self._alarms = Alarms(writer, clock)
        self._clock = clock
        self._checked_ms: dict[str, tuple[int, bool]] = {}

    async def check(self, models: Iterable[OwnModel]) -> None:
        """Reads what is due. What others cannot read is an alarm, which is over as soon as they can again."""
        manifests = manifests_of(models)
        needed = {manifest.url for manifest in manifests}
        for alarm in self._ledger.alarms():
            if alarm.kind is AlarmKind.WEIGHTS_UNREADABLE and alarm.cleared_ms is None and alarm.subject not in needed:
                await self._alarms.clear(alarm.kind, alarm.subject)  # out of play, perhaps since an earlier run
        for manifest in due(manifests, self._checked_ms, self._clock()):
            # No end waits for a host that drips.
            trouble = await asyncio.wrap_future(unattended(partial(trouble_with, manifest, self._client)))
            self._checked_ms[manifest.url] = self._clock(), trouble is None
            if trouble is None:
                await self._alarms.clear(AlarmKind.WEIGHTS_UNREADABLE, manifest.url)
            else:
                await self._alarms.ring(
                    AlarmKind.WEIGHTS_UNREADABLE,
                    manifest.url,
                    f"others cannot read the weights of a model of ours: {trouble}; mend the bucket, or its stake is "
                    "at risk",
                )
