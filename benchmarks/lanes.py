"""Submissions per second over 1, 2, 4, 8 and 16 lanes of one key, and eight calls of the SDK's `submit_data` at once.

    uv run python benchmarks/lanes.py [--latency 0.15] [--per-lane 15] [--repeats 3] [--json]

The network is a devnet in a process of its own that takes 150 ms for a transaction. Submissions go through the
product's outbox, lanes, coin pool and ledger, every one durable before it is sent. The devnet's audit is off: what
is claimed is of the right form and size and nothing else, since only the way to the chain is measured.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstart.chain.board import Board, OpenTarget
from quickstart.chain.client import Endpoints, NetworkReader, connect, request_faucet
from quickstart.chain.coins import CoinPool
from quickstart.chain.ids import blake2b_256, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import FileLease
from quickstart.chain.transactions import Manifest, SubmitData
from quickstart.data.window import WINDOW_BYTES
from quickstart.devnet.config import DevnetConfig
from quickstart.devnet.process import DevnetProcess
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.fills import record_settled
from quickstart.submission.outbox import NotSent, Outbox
from quickstart.units import SHANNONS_PER_SOMA

LANES = (1, 2, 4, 8, 16)
SDK_CALLS = 8
GOAL = 0.8
DATA = b"a window of one kilobyte, for its size only ".ljust(WINDOW_BYTES, b".")
URL = "http://127.0.0.1:9/window"
DISTANCE, LOSS = 0.5, 2.0
SETTLING_SECONDS = 0.6
"""Twice the devnet's index lag: what a listing shows after that is how things are."""


@dataclass(frozen=True, slots=True)
class Run:
    """`sent` submissions over `lanes` lanes in `seconds`. `own_cpu`, `node_cpu`: CPU seconds of each process."""

    lanes: int
    sent: int
    seconds: float
    own_cpu: float
    node_cpu: float

    @property
    def rate(self) -> float:
        return self.sent / self.seconds


class Bench:
    """One funded wallet on one devnet, and what the product needs to send for it."""

    def __init__(self, endpoints: Endpoints, node_pid: int, folder: Path, stack: ExitStack) -> None:
        self.wallet = Wallet.generate()
        self.endpoints = endpoints
        self.node_pid = node_pid
        self.lease = stack.enter_context(FileLease(folder / "lease", "benchmark"))
        self.ledger = Ledger(folder / "ledger.sqlite")
        stack.callback(self.ledger.close)
        self.reader: NetworkReader

    async def open(self) -> None:
        self.reader = NetworkReader(await connect(self.endpoints), self.endpoints.rpc)
        await fund(self.endpoints, self.wallet)

    async def board(self) -> Board:
        await asyncio.sleep(SETTLING_SECONDS)
        return await self.reader.board()

    async def run(self, lanes: int, per_lane: int) -> Run:
        """Fills `per_lane` targets over each lane; connections are made and used once before the clock starts."""
        board = await self.board()
        targets = iter(board.targets.values())
        pool = CoinPool(await self.reader.coins(self.wallet.address))
        outbox = Outbox(
            self.wallet,
            self.lease,
            LedgerWriter(self.ledger),
            Lanes(self.endpoints, lanes),
            self.reader,
            pool,
            record_settled,
        )

        async def work(count: int) -> None:
            for _ in range(count):
                await submit(outbox, next(targets), board)

        await asyncio.gather(*(work(1) for _ in range(lanes)))
        own_cpu, node_cpu, started = time.process_time(), process_cpu(self.node_pid), time.perf_counter()
        await asyncio.gather(*(work(per_lane) for _ in range(lanes)))
        seconds = time.perf_counter() - started
        return Run(
            lanes,
            lanes * per_lane,
            seconds,
            time.process_time() - own_cpu,
            process_cpu(self.node_pid) - node_cpu,
        )


async def submit(outbox: Outbox, target: OpenTarget, board: Board) -> None:
    """One submission the product's way; anything but a filled target ends the benchmark."""
    coin = outbox.pool.reserve(board.epoch.parameters.submission_cost(WINDOW_BYTES))
    if coin is None:
        raise RuntimeError("no coin is left to pay for a submission")
    kind = SubmitData(
        target_id=target.target_id,
        manifest=Manifest(URL, blake2b_256(DATA), len(DATA)),
        model_id=target.model_ids[0],
        embedding=np.ones(len(target.embedding), np.float32),
        distance=DISTANCE,
        loss=(LOSS,),
        bond_coin=coin.ref,
    )
    details = {
        "bond": board.epoch.parameters.bond(len(DATA)),
        "reward": target.reward,
        "window": blake2b_256(DATA).hex(),
    }
    outcome = await outbox.send(
        kind,
        (coin,),
        1,
        purpose=IntentKind.SUBMIT,
        subject=target.target_id,
        epoch=board.epoch.number,
        details=details,
    )
    if isinstance(outcome, NotSent) or outcome.effects.failure is not None:
        raise RuntimeError(f"a submission did not fill its target: {outcome}")


async def fund(endpoints: Endpoints, wallet: Wallet) -> None:
    """As many coins as the most lanes need, from the devnet's faucet."""
    assert endpoints.faucet is not None
    sdk = await connect(endpoints, with_services=True)
    await request_faucet(sdk, wallet.address, endpoints.faucet)


async def sdk_at_once(endpoints: Endpoints, targets: Iterator[OpenTarget]) -> tuple[float, int]:
    """Eight `submit_data` of a fresh, funded key through one client: seconds until all have ended, how many failed."""
    from soma_sdk import Keypair, SomaClient

    wallet = Wallet.generate()
    await fund(endpoints, wallet)
    await asyncio.sleep(SETTLING_SECONDS)
    signer, client = Keypair.from_secret_key(wallet.secret), await SomaClient(endpoints.rpc)

    async def call(target: OpenTarget) -> Any:
        model = format_id(target.model_ids[0])
        embedding = [1.0] * len(target.embedding)
        return await client.submit_data(
            signer, format_id(target.target_id), DATA, URL, model, embedding, DISTANCE, [LOSS]
        )

    started = time.perf_counter()
    results = await asyncio.gather(*(call(next(targets)) for _ in range(SDK_CALLS)), return_exceptions=True)
    seconds = time.perf_counter() - started
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, RuntimeError):
            raise result
    return seconds, sum(isinstance(result, RuntimeError) for result in results)


def process_cpu(pid: int) -> float:
    """CPU seconds a process has used; NaN where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    config = DevnetConfig(
        targets=(arguments.per_lane + 1) * max(LANES),
        audit=False,
        seed=0,
        latency_seconds=arguments.latency,
        faucet_shannons=10 * SHANNONS_PER_SOMA,
        faucet_coins=max(LANES),
        rpc_port=0,
        faucet_port=0,
        scoring_port=0,
        admin_port=0,
    )
    with ExitStack() as stack:
        async with DevnetProcess(config, folder / "devnet") as urls:
            bench = Bench(Endpoints(urls.rpc, urls.faucet), urls.pid, folder, stack)
            await bench.open()
            runs: list[Run] = []
            sdk: list[tuple[float, int]] = []
            # In turn, so that whatever else the machine does falls on all of them alike.
            for _ in range(arguments.repeats):
                runs += [await bench.run(lanes, arguments.per_lane) for lanes in LANES]
                board = await bench.board()
                sdk.append(await sdk_at_once(bench.endpoints, iter(board.targets.values())))
            eight = [await bench.run(SDK_CALLS, 1) for _ in range(arguments.repeats)]
    return {
        "cores": os.cpu_count(),
        "latency_seconds": arguments.latency,
        "lanes": [figures(lanes, runs) for lanes in LANES],
        "eight_at_once_seconds": statistics.median(run.seconds for run in eight),
        "sdk_eight_at_once_seconds": statistics.median(seconds for seconds, _ in sdk),
        "sdk_failed": statistics.median(failed for _, failed in sdk),
    }


def figures(lanes: int, runs: list[Run]) -> dict[str, float]:
    """Medians over the repeats of one number of lanes."""
    mine = [run for run in runs if run.lanes == lanes]
    rate = statistics.median(run.rate for run in mine)
    one = statistics.median(run.rate for run in runs if run.lanes == 1)
    return {
        "lanes": lanes,
        "per_second": rate,
        "times_one_lane": rate / one,
        "goal": GOAL * lanes,
        "own_cpu_ms": 1000 * statistics.median(run.own_cpu / run.sent for run in mine),
        "node_cpu_ms": 1000 * statistics.median(run.node_cpu / run.sent for run in mine),
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['latency_seconds'] * 1000:.0f} ms per transaction, one key, {result['cores']} cores")
    print(f"{'lanes':>5} {'per second':>11} {'x one lane':>11} {'goal':>6} {'CPU ms each: ours':>19} {'devnet':>7}")
    for row in result["lanes"]:
        print(
            f"{row['lanes']:5} {row['per_second']:11.1f} {row['times_one_lane']:11.2f} {row['goal']:6.1f} "
            f"{row['own_cpu_ms']:19.1f} {row['node_cpu_ms']:7.1f}"
        )
    print(f"eight at once: ours {result['eight_at_once_seconds']:.2f} s, none failed; ", end="")
    print(f"submit_data {result['sdk_eight_at_once_seconds']:.2f} s, {result['sdk_failed']:.0f} failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.15, metavar="S", help="per transaction (0.15)")
    parser.add_argument("--per-lane", type=int, default=15, metavar="N", help="submissions per lane and run (15)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs per number of lanes (3)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(arguments, Path(folder)))
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
