"""Promise 6 in short: every way in which a public copy can fail, on a simulated clock."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from campaign_path import promise

from quickstart.errors import NetworkError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, AlarmKind, Fill, FillState, Published
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms
from quickstart.submission.custody import AGAIN_AFTER_MS, CHECK_EVERY_MS, LOOK_EVERY_MS, Custody, copies_of, due
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.storage import Publisher
from quickstart.units import MINUTES
from tests.campaign.product_run import MemoryStorage
from tests.campaign.promises.readable import ALARM_WITHIN, Shelf, windows_of
from tests.campaign.virtual_time import VirtualLoop

NOW = 1_800_000_000_000


def copy(name: str, verified_ms: int = 0, url: str = "u") -> Published:
    return Published(name.encode(), url, 1024, verified_ms)


def fill(window: str, url: str | None) -> Fill:
    return Fill(window.encode() + b"t", None, 1, 1, 1, window.encode(), url=url)


def test_a_fill_rests_on_the_copy_it_names() -> None:
    copies = [copy("a", url="old"), copy("a", url="new"), copy("b"), copy("c", url="x"), copy("c", url="y")]
    assert copies_of([fill("a", "old"), fill("c", None)], copies) == (copies[0], copies[3], copies[4])


def test_copies_are_due_after_six_hours_and_failing_ones_every_five_minutes() -> None:
    old, fresh, ahead = copy("old", NOW - CHECK_EVERY_MS), copy("fresh", NOW - CHECK_EVERY_MS + 1), copy("x", NOW + 1)
    never = copy("never")
    assert due([fresh, old, ahead, never], {}, NOW) == (never, old, ahead)
    tried = {(b"old", "u"): NOW - AGAIN_AFTER_MS + 1, (b"never", "u"): NOW - AGAIN_AFTER_MS}
    assert due([old, never], tried, NOW) == (never,)


def test_what_bonds_rest_on_stays_readable_or_is_told_of() -> None:
    found = promise("readable").run(1, seed=3)
    assert found["lost"] == 0, found
    assert found["faults"] == 11
    assert found["alarms"] == 9  # what was lost or damaged in the bucket was put back, without one
    assert found["recovered"] == 11
    assert found["checks"] > 8 * 11


class Bucket(MemoryStorage):
    """A bucket whose uploads fail as `trouble` says."""

    trouble: Callable[[], None] = staticmethod(lambda: None)

    def put(self, data: bytes, checksum: bytes, *, again: bool = False) -> str:
        self.trouble()
        return super().put(data, checksum, again=again)


class Waiting(VirtualLoop):
    """What is done in the publishers' threads takes as long as `seconds` says, one after the other."""

    seconds: list[float]

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        self.thread_seconds = self.seconds.pop(0) if executor is not None and self.seconds else 0.0
        return super().run_in_executor(executor, func, *args)


class Cared:
    """One window, a bond that rests on it, and who looks after it."""

    def __init__(self, folder: Path) -> None:
        self.loop = Waiting()
        self.loop.seconds = []
        (self.window,) = windows_of(1, seed=1)
        self.bucket = Bucket()
        self.client = self.bucket.client()
        self.ledger = Ledger(folder / "ledger.sqlite")
        writer = LedgerWriter(self.ledger)
        publisher = Publisher(self.bucket, self.client, lambda _: None)
        self.desk = self.loop.run(self._desk(publisher, writer))
        self.custody = Custody(self.desk, writer, Alarms(writer, self.now), Shelf([self.window]))
        self.url = self.bucket.public_url(self.window.checksum)

    async def _desk(self, publisher: Publisher, writer: LedgerWriter) -> PublishingDesk:
        return PublishingDesk(publisher, writer, self.now)

    def now(self) -> int:
        return NOW + round(self.loop.time() * 1000)

    def close(self) -> None:
        self.desk.close()
        self.client.close()
        self.ledger.close()
        self.loop.close()


@pytest.fixture
def cared(tmp_path: Path) -> Iterator[Cared]:
    with closing(Cared(tmp_path)) as cared:
        yield cared


def test_a_bucket_that_takes_its_time_does_not_delay_the_alarm(cared: Cared) -> None:
    """Every call waits as long as it may, for a host that asks for a minute each time."""
    cared.loop.run(cared.desk.publish(cared.window))
    (copy,) = cared.ledger.published()
    cared.bucket.objects.clear()
    reading, putting = 7 * MINUTES, 20 * MINUTES
    cared.loop.seconds = [reading, putting]
    cared.loop.run(cared.custody.check(copy))
    (alarm,) = cared.ledger.alarms()
    assert alarm.raised_ms - NOW <= reading * 1000 + ALARM_WITHIN
    assert alarm.cleared_ms is not None, "it was put back after all"
    assert cared.bucket.objects


def test_an_alarm_ends_with_the_last_bond_that_rests_on_its_copy(cared: Cared) -> None:
    window = cared.window.checksum
    cared.ledger.publish(Published(window, cared.url, 1024, 0))
    cared.ledger.raise_alarm(Alarm(AlarmKind.UNREADABLE, cared.url, "m", NOW))
    cared.ledger.raise_alarm(Alarm(AlarmKind.UNKNOWN_VERSION, cared.url, "m", NOW))
    cared.ledger.add_fills([Fill(name * 32, None, 1, 1, 1, window, url=cared.url) for name in (b"a", b"b")])
    for name, still_open in {b"a": 2, b"b": 1}.items():
        cared.ledger.mark_fill(name * 32, FillState.CLAIMED)
        cared.loop.pass_time(LOOK_EVERY_MS / 1000)
        cared.loop.run(cared.custody.look())
        assert sum(alarm.cleared_ms is None for alarm in cared.ledger.alarms()) == still_open


def test_a_bucket_that_fails_in_a_new_way_is_left_alone_and_does_not_end_the_run(cared: Cared) -> None:
    def fail() -> None:
        raise NetworkError("the bucket failed: IncompleteBody")

    cared.bucket.trouble = fail
    with pytest.raises(NetworkError):
        cared.loop.run(cared.desk.publish(cared.window))  # it has never worked: a person is there
    cared.bucket.trouble = lambda: None
    cared.loop.run(cared.desk.publish(cared.window))
    cared.desk.distrust(cared.window.checksum)
    cared.bucket.trouble = fail

    async def once_more() -> int:
        await cared.desk.publish(cared.window)
        return cared.desk.publishers

    assert cared.loop.run(once_more()) == 0
    assert cared.window.checksum not in cared.desk.published
