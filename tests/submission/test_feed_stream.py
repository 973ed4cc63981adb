"""The board of a running watch: from the stream, and through everything that can go wrong with a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from feed_histories import coin_of, content, fill, latest, send
from live_devnet import LiveDevnet, running

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.feed import CheckpointFeed, Interrupted
from quickstart.chain.transactions import DeactivateModel
from quickstart.devnet.keys import devnet_key
from quickstart.submission.board_watch import BoardWatch

SILENCE_SECONDS = 0.6


@asynccontextmanager
async def watching(live: LiveDevnet, **options: Any) -> AsyncIterator[BoardWatch]:
    """A watch on the stream, which has proven itself."""
    reader = NetworkReader(await connect(live.endpoints), live.endpoints.rpc)
    feed = CheckpointFeed(live.endpoints.rpc, SILENCE_SECONDS)
    watch = BoardWatch(reader, await reader.board(), feed, **options)
    watch.start(lambda: None)
    try:
        await until(lambda: watch.proven)
        yield watch
    finally:
        await watch.close()


async def until(what: Callable[[], object]) -> None:
    while not what():  # noqa: ASYNC110 - it may be true of what nobody announces
        await asyncio.sleep(0.02)


async def agrees(live: LiveDevnet, watch: BoardWatch) -> None:
    """Returns when the board shows exactly what is open on the chain."""
    await until(lambda: watch.board.targets.keys() == set(live.open_targets()))


async def fills(live: LiveDevnet, count: int, pause: float = 0.02) -> None:
    for _ in range(count):
        coin_of(live, devnet_key("a stranger"))
        assert fill(live, "a stranger", live.open_targets()[0])
        await asyncio.sleep(pause)


@pytest.fixture(scope="module")
def lagging() -> object:
    """A devnet whose listings lag behind, as any node's do, and whose stream does not."""
    with running(targets=12, index_lag_seconds=0.3, heartbeat_seconds=0.05) as live:
        yield live


def test_the_stream_alone_keeps_the_board(lagging: LiveDevnet) -> None:
    async def work() -> None:
        async with watching(lagging) as watch:
            read = watch.report.snapshots
            await fills(lagging, 10)
            await agrees(lagging, watch)
            assert watch.report.computed == 10
            assert watch.report.snapshots == read
            sighting = watch.sightings.get(next(reversed(watch.board.targets)))
            assert sighting is not None
            assert sighting.birth_ms is not None
            assert sighting.known_ms - sighting.birth_ms < 2_000
            await lagging.node.advance_epoch()
            await until(lambda: watch.board.epoch.number == lagging.node.state.epoch)
            await agrees(lagging, watch)
            assert watch.ended is not None

    lagging.run(work())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"end_streams": 1}, "ended the stream"),
        ({"stream_silence_seconds": 1.5}, "no checkpoint for"),
        ({"skip_checkpoints": 2}, "came after"),
    ],
)
def test_what_the_stream_leaves_out_is_read(lagging: LiveDevnet, fault: dict[str, float], reason: str) -> None:
    """Targets that appear during a fault are on the board while it lasts, and after it the stream takes over again."""

    async def work() -> None:
        async with watching(lagging) as watch:
            lagging.faults.update(fault)
            await fills(lagging, 4, pause=0.2)
            await agrees(lagging, watch)
            await until(lambda: watch.report.interruptions)
            assert reason in (watch.report.last_interruption or "")
            await until(lambda: watch.proven)
            read = watch.report.snapshots
            await fills(lagging, 2)
            await agrees(lagging, watch)
            assert watch.report.snapshots == read
            assert watch.told()["mismatch"] is None

    lagging.run(work())


def test_a_late_stream_is_found_out_and_opens_nothing_old(lagging: LiveDevnet) -> None:
    """The delay is 30 s in the field and `LATE_MS` 3 s; here a tenth of the one and of the other."""

    async def work() -> None:
        async with watching(lagging, proof_seconds=0.5, late_ms=300) as watch:
            await fills(lagging, 1)  # a fast checkpoint to compare with
            await agrees(lagging, watch)
            lagging.faults.update({"checkpoint_delay_seconds": 3.0})
            await fills(lagging, 4, pause=0.1)
            await agrees(lagging, watch)  # by the proof, long before the checkpoints come
            assert watch.report.late == 0
            computed = watch.report.computed
            await until(lambda: watch.sightings.get(next(reversed(watch.board.targets))).birth_ms is not None)
            assert watch.report.computed == computed
            await agrees(lagging, watch)
            lagging.faults.update({"checkpoint_delay_seconds": 0.0})
            await until(lambda: watch.proven)
            assert watch.told()["mismatch"] is None

    lagging.run(work())


def test_a_node_without_the_stream_is_polled() -> None:
    with running(targets=12) as live:

        async def work() -> None:
            live.faults.update({"no_stream": True})
            reader = NetworkReader(await connect(live.endpoints), live.endpoints.rpc)
            watch = BoardWatch(reader, await reader.board(), CheckpointFeed(live.endpoints.rpc))
            watch.start(lambda: None)
            await fills(live, 3)
            await agrees(live, watch)
            assert (watch.proven, watch.report.computed) == (False, 0)
            await watch.close()

        live.run(work())


def test_a_chain_with_another_rule_is_read_and_no_longer_computed() -> None:
    with running(targets=12, wrong_seed=True, index_lag_seconds=0.1) as live:

        async def work() -> None:
            async with watching(live) as watch:
                await fills(live, 3)
                await agrees(live, watch)
                await until(lambda: watch.told()["mismatch"])
                assert "is not the one that was computed" in watch.told()["mismatch"]
                await fills(live, 3)
                await agrees(live, watch)
                assert watch.report.computed == 0
                assert not watch.proven

        live.run(work())


def test_models_that_change_just_before_a_fill_are_no_mismatch() -> None:
    """The watch hears of fills before it has read the change, as effects of its own fills may come first."""
    with running(targets=30) as live:

        async def work() -> None:
            reader = NetworkReader(await connect(live.endpoints), live.endpoints.rpc)
            watch = BoardWatch(reader, await reader.board())
            model = next(m for m in live.node.state.active_models() if m.owner == devnet_key("owner of c64").address)
            assert send(live, "owner of c64", DeactivateModel(model.model_id))
            while computes(watch):
                coin_of(live, devnet_key("a stranger"))
                state = live.node.state
                fillable = [i for i in live.open_targets() if state.target(i).model_ids[0] != model.model_id]
                assert fill(live, "a stranger", fillable[0])
                watch.take(latest(live))
            while not computes(watch):
                await watch.refresh()
            assert content(watch.board) == content(await reader.board())
            assert len(watch.board.models) == 3
            assert watch.told()["mismatch"] is None

        live.run(work())


def computes(watch: BoardWatch) -> bool:
    digest = b"some digest".ljust(32)
    watch.expect(digest)
    expects = bool(watch.expected)
    watch.forget(digest)
    return expects


def test_numbers_that_jump_are_told(lagging: LiveDevnet) -> None:
    async def work() -> None:
        feed = CheckpointFeed(lagging.endpoints.rpc, SILENCE_SECONDS)
        async with aclosing(feed.checkpoints()) as items:
            first = await anext(items)
            lagging.faults.update({"skip_checkpoints": 1})
            await fills(lagging, 2)
            async for item in items:
                if isinstance(item, Interrupted):
                    break
        assert "came after" in item.reason
        assert not isinstance(first, Interrupted)
        assert feed.bytes_received > 0

    lagging.run(work())
