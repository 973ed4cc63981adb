"""Scoring in processes of this machine, one core each."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from quickstart.errors import QuickstartError, WeightsError
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed, ScoreRequest

log = logging.getLogger(__name__)

MODELS_IN_MEMORY = 8
"""Decrypted models a worker keeps; small ones only run here, so memory is no concern."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker process needs to know once. Folders are those of the bank and of the weights cache."""

    bank: Path
    weights: Path
    weights_cache_bytes: int
    engine: str


class LocalExecutor:
    """`workers` processes that share the bank's folder with us."""

    def __init__(self, settings: WorkerSettings, workers: int) -> None:
        self._settings = settings
        self._workers = workers
        self._running: dict[Future[ScoreAnswer], ScoreRequest] = {}
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
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._settings,),
            )
        self._running[self._pool.submit(_score, request)] = request

    def poll(self) -> tuple[ScoreAnswer, ...]:
        done = [future for future in self._running if future.done()]
        answers: list[ScoreAnswer] = []
        for future in done:
            request = self._running.pop(future)
            try:
                answers.append(future.result())
            except BrokenProcessPool:
                log.warning("a scoring process died; its shard will be scored again")
                answers.append(ScoreFailed(request, "the scoring process died", model_at_fault=False))
                self._pool = None
        return tuple(answers)


class _Worker:
    """What one worker process keeps between requests."""

    def __init__(self, settings: WorkerSettings) -> None:
        from quickstart.bank import Bank
        from quickstart.scoring.engines import create_engine
        from quickstart.scoring.weights_store import WeightsStore

        self.bank = Bank(settings.bank)
        self.store = WeightsStore(settings.weights, settings.weights_cache_bytes)
        self.engine = create_engine(settings.engine)
        self.models: dict[bytes, object] = {}

    def score(self, request: ScoreRequest) -> ScoreAnswer:
        from quickstart.scoring.engine import Weights

        started = time.perf_counter()
        weights = self.models.get(request.manifest.checksum)
        if not isinstance(weights, Weights):
            weights = self.store.fetch(request.manifest, request.decryption_key)
            while len(self.models) >= MODELS_IN_MEMORY:
                self.models.pop(next(iter(self.models)))
            self.models[request.manifest.checksum] = weights
        self.bank.refresh()
        windows = [window.data for window in self.bank.windows(request.shard)]
        rows = range(len(windows)) if request.rows is None else request.rows
        scored = self.engine.score(weights, [windows[row] for row in rows], request.exact)
        self.bank.add_scores(request.shard, scored, created_at=time.time_ns(), rows=request.rows)
        return ScoreDone(request, weights.checksum, len(rows), len(scored.failures), time.perf_counter() - started)


_worker: _Worker | None = None


def _start_worker(settings: WorkerSettings) -> None:
    """Makes a process a scorer: one thread, gone when its parent is, deaf to the terminal's Ctrl-C."""
    from threadpoolctl import threadpool_limits

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    os.nice(5)
    _worker = _Worker(settings)


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
    except WeightsError as error:
        return ScoreFailed(request, str(error), model_at_fault=True)
    except QuickstartError as error:
        return ScoreFailed(request, str(error), model_at_fault=False)
