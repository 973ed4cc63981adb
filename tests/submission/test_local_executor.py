"""Scoring in processes: what happens when one of them, or their parent, is killed."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scoring_places import bank_with, published_weights, request, workers

from quickstart.bank import Bank
from quickstart.chain.transactions import Manifest
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed
from quickstart.executors.local import LocalExecutor

LONG = 400
"""Windows that keep a worker busy for some seconds."""


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.01)


def answers_of(executor: LocalExecutor, count: int = 1) -> list[ScoreAnswer]:
    answers: list[ScoreAnswer] = []

    def enough() -> bool:
        answers.extend(executor.poll())
        return len(answers) >= count

    until(enough)
    return answers


def pids(executor: LocalExecutor) -> list[int]:
    assert executor._pool is not None
    return list(executor._pool._processes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, tuple[Manifest, bytes]]]:
    """Folder, a shard of many windows, and weights."""
    folder = tmp_path_factory.mktemp("executor")
    _, shard = bank_with(folder, LONG)
    with published_weights(folder) as weights:
        yield folder, shard, weights


def test_scores_reach_the_bank_and_deaths_only_cost_their_shard(
    place: tuple[Path, str, tuple[Manifest, bytes]],
) -> None:
    folder, shard, weights = place
    few, all_of_them = request(shard, weights, rows=(0, 3)), request(shard, weights)
    with workers(folder) as executor:
        executor.spawn(few)
        (done,) = answers_of(executor)
        assert isinstance(done, ScoreDone)
        assert (done.windows, done.failures) == (2, 0)
        view = Bank(folder / "bank").view((done.weights_checksum,))
        assert view.embedding(done.weights_checksum, 3).shape == (64,)

        executor.spawn(all_of_them)
        (worker,) = pids(executor)
        until(lambda: _is_running(executor))
        os.kill(worker, signal.SIGKILL)
        (failed,) = answers_of(executor)
        assert isinstance(failed, ScoreFailed)
        assert (failed.request, failed.model_at_fault) == (all_of_them, False)
        assert "died" in failed.reason
        assert executor.poll() == ()

        executor.spawn(few)
        assert isinstance(answers_of(executor)[0], ScoreDone)

        (worker,) = pids(executor)  # idle now
        broken = executor._pool
        os.kill(worker, signal.SIGKILL)
        until(lambda: bool(broken._broken))  # type: ignore[union-attr]
        executor.spawn(few)
        assert isinstance(answers_of(executor)[0], ScoreDone)


def _is_running(executor: LocalExecutor) -> bool:
    return any(future.running() for future in executor._running)


def test_what_is_under_way_does_not_delay_the_end(place: tuple[Path, str, tuple[Manifest, bytes]]) -> None:
    folder, shard, weights = place
    with workers(folder) as executor:
        executor.spawn(request(shard, weights))
        until(lambda: _is_running(executor))
        children = pids(executor)
        started = time.monotonic()
    assert time.monotonic() - started < 3.0
    until(lambda: all(map(gone, children)), 3.0)


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from quickstart.chain.transactions import Manifest
from scoring_places import request, workers

if __name__ == "__main__":
    executor = workers(Path(sys.argv[1]), 2)
    weights = Manifest(sys.argv[4], bytes.fromhex(sys.argv[5]), int(sys.argv[6])), bytes.fromhex(sys.argv[7])
    for number in range(2):
        executor.spawn(request(sys.argv[3], weights))
    while not all(future.running() for future in executor._running):
        time.sleep(0.01)
    print(*executor._pool._processes, flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Ended; one that nobody has waited for yet counts."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() == "" or state.stdout.startswith("Z")


def test_workers_do_not_outlive_a_killed_parent(place: tuple[Path, str, tuple[Manifest, bytes]]) -> None:
    folder, shard, (manifest, key) = place
    arguments = [str(folder), str(Path(__file__).parent), shard]
    arguments += [manifest.url, manifest.checksum.hex(), str(manifest.size), key.hex()]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        assert select.select([parent.stdout], [], [], 30)[0]
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert not any(map(gone, children))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    until(lambda: all(map(gone, children)), 3.0)
