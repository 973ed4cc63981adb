"""The board by checkpoints and the board by snapshots are the same board, after every checkpoint of a busy history."""

import pytest
from feed_histories import checkpoint, content, history
from live_devnet import LiveDevnet, running

from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader, connect
from quickstart.submission.board_watch import BoardWatch


async def reader_of(live: LiveDevnet) -> NetworkReader:
    return NetworkReader(await connect(live.endpoints), live.endpoints.rpc)


async def watch_of(reader: NetworkReader) -> BoardWatch:
    return BoardWatch(reader, await reader.board())


async def follow(live: LiveDevnet, watch: BoardWatch, seen: int) -> int:
    """Tells the watch of every checkpoint it has not had; it reads the board where it says that it must."""
    for number in range(seen + 1, len(live.node.checkpoints.log) + 1):
        watch.take(checkpoint(live, number))
        if watch.distrusted:
            await watch.refresh()
    return len(live.node.checkpoints.log)


@pytest.mark.parametrize("seed", [1, 2])
def test_both_ways_to_the_board_agree_after_every_checkpoint(seed: int) -> None:
    with running(targets=20, seed=seed) as live:
        reader = live.run(reader_of(live))
        watch = live.run(watch_of(reader))
        seen, epochs, models = len(live.node.checkpoints.log), set(), set()
        for _ in history(live, seed, 50):
            seen = live.run(follow(live, watch, seen))
            listed: Board = live.run(reader.board())
            assert content(watch.board) == content(listed)
            epochs.add(listed.epoch.number)
            models.add(len(listed.models))
        assert len(epochs) >= 3
        assert models == {4, 5}
        assert watch.told()["mismatch"] is None
        # Only what an epoch begins with was ever read; every other target was computed.
        assert watch.report.listed == 20 * len(epochs)
        assert watch.report.computed > 20
        assert watch.report.snapshots < seen / 3
