"""What the feed costs: bytes read, against polling; CPU and memory of a day's checkpoints; CPU to receive one.

    uv run python benchmarks/feed_costs.py [--seconds 30] [--fills 20000] [--json]

Bytes: two watches keep the board of one network at the network's full width, with one fill a second and ten
checkpoints a second, one by the stream and one by reading the listing every second, each through a counting proxy.
`listing`: the same targets listed whole every second, as a client does that keeps nothing.

Checkpoints: a made-up day, one fill a second and ten checkpoints a second, goes through the parser and the watch at
the network's full width: microseconds of CPU for a checkpoint with a fill and for one without, and how much the
process grows in the second half. `receive`: CPU for a message with gRPC, `core_share`: all of it
together, of one core.
"""

import argparse
import asyncio
import itertools
import json
import resource
import sys
import tempfile
import time
from contextlib import ExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from feed import FULL_MODELS, FULL_WIDTH, POLL_SECONDS, Client, devnet, full_width_model
from lanes import submit

from quickstart.chain.board import ActiveModel, Board, Epoch
from quickstart.chain.client import FULL_MASK, Endpoints, NetworkReader, connect
from quickstart.chain.feed import CheckpointFeed
from quickstart.chain.ids import SYSTEM_STATE_ID, Id32, blake2b_256, format_digest
from quickstart.chain.objects import ObjectType, SharedOwner, TargetContents, object_digest
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.spawning import SpawnRule
from quickstart.devnet.codec import timestamp
from quickstart.devnet.state import Model
from quickstart.submission.board_watch import PROOF_SECONDS, BoardWatch
from quickstart.units import SHANNONS_PER_SOMA
from quickstart.wire import soma_pb2 as pb

BYTES_FILLS_PER_SECOND = 1.0
BOARD = 100
CHECKPOINTS_PER_FILL = 10
GOAL_BYTES = 20
GOAL_SHARE = 0.01


class CountingProxy:
    """Passes connections on to one port of this machine and counts what comes back. `rpc`: where it listens."""

    def __init__(self, rpc: str) -> None:
        self._port = int(rpc.rsplit(":", 1)[1])
        self.received = 0
        self.rpc: str
        self._server: asyncio.Server
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "CountingProxy":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.rpc = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink, counts in ((reader, forth, False), (back, writer, True)):
            pump = asyncio.create_task(self._pump(source, sink, counts))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counts: bool) -> None:
        try:
            while data := await source.read(65536):
                self.received += len(data) if counts else 0
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # one side has gone, which ends the connection
        finally:
            sink.close()


async def count_bytes(arguments: argparse.Namespace) -> dict[str, float]:
    """Bytes an hour that keep a board of the network's width, by the stream and by polling."""
    settings = {
        "models": 0,
        "scaled": False,
        "width": FULL_WIDTH,
        "heartbeat_seconds": 0.1,
        "latency_seconds": 0.0,
        "faucet_shannons": SHANNONS_PER_SOMA,
        "seed": arguments.seed,
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        async with devnet(**settings) as urls, CountingProxy(urls.rpc) as by_stream, CountingProxy(urls.rpc) as by_poll:
            client = Client(urls, folder, stack)
            board = await client.open()
            readers = [NetworkReader(await connect(Endpoints(p.rpc)), p.rpc) for p in (by_stream, by_poll)]
            watches = [
                BoardWatch(readers[0], board, CheckpointFeed(by_stream.rpc)),
                BoardWatch(readers[1], board, poll_seconds=POLL_SECONDS),
            ]
            for watch in watches:
                watch.start(lambda: None)
            while not watches[0].proven:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.1)
            before, started = (by_stream.received, by_poll.received), time.monotonic()
            for number in range(arguments.seconds):
                target = next(iter(watches[0].board.targets.values()))
                await submit(client.outbox, target, watches[0].board)
                await asyncio.sleep(max(0.0, started + (number + 1) / BYTES_FILLS_PER_SECOND - time.monotonic()))
            hours = (time.monotonic() - started) / 3600
            stream, polling = by_stream.received - before[0], by_poll.received - before[1]
            for watch in watches:
                await watch.close()
            before_listing = by_poll.received
            await readers[1]._list_targets(FULL_MASK, status="open", epoch=board.epoch.number)
            listing = by_poll.received - before_listing
            same = watches[0].board.targets.keys() == (await client.reader.board()).targets.keys()
    # A snapshot proves the stream now and then; so short a run has had none.
    proofs = 3600 / PROOF_SECONDS * polling / max(1, watches[1].report.snapshots)
    return {
        "stream_per_hour": stream / hours + proofs,
        "polling_per_hour": polling / hours,
        "listing_per_hour": listing * 3600,
        "listing": listing,
        "boards_agree": same,
    }


async def replay(fills: int, seed: int) -> dict[str, float]:
    """CPU of checkpoints with a fill, which spawns the next target to be filled, and of ones with bookkeeping only."""
    models = {m.model_id: m for m in (_active(full_width_model(number)) for number in range(FULL_MODELS))}
    parameters = replace(PARAMETERS[5], target_embedding_dim=FULL_WIDTH)
    epoch = Epoch(1, 0, parameters, 1.05, 12_685_185)
    rule = SpawnRule.of(Board(epoch, models, {}))
    assert rule is not None
    digests = (blake2b_256(b"%d" % number) for number in itertools.count(seed))
    board = Board(epoch, models, {t.target_id: t for t in (rule.target(next(digests)) for _ in range(BOARD))})
    feed = CheckpointFeed("http://127.0.0.1:1")
    watch = BoardWatch(NetworkReader(None, ""), board, feed)
    fill_seconds = other_seconds = 0.0
    settled = 0
    for number in range(fills * CHECKPOINTS_PER_FILL):
        is_fill = number % CHECKPOINTS_PER_FILL == 0
        target_id = next(iter(watch.board.targets))
        message = _fill(number, target_id, next(digests), rule) if is_fill else _bookkeeping(number)
        started = time.thread_time()
        watch.take(feed._decoded(message).checkpoint)
        taken = time.thread_time() - started
        fill_seconds, other_seconds = fill_seconds + taken * is_fill, other_seconds + taken * (not is_fill)
        if watch.report.computed == fills // 2:
            settled = settled or resident_bytes()
    if watch.report.computed != fills or watch.report.listed != BOARD:
        raise RuntimeError(f"not every target was computed: {watch.told()}")
    return {
        "fill_us": fill_seconds / fills * 1e6,
        "bookkeeping_us": other_seconds / (fills * (CHECKPOINTS_PER_FILL - 1)) * 1e6,
        "grown_bytes": resident_bytes() - settled,
        "checkpoints": fills * CHECKPOINTS_PER_FILL,
    }


def _active(model: Model) -> ActiveModel:
    assert model.commitment is not None
    manifest, key = model.commitment.manifest, model.decryption_key
    return ActiveModel(model.model_id, model.owner, manifest, key, model.embedding, model.stake)


def _fill(number: int, target_id: Id32, digest: Id32, rule: SpawnRule) -> bytes:
    """The wire's bytes of a checkpoint in which `target_id` is filled, in the form and size that the devnet sends."""
    target = rule.target(digest)
    contents = TargetContents(
        target.embedding, target.model_ids, target.distance_threshold, target.reward, target.generation_epoch
    )
    spawned = object_digest(ObjectType.TARGET, target.target_id, contents.encode(), 9, SharedOwner(1), digest)
    message = _checkpoint(number)
    transaction = message.transactions.add(digest=format_digest(digest))
    transaction.effects.status.success = True
    shared, owned = pb.Owner(kind=pb.Owner.SHARED, version=1), pb.Owner(kind=pb.Owner.ADDRESS, address="11" * 32)
    names = ((target_id, shared), (SYSTEM_STATE_ID, shared), (blake2b_256(digest), owned), (target.target_id, shared))
    for object_id, owner in names:
        is_new = object_id == target.target_id
        change = transaction.effects.changed_objects.add(
            object_id=object_id.hex(),
            output_state=pb.ChangedObject.OUT_OBJECT_WRITE,
            output_version=9,
            output_digest=format_digest(spawned if is_new else digest),
            output_owner=owner,
            id_operation=pb.ChangedObject.OP_CREATED if is_new else pb.ChangedObject.OP_NONE,
        )
        if not is_new:
            change.input_version, change.input_digest = 8, format_digest(digest)
            change.input_owner.CopyFrom(owner)
    return pb.SubscribeCheckpointsResponse(cursor=number, checkpoint=message).SerializeToString()


def _bookkeeping(number: int) -> bytes:
    """A checkpoint of a network on which nothing happens: transactions of the consensus."""
    message = _checkpoint(number)
    for place in range(3):
        transaction = message.transactions.add(digest=format_digest(blake2b_256(b"%d %d" % (number, place))))
        transaction.effects.status.success = True
        transaction.effects.changed_objects.add(object_id="22" * 32, id_operation=pb.ChangedObject.OP_NONE)
    return pb.SubscribeCheckpointsResponse(cursor=number, checkpoint=message).SerializeToString()


def _checkpoint(number: int) -> pb.Checkpoint:
    summary = pb.CheckpointSummary(epoch=1, timestamp=timestamp(time.time_ns() // 1_000_000))
    return pb.Checkpoint(sequence_number=number, summary=summary)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def receive(seconds: float) -> float:
    """Microseconds of CPU to receive one message, gRPC included: a devnet's signs of life, 200 a second."""
    async with devnet(heartbeat_seconds=0.005, models=1) as urls:
        count, started = 0, time.process_time()
        ends = time.monotonic() + seconds
        async with aclosing(CheckpointFeed(urls.rpc).checkpoints()) as items:
            async for _ in items:
                count += 1
                if time.monotonic() > ends:
                    break
        return (time.process_time() - started) / count * 1e6


async def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    counted = await count_bytes(arguments) if arguments.seconds else {}
    replayed = await replay(arguments.fills, arguments.seed) if arguments.fills else {}
    if replayed:
        replayed["receive_us"] = received = await receive(5.0)
        a_second = replayed["fill_us"] + (CHECKPOINTS_PER_FILL - 1) * replayed["bookkeeping_us"]
        replayed["core_share"] = (a_second + CHECKPOINTS_PER_FILL * received) / 1e6
    return {"bytes": counted, "checkpoints": replayed}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=30, metavar="S", help="of counting bytes (30)")
    parser.add_argument("--fills", type=int, default=20_000, metavar="N", help="in ten times as many checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments))
    if arguments.json:
        print(json.dumps(result))
        return 0
    for part, values in result.items():
        for name, value in values.items():
            print(f"{part} {name:18} {value:15,.3f}")
    print(f"goals: bytes a {GOAL_BYTES}th of polling, {GOAL_SHARE:.0%} of a core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
