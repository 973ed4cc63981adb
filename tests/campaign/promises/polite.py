"""Promise 10: polite under limits. Node and bucket refuse 30 % of calls and say for how long, then are away for ten
minutes; everything gets done all the same, no call comes sooner than asked, and nothing is scored meanwhile.

The clock is simulated. Calls reach the real client and devnet, and a server that speaks S3 as far as it is used.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from live_devnet import LiveDevnet, new_wallet, running
from loopback import Answer, Seen, serving
from sessions import close_servers, session

from quickstart.chain.backoff import Breaker
from quickstart.chain.client import READ_BACKOFF, NetworkReader, connect
from quickstart.devnet.faults import Faults
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.settings import S3Settings
from quickstart.submission.publishing import BACKOFF, PublishingDesk
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.storage import Publisher, public_client
from quickstart.units import MINUTES
from tests.campaign.promises.readable import windows_of
from tests.campaign.registry import Findings, Promise

AWAY_SECONDS = 10 * MINUTES
REFUSED = 0.3


@dataclass
class Limits:
    """A service that refuses some calls until `away_from`, all for ten minutes, and some again afterwards."""

    seed: int
    away_from: float
    now: float = 0.0
    told_until: float = 0.0
    calls: int = 0
    refused: int = 0
    calls_while_away: int = 0
    impolite: int = 0
    pauses: list[float] = field(default_factory=list)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    @property
    def is_away(self) -> bool:
        return 0 <= self.now - self.away_from < AWAY_SECONDS

    def called(self) -> int | None:
        """Counts a call; None if it is served, else for how many seconds it is refused (0: it does not say)."""
        self.calls += 1
        self.impolite += self.now < self.told_until
        self.now += 0.05
        if self.is_away:
            self.calls_while_away += 1
            return 0
        if self.rng.random() >= REFUSED:
            return None
        self.refused += 1
        seconds = self.rng.randrange(1, 40)
        self.told_until = self.now + seconds
        return seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def clock(self) -> float:
        return self.now

    def findings(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "refused": self.refused,
            "calls_while_away": self.calls_while_away,
            "impolite": self.impolite,
            "different_pauses": len(set(self.pauses)),
        }


class Limited:
    """The SDK's client behind a limit: refusals in the words of the node and of the transport."""

    def __init__(self, sdk: Any, limits: Limits) -> None:
        self._sdk = sdk
        self._limits = limits

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **options: Any) -> Any:
            refused = self._limits.called()
            if refused is None:
                return await getattr(self._sdk, name)(*arguments, **options)
            if refused:
                raise RuntimeError(f'status: ResourceExhausted, message: "too many requests, retry after {refused}"')
            raise RuntimeError('status: Unavailable, message: "tcp connect error"')

        return call


async def _node(live: LiveDevnet, rounds: int, seed: int) -> dict[str, int]:
    limits = Limits(seed, away_from=120.0)
    sdk = await connect(live.endpoints)

    async def limited() -> Any:
        return Limited(sdk, limits)

    breaker = Breaker(READ_BACKOFF, limits.clock)
    reader = NetworkReader(await limited(), live.endpoints.rpc, limited, breaker, limits.asleep)
    reader.patience_seconds = reader.away_seconds = 30 * MINUTES
    complete = 0
    for _ in range(rounds):
        complete += len((await reader.board()).targets) == len(live.open_targets())
        limits.now += 10.0
    return limits.findings() | {"undone": rounds - complete, "away_missed": limits.now < 120.0 + AWAY_SECONDS}


async def _bucket(count: int, seed: int) -> dict[str, int]:
    limits = Limits(seed, away_from=60.0)
    objects: dict[str, bytes] = {}

    def answer(seen: Seen, body: bytes) -> Answer:
        signed = "authorization" in seen.headers
        refused = limits.called() if signed else None
        if refused is not None:
            error = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>no</Message></Error>"
            return Answer(503, error, {"Retry-After": str(refused)} if refused else {})
        path = seen.path.partition("?")[0]
        if seen.method == "PUT":
            objects[path] = body
            return Answer(200, headers={"ETag": '"e"'})
        return Answer(200, objects[path]) if path in objects else Answer(404)

    windows = windows_of(count, seed)
    with TemporaryDirectory() as folder, serving(answer) as host, public_client() as client:
        settings = S3Settings("b", "id", "secret", host.url, f"{host.url}/b")
        with closing(S3Storage(settings, limits.sleep)) as storage, closing(Ledger(Path(folder) / "l")) as ledger:
            breaker = Breaker(BACKOFF, limits.clock)
            desk = PublishingDesk(Publisher(storage, client, limits.sleep), LedgerWriter(ledger), breaker=breaker)
            waiting = list(windows)
            while waiting and limits.now < 3_600:
                if not desk.publishers:
                    limits.now += 1.0
                    continue
                await desk.publish(waiting[0])
                if waiting[0].checksum in desk.published:
                    waiting.pop(0)
                    limits.now += 5.0
            desk.close()
            undone = len(waiting) + len(desk.unpublishable)
    return limits.findings() | {"undone": undone, "away_missed": limits.now < 60.0 + AWAY_SECONDS}


class Flaky(Faults):
    """A node that refuses 30 % of all calls, half of them as busy and half as not available."""

    def prepare(self, seed: int) -> "Flaky":
        self.rng, self.refused = random.Random(seed), 0
        return self

    def take(self, name: str) -> bool:
        refused = name.startswith("rpc_") and self.rng.random() < REFUSED / 2
        self.refused += refused
        return refused


def _whole_run(seed: int) -> dict[str, int]:
    """A run on the devnet, in real time, whose node refuses 30 % of calls, those that send included."""
    with running(models=1, targets=40) as live, TemporaryDirectory() as folder:
        wallet = new_wallet()
        live.fund(wallet.address, 1_000_000_000)
        flaky = live.server.node.faults = Flaky().prepare(seed)
        run = live.run(session(live, wallet, Path(folder)))
        told = live.run(run.run())
        close_servers()
        return {
            "filled": told["filled"],
            "refused": flaky.refused,
            "undone": 6 - told["filled"] + told["pending"] + abs(told["books"]["difference_shannons"]),
        }


def run(scale: float, seed: int) -> dict[str, Any]:
    """Promise 10. `scale` 1: 60 boards read and 60 windows published, with ten minutes away in between; and 5 whole
    runs.
    """
    count = max(20, round(60 * scale))
    with running(models=1, targets=20) as live:
        node = live.runner.run(_node(live, count, seed))
    bucket = asyncio.run(_bucket(count, seed))
    runs = [_whole_run(seed + number) for number in range(max(1, round(5 * scale)))]
    whole = {name: sum(one[name] for one in runs) for name in runs[0]}
    lost = whole["undone"] + sum(part["undone"] + part["impolite"] + part["away_missed"] for part in (node, bucket))
    done = f"{count} boards read, {count} windows published, {len(runs)} runs"
    found = {"node": node, "bucket": bucket, "runs": whole}
    return {"promise": 10, "done": done, "seed": seed, "lost": lost, **found}


def polite_under_limits(scale: int, seed: int) -> Findings:
    """`scale` whole runs, and twelve boards and twelve uploads for each of them."""
    found = run(scale / 5, seed)
    services = found["node"], found["bucket"]
    figures = {
        "calls": sum(service["calls"] for service in services),
        "refused": sum(service["refused"] for service in services) + found["runs"]["refused"],
        "too early": sum(service["impolite"] for service in services),
    }
    done = "whole runs, boards and uploads under 30 % refusals, and ten minutes without an answer"
    return {"done": done, "times": scale, "lost": found["lost"], "figures": figures}


PROMISES = (Promise(10, "polite under limits", polite_under_limits, short=0, long=10),)
