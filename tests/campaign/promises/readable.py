"""Promise 6: what a bond rests on stays readable, or a person hears of it in time.

Two days of simulated time over published windows and a host that fails in every way in turn. The folder, its server,
the reading over HTTP, ledger and alarms are the real ones; only the clock is simulated.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx
from loopback import Answer, Host, Seen, before

from quickstart.chain.ids import blake2b_256
from quickstart.data.window import Provenance, Window
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Alarm, Fill, Published
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms
from quickstart.submission.custody import CHECK_EVERY_MS, Custody
from quickstart.submission.file_server import FileServer
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.storage import Publisher, object_key
from tests.campaign.registry import Findings, Promise

MINUTE, HOUR = 60_000, 3_600_000
STEP = 2 * MINUTE
ALARM_WITHIN = 15 * MINUTE
MENDED_AFTER = 10 * MINUTE
"""How long after the alarm a person has mended the host."""

PATIENT_SECONDS = 0.1

FAULTS = ("403", "404", "429", "503", "truncated", "wrong bytes", "down", "slow", "redirect", "lost", "damaged")
"""The last two are of the bucket, not of its host: it lacks the object, or has another, and we put it back."""


@dataclass
class World:
    """A simulated clock, and what is wrong with the host. `failing`: path -> fault."""

    now: int = 1_800_000_000_000
    failing: dict[str, str] = field(default_factory=dict)
    over: Event = field(default_factory=Event)

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    def answer(self, seen: Seen, data: bytes) -> Answer | None:
        match self.failing.get(seen.path):
            case "403" | "404" as status:
                return Answer(int(status))
            case "429" | "503" as status:
                return Answer(int(status), headers={"Retry-After": "60"})
            case "truncated":
                return Answer(200, data[:-1])
            case "wrong bytes":
                return Answer(200, data[:-1] + bytes([data[-1] ^ 1]))
            case "down":
                return Answer(200, data, cut=0)
            case "redirect":
                return Answer(302, headers={"Location": "http://elsewhere.example/w"})
            case "slow":
                self.over.wait(3 * PATIENT_SECONDS)
        return None


class Shelf:
    """The windows by row, as a bank has them."""

    def __init__(self, windows: list[Window]) -> None:
        self._windows = windows
        self._rows = {window.checksum: row for row, window in enumerate(windows)}

    def row_of(self, checksum: bytes) -> int | None:
        return self._rows.get(checksum)

    def window(self, row: int) -> Window:
        return self._windows[row]


@dataclass
class Place:
    world: World
    root: Path
    host: Host
    storage: FolderStorage
    ledger: Ledger
    publishing: PublishingDesk
    custody: Custody
    windows: list[Window]

    def path(self, window: Window) -> str:
        return "/" + object_key(window.checksum)

    def open_alarms(self) -> dict[str, Alarm]:
        return {alarm.subject: alarm for alarm in self.ledger.alarms() if alarm.cleared_ms is None}


@contextmanager
def place(windows: list[Window]) -> Iterator[Place]:
    """Must be entered within a running event loop."""
    world = World()
    content = {"/" + object_key(window.checksum): window.data for window in windows}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        server = stack.enter_context(FileServer(folder / "public"))
        host = stack.enter_context(before(server.base_url, lambda seen: world.answer(seen, content[seen.path])))
        client = stack.enter_context(httpx.Client(timeout=PATIENT_SECONDS, trust_env=False))
        ledger = stack.enter_context(closing(Ledger(folder / "ledger.sqlite")))
        stack.callback(world.over.set)
        storage = FolderStorage(folder / "public", host.url)
        writer = LedgerWriter(ledger)
        publishing = PublishingDesk(Publisher(storage, client, world.sleep), writer, lambda: world.now)
        stack.callback(publishing.close)
        custody = Custody(publishing, writer, Alarms(writer, lambda: world.now), Shelf(windows))
        yield Place(world, folder / "public", host, storage, ledger, publishing, custody, windows)


def windows_of(count: int, seed: int) -> list[Window]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        data = rng.randbytes(1024)
        found.append(Window(data, blake2b_256(data), Provenance("campaign", str(number), 0)))
    return found


async def _publish_all(here: Place) -> None:
    for number, window in enumerate(here.windows):
        await here.publishing.publish(window)
        url = here.storage.public_url(window.checksum)
        target = blake2b_256(b"target %d" % number)
        here.ledger.add_fills([Fill(target, None, 1, 1, 66_560, window.checksum, url=url)])


def _begin(here: Place, window: Window, fault: str) -> None:
    path = here.root / object_key(window.checksum)
    if fault == "lost":
        path.unlink()
    elif fault == "damaged":
        path.write_bytes(bytes(len(window.data)))
    else:
        here.world.failing[here.path(window)] = fault


async def _simulate(hours: int, count: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    windows = windows_of(count, seed)
    found = dict.fromkeys(
        ("checks", "faults", "alarms", "recovered", "late_checks", "late_alarms", "wrongly_signed"), 0
    )
    with place(windows) as here:
        world = here.world
        await _publish_all(here)
        begins = {  # each window fails once, for so long that a check must meet it
            world.now + rng.randrange(HOUR, (hours - 16) * HOUR): (window, FAULTS[n % len(FAULTS)])
            for n, window in enumerate(windows)
        }
        last_good = {window.checksum: world.now for window in windows}
        broken_since: dict[bytes, int] = {}
        for _ in range(hours * HOUR // STEP):
            world.now += STEP
            for at in [at for at in begins if at <= world.now]:
                window, fault = begins.pop(at)
                _begin(here, window, fault)
                broken_since[window.checksum] = world.now
                found["faults"] += 1
            for alarm in here.open_alarms().values():
                if world.now - alarm.raised_ms > MENDED_AFTER:
                    world.failing.pop(urlsplit(alarm.subject).path, None)
            await here.custody.look()
            for copy in here.custody.due:
                here.custody.begin(copy)
                detected = world.now
                await here.custody.check(copy)
                found["checks"] += 1
                await _judge(here, copy, detected, last_good, broken_since, found)
            for window in windows:
                known_bad = here.storage.public_url(window.checksum) in here.open_alarms()
                if not known_bad and world.now - last_good[window.checksum] > CHECK_EVERY_MS + ALARM_WITHIN:
                    found["late_checks"] += 1
        found["alarms"] = len(here.ledger.alarms())
        found["left_open"] = len(here.open_alarms())
    return found


async def _judge(
    here: Place,
    copy: Published,
    detected: int,
    last_good: dict[bytes, int],
    broken_since: dict[bytes, int],
    found: dict[str, int],
) -> None:
    """Compares what the check said with what is so."""
    world = here.world
    alarm = here.open_alarms().get(copy.url)
    window = next(w for w in here.windows if w.checksum == copy.window)
    if here.path(window) in world.failing:
        first = alarm is not None and alarm.raised_ms >= broken_since[copy.window]
        if not first or (alarm is not None and alarm.raised_ms - detected > ALARM_WITHIN):
            found["late_alarms"] += 1
        await here.publishing.publish(window)
        here.publishing.unpublishable.clear()
        if copy.window in here.publishing.published:
            found["wrongly_signed"] += 1
        return
    if copy.window in broken_since and alarm is None and last_good[copy.window] < broken_since[copy.window]:
        found["recovered"] += (here.root / object_key(copy.window)).read_bytes() == window.data
    if alarm is not None:
        found["late_alarms"] += 1  # it is readable again: the alarm must be over
    last_good[copy.window] = world.now


def run(scale: float, seed: int) -> dict[str, Any]:
    """Promise 6. `scale` 1: every kind of failure once, within two days of simulated time."""
    count = max(1, round(len(FAULTS) * scale))
    found = asyncio.run(_simulate(48, count, seed))
    wrong = ("late_checks", "late_alarms", "wrongly_signed", "left_open")
    return {"promise": 6, "done": f"{found['checks']} checks, {found['faults']} failures", "seed": seed} | {
        "lost": sum(found[name] for name in wrong),
        **found,
    }


def data_is_readable(scale: int, seed: int) -> Findings:
    """Every kind of failure once within two days of simulated time, `scale` times over: the simulated clock counts the
    waits of checks one after another, which the product makes side by side, so few copies may fail at a time.
    """
    lives = [run(1, seed + life) for life in range(scale)]
    found = {name: sum(life[name] for life in lives) for name in lives[0] if isinstance(lives[0][name], int)}
    figures = {name: found[name] for name in ("checks", "alarms", "recovered", "late_alarms", "wrongly_signed")}
    done = "failures of public copies, put back or told of"
    return {"done": done, "times": found["faults"], "lost": found["lost"], "figures": figures}


PROMISES = (Promise(6, "data is readable", data_is_readable, short=0, long=6),)
