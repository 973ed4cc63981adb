"""Scoring in processes of this machine, one core each."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import TracebackType

from quickstart.child_environment import secrets_hidden
from quickstart.errors import QuickstartError, StateError, WeightsError
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed, ScoreRequest

log = logging.getLogger(__name__)

MODELS_IN_MEMORY = 8
"""Decrypted models a worker keeps; small ones only run here, so memory is no concern."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker process needs to know once. Folders are those of the bank and of the weights cache.

    `private_hosts`: whether models may lie on this machine or in a private network, as on a devnet.
    """

    bank: Path
    weights: Path
    weights_cache_bytes: int
    engine: str
    private_hosts: bool = False


class LocalExecutor:
    """`workers` processes that share the bank's folder with us."""

    def __init__(self, settings: WorkerSettings, workers: int) -> None:
        self._settings = settings
        self._workers = workers
        self._running: dict[Future[ScoreAnswer], tuple[ScoreRequest, ProcessPoolExecutor]] = {}
        self._pool: ProcessPoolExecutor | None = None

    @property
    def capacity(self) -> int:
        return self._workers

    def __enter__(self) -> "LocalExecutor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # a shard takes seconds and is safe to repeat: do not wait for it
            process.terminate()
        for process in processes:
            process.join(timeout=2.0)
        self._pool = None

    def spawn(self, request: ScoreRequest) -> None:
        with secrets_hidden(), _deaf_children():
            if self._pool is None:
                self._pool = self._new_pool()
            try:
                future = self._pool.submit(_score, request)
            except BrokenProcessPool:  # a worker died, and nobody has polled since
                self._pool = self._new_pool()
                future = self._pool.submit(_score, request)
        self._running[future] = request, self._pool

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._settings,),
        )

    def poll(self) -> tuple[ScoreAnswer, ...]:
        done = [future for future in self._running if future.done()]
        answers: list[ScoreAnswer] = []
        for future in done:
            request, pool = self._running.pop(future)
            try:
                answers.append(future.result())
            except BrokenProcessPool:
                log.warning("a scoring process died; its shard will be scored again")
                answers.append(ScoreFailed(request, "the scoring process died", model_at_fault=False))
                if self._pool is pool:  # and not one that has replaced it already
                    self._pool = None
        return tuple(answers)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started meanwhile never see the terminal's Ctrl-C, not even while they still import; their parent
    decides what it means.
    """
    resource_tracker.ensure_running()  # its start lets Ctrl-C through again, so it comes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """What one worker process keeps between requests."""

    def __init__(self, settings: WorkerSettings) -> None:
        from quickstart.bank import Bank
        from quickstart.scoring.download import Downloader
        from quickstart.scoring.engines import create_engine
        from quickstart.scoring.weights_store import WeightsStore

        self.bank = Bank(settings.bank)
        downloader = Downloader(private_hosts=settings.private_hosts)
        self.store = WeightsStore(settings.weights, settings.weights_cache_bytes, downloader)
        self.engine = create_engine(settings.engine)
        self.models: dict[bytes, object] = {}

    def score(self, request: ScoreRequest) -> ScoreAnswer:
        from quickstart.scoring.engine import Weights

        started = time.perf_counter()
        weights = self.models.get(request.weights_id)
        if not isinstance(weights, Weights):
            weights = self.store.fetch(request.manifest, request.decryption_key)
            while len(self.models) >= MODELS_IN_MEMORY:
                self.models.pop(next(iter(self.models)))
            self.models[request.weights_id] = weights
        self.bank.refresh()
        windows = [window.data for window in self.bank.windows(request.shard)]
        rows = range(len(windows)) if request.rows is None else request.rows
        scored = self.engine.score(weights, [windows[row] for row in rows], request.exact)
        self.bank.add_scores(request.shard, scored, created_at=time.time_ns(), rows=request.rows)
        return ScoreDone(request, weights.checksum, len(rows), len(scored.failures), time.perf_counter() - started)


_worker: _Worker | None = None


def _start_worker(settings: WorkerSettings) -> None:
    """Makes a process a scorer: one thread, low priority, gone when its parent is."""
    from threadpoolctl import threadpool_limits

    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(5)
    _worker = _Worker(settings)
    threadpool_limits(1)  # of every library that is loaded by now


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(0)


def _score(request: ScoreRequest) -> ScoreAnswer:
    if _worker is None:
        raise RuntimeError("the process was not started as a scorer")
    try:
        return _worker.score(request)
    except StateError:
        raise  # our own disk: no other model or try would fare better, so it ends the run
    except WeightsError as error:
        return ScoreFailed(request, str(error), model_at_fault=True)
    except QuickstartError as error:
        return ScoreFailed(request, str(error), model_at_fault=False)
