"""Races for targets against rivals, with the feed and without it.

    uv run python benchmarks/feed.py [--seconds 30] [--latency 0.4] [--rivals 3] [--windows 200] [--json]

The network is a devnet in a process of its own, at a fixed threshold (the network's, scaled to the models' width),
whose transactions take `--latency`. Three rivals with banks of their own read its listing every second and fill what
they can, two transactions at a time each. The rest of the network fills targets that have been open for 3 s, so that
new ones appear also where a bank of this size fits few. Against the rivals, each on a fresh network:

- `feed`: the product as it is;
- `polling`: the product without the stream, reading the listing every second as the rivals do;
- `one at a time`: a client that scores one window in 7 s, submits it for a target that it hits, and forgets it.

The product has all scores from the start and 8 lanes. `from birth` counts from the chain's time of the transaction
that spawned a target to our submission's landing, `known` to when we knew of it: the devnet's checkpoints come
`--checkpoint` seconds after execution.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from simulated import EveryRow, Scores, real_scores
from threadpoolctl import threadpool_limits

from quickstart.bank import Bank
from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect, request_faucet
from quickstart.chain.coins import CoinPool
from quickstart.chain.feed import CheckpointFeed
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import FileLease
from quickstart.chain.protocol import scaled_threshold
from quickstart.chain.transactions import Manifest, ObjectRef, SubmitData, TransactionData
from quickstart.data.folder import python_library
from quickstart.data.window import WINDOW_BYTES
from quickstart.devnet.config import MODEL_STAKE, ChainRules, DevnetConfig, DevnetUrls
from quickstart.devnet.genesis import packaged_model
from quickstart.devnet.keys import devnet_key
from quickstart.devnet.node import Node
from quickstart.devnet.rivals import rival_key
from quickstart.devnet.server import DevnetServer
from quickstart.devnet.state import Commitment, Model, ModelStatus
from quickstart.devnet.targets import direction
from quickstart.executors.base import ScoreAnswer, ScoreRequest
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.matching import MatchTarget
from quickstart.submission.actions import Policy
from quickstart.submission.board_watch import BoardWatch
from quickstart.submission.driver import Driver
from quickstart.submission.file_server import FileServer
from quickstart.submission.fills import record_settled
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.latency import latency
from quickstart.submission.outbox import Outbox
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.requests import RequestBox
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.submission.storage import Publisher, public_client
from quickstart.units import SHANNONS_PER_SOMA

THRESHOLDS = (1.05, 0.95)
STRATEGIES = ("feed", "polling", "one at a time")
SCORE_SECONDS = 7.0
LANES = 8
POLL_SECONDS = (1.0, 1.0)
FULL_WIDTH = 2048
FULL_MODELS = 3
SETTLING_SECONDS = 1.0
UNWANTED_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class RaceConfig(DevnetConfig):
    """A devnet at one threshold. `network_threshold` is meant at the network's width."""

    network_threshold: float = 1.05

    def rules(self) -> ChainRules:
        rules = DevnetConfig.rules(self)
        threshold = float(np.float32(scaled_threshold(self.network_threshold, self.dim)))
        return replace(rules, parameters=replace(rules.parameters, target_initial_distance_threshold=threshold))


async def serve(settings: dict[str, Any]) -> None:
    """The child process: a devnet until standard input closes."""
    ports = {"rpc_port": 0, "faucet_port": 0, "scoring_port": 0, "admin_port": 0}
    churn = settings.pop("churn", 0)
    async with DevnetServer(RaceConfig(audit=False, **ports, **settings)) as server:
        if not server.config.models:
            for number in range(FULL_MODELS):
                model = full_width_model(number)
                server.node.state.models[model.model_id] = model
            await server.node.advance_epoch()
        print(json.dumps(server.urls.as_dict()), flush=True)
        others = asyncio.create_task(RestOfTheNetwork(server.node, churn).run())
        await asyncio.to_thread(sys.stdin.read)
        others.cancel()


class RestOfTheNetwork:
    """Fills targets that nobody else wanted for a while, so that new ones appear: each of its lanes one a second."""

    def __init__(self, node: Node, lanes: int) -> None:
        self._node = node
        self._key = devnet_key("the rest of the network")
        self._lanes = lanes
        self._seen: dict[Id32, float] = {}
        self._taken: set[Id32] = set()

    async def run(self) -> None:
        self._node.give(self._key.address, SHANNONS_PER_SOMA, self._lanes)
        coins = [stored.ref for stored in self._node.state.coins(self._key.address)]
        async with asyncio.TaskGroup() as tasks:
            for coin in coins:
                await asyncio.sleep(1 / self._lanes)
                tasks.create_task(self._fill(coin))

    async def _fill(self, coin: ObjectRef) -> None:
        while True:
            started = time.monotonic()
            targets = dict(self._node.open_targets())
            self._seen = {target_id: self._seen.get(target_id, started) for target_id in targets}
            self._taken &= targets.keys()
            old = [i for i, seen in self._seen.items() if started - seen >= UNWANTED_SECONDS and i not in self._taken]
            if old:
                target_id = min(old, key=lambda i: self._seen[i])
                self._taken.add(target_id)
                target = targets[target_id]
                manifest = Manifest("http://127.0.0.1:9/window", bytes(32), WINDOW_BYTES)
                kind = SubmitData(target_id, manifest, target.model_ids[0], target.embedding, 0.0, (1.0,), coin)
                transaction = TransactionData(kind, self._key.address, (coin,))
                effects = await self._node.submit(transaction, self._key.sign(transaction), self._key.public)
                (state,) = (change.after for change in effects.changed if change.object_id == coin.object_id)
                assert state is not None
                coin = ObjectRef(coin.object_id, state.version, state.digest)
            await asyncio.sleep(max(0.0, started + 1 - time.monotonic()))


def full_width_model(number: int) -> Model:
    """An active model of the network's width. Nobody scores with it: targets need no more."""
    packaged = packaged_model("c64")
    commitment = Commitment(packaged.manifest, bytes(32), bytes(32), bytes(32), epoch=0)
    return Model(
        model_id=blake2b_256(b"benchmark model %d" % number),
        owner=bytes(32),
        pool_id=bytes(32),
        stake=MODEL_STAKE * (number + 1),
        commission_bps=0,
        next_commission_bps=0,
        create_epoch=0,
        status=ModelStatus.ACTIVE,
        commitment=commitment,
        decryption_key=packaged.key,
        embedding=direction(number, FULL_WIDTH),
        activation_epoch=0,
    )


@asynccontextmanager
async def devnet(**settings: Any) -> AsyncIterator[DevnetUrls]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield DevnetUrls(**json.loads(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


class NoExecutor:
    """Everything is scored already."""

    capacity = 0

    def spawn(self, request: ScoreRequest) -> None:
        raise AssertionError("nothing is left to score")

    def poll(self) -> tuple[ScoreAnswer, ...]:
        return ()

    def __enter__(self) -> "NoExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Client:
    """One funded wallet on one devnet."""

    def __init__(self, urls: DevnetUrls, folder: Path, stack: ExitStack) -> None:
        self.endpoints = Endpoints(urls.rpc, urls.faucet)
        self.wallet = Wallet.generate()
        self.folder = folder
        self.lease = stack.enter_context(FileLease(folder / "lease", "benchmark"))
        self.ledger = Ledger(folder / "ledger.sqlite")
        stack.callback(self.ledger.close)
        self.writer = LedgerWriter(self.ledger)
        self.reader: NetworkReader
        self.outbox: Outbox

    async def open(self) -> Board:
        sdk = await connect(self.endpoints, with_services=True)
        assert self.endpoints.faucet is not None
        await request_faucet(sdk, self.wallet.address, self.endpoints.faucet)
        await asyncio.sleep(SETTLING_SECONDS)
        self.reader = NetworkReader(await connect(self.endpoints), self.endpoints.rpc)
        pool = CoinPool(await self.reader.coins(self.wallet.address))
        lanes = Lanes(self.endpoints, LANES)
        self.outbox = Outbox(self.wallet, self.lease, self.writer, lanes, self.reader, pool, record_settled)
        return await self.reader.board()


async def race(
    strategy: str, threshold: float, scores: Scores, bank: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One strategy against the rivals on a fresh network."""
    settings = {
        "network_threshold": threshold,
        "latency_seconds": arguments.latency,
        "checkpoint_seconds": arguments.checkpoint,
        "rivals": arguments.rivals,
        "rival_poll_seconds": 1.0,
        "churn": arguments.churn,
        "seed": arguments.seed,
        "faucet_shannons": SHANNONS_PER_SOMA,
        "faucet_coins": LANES,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with devnet(**settings) as urls:
            client = Client(urls, folder, stack)
            board = await client.open()
            told: dict[str, Any] = {}
            if strategy == "one at a time":
                await score_and_forget(client, scores, arguments.seconds)
            else:
                told = await with_bank(client, board, strategy, scores, bank, stack, arguments.seconds)
            await asyncio.sleep(SETTLING_SECONDS)
            rivals = [len(await client.reader.fills_of(rival_key(n).address)) for n in range(arguments.rivals)]
            hits = len(await client.reader.fills_of(client.wallet.address))
        timings = latency(client.ledger.timings())
        failed = sum(map(len, [client.ledger.failed_subjects(IntentKind.SUBMIT, board.epoch.number)]))
    return {
        "threshold": threshold,
        "strategy": strategy,
        "hits": hits,
        "rivals": sum(rivals),
        "share": hits / max(1, hits + sum(rivals)),
        "lost": failed,
        "latency_ms": timings,
        "feed": told,
    }


async def with_bank(
    client: Client, board: Board, strategy: str, scores: Scores, bank: Path, stack: ExitStack, seconds: float
) -> dict[str, Any]:
    """The product's own loop, for so long."""
    if strategy == "feed":
        watch = BoardWatch(client.reader, board, CheckpointFeed(client.endpoints.rpc))
    else:
        watch = BoardWatch(client.reader, board, poll_seconds=POLL_SECONDS)
        watch._foresight.mismatch = "nothing is computed in this race"
    names = {model.weights_id: scores.weights[model.manifest.checksum] for model in board.models.values()}
    desk = ScoringDesk(Bank(bank), NoExecutor(), names)
    stack.callback(desk.close)
    published = client.folder / "published"
    storage = FolderStorage(published, stack.enter_context(FileServer(published)).base_url)
    driver = Driver(
        owner=client.wallet.address,
        reader=client.reader,
        watch=watch,
        desk=desk,
        publishing=PublishingDesk(Publisher(storage, stack.enter_context(public_client())), client.writer),
        outbox=client.outbox,
        writer=client.writer,
        requests=RequestBox(client.folder / "requests"),
        report=lambda _: None,
    )
    policy = Policy(lanes=LANES, max_hits_per_epoch=None, epoch_seconds=seconds, scoring=False, patient=True)
    running = asyncio.create_task(driver.run_epoch(policy))
    await asyncio.wait([running], timeout=seconds)
    driver.stop()
    await running
    await driver.close()
    return driver.feed


async def score_and_forget(client: Client, scores: Scores, seconds: float) -> None:
    """One window in 7 s; it is submitted for a target that it hits by then."""
    every_row, row = EveryRow(scores.view), 0
    ends = time.monotonic() + seconds
    while time.monotonic() + SCORE_SECONDS < ends:
        await asyncio.sleep(SCORE_SECONDS)
        board = await client.reader.board()
        for target in board.targets.values():
            names = tuple(scores.weights[board.models[m].manifest.checksum] for m in target.model_ids)
            wanted = MatchTarget(target.target_id, target.embedding, names, target.distance_threshold)
            hit = every_row.candidates(wanted).get(row)
            if hit is not None:
                await send_row(client, board, target.target_id, row, hit, scores, names)
                break
        row += 1


async def send_row(
    client: Client,
    board: Board,
    target_id: Id32,
    row: int,
    hit: tuple[int, float],
    scores: Scores,
    names: tuple[Id32, ...],
) -> None:
    target, (model, distance) = board.targets[target_id], hit
    coin = client.outbox.pool.reserve(board.epoch.parameters.submission_cost(WINDOW_BYTES))
    assert coin is not None
    checksum = scores.view.checksum(row)
    kind = SubmitData(
        target_id=target_id,
        manifest=Manifest("http://127.0.0.1:9/window", checksum, WINDOW_BYTES),
        model_id=target.model_ids[model],
        embedding=scores.view.embedding(names[model], row),
        distance=distance,
        loss=(float(scores.view.models[names[model]].losses[row]),),
        bond_coin=coin.ref,
    )
    details = {"bond": board.epoch.parameters.bond(WINDOW_BYTES), "reward": target.reward, "window": checksum.hex()}
    await client.outbox.send(
        kind, (coin,), 1, purpose=IntentKind.SUBMIT, subject=target_id, epoch=board.epoch.number, details=details
    )


HEADER = f"{'':19} {'hits':>5} {'rivals':>6} {'share':>6} {'lost':>5}" + "".join(
    f" | {name:>6} {'p50':>5} {'p95':>5} {'known':>5}" for name in ("own", "others", "listed")
)


def show(row: dict[str, Any]) -> None:
    """`known`: the 95th percentile from birth to sight; p50 and p95: from birth to landing."""
    times = row["latency_ms"]
    cells = "".join(
        f" | {times[name]['count']:6} {_ms(times[name]['p50'])} {_ms(times[name]['p95'])} "
        f"{_ms(times[name]['steps']['known']['p95'])}"
        for name in ("own", "others", "listed")
    )
    print(
        f"{row['threshold']:.2f} {row['strategy']:14} {row['hits']:5} {row['rivals']:6} {row['share']:6.1%} "
        f"{row['lost']:5}{cells}",
        flush=True,
    )


def _ms(value: float | None) -> str:
    return f"{value:5.0f}" if value is not None else f"{'-':>5}"


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    races: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        if arguments.thresholds:
            scores = real_scores(Path(folder), arguments.windows, arguments.seed, [python_library()])
            if not arguments.json:
                print(HEADER)
        for threshold, strategy in itertools.product(arguments.thresholds, STRATEGIES):
            row = await race(strategy, threshold, scores, Path(folder), arguments)
            races.append(row)
            if not arguments.json:
                show(row)
    return {"races": races}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--thresholds", type=float, nargs="*", default=THRESHOLDS, metavar="T", help="the network's")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="of each race (30)")
    parser.add_argument("--latency", type=float, default=0.4, metavar="S", help="per transaction (0.4)")
    parser.add_argument("--checkpoint", type=float, default=0.1, metavar="S", help="from execution to checkpoint (0.1)")
    parser.add_argument("--rivals", type=int, default=3, metavar="N", help="how many (3)")
    parser.add_argument("--churn", type=int, default=10, metavar="X", help="fills a second by the rest (10)")
    parser.add_argument("--windows", type=int, default=200, metavar="N", help="in our bank (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(json.loads(arguments.serve)))
        return 0
    result = asyncio.run(measure(arguments))
    if arguments.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
