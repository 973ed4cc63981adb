"""Scoring on Modal: weights first, on a CPU; then shards, on as many GPUs as wanted, each call in flight on record.

A thread does all the talking. Calls outlive this process: their ids are in the store, and a restarted submitter takes
them up again, so that nothing is scored twice.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from quickstart.chain.ids import Id32
from quickstart.executors.base import ScoreAnswer, ScoreDone, ScoreFailed, ScoreRequest
from quickstart.modal_app.account import Call, described, ending_of
from quickstart.modal_app.attempts import alive_seconds, noted, to_give_up
from quickstart.modal_app.messages import Message, answer_to, failure, name_of, score_message, weights_message
from quickstart.modal_app.names import GPU_CALLS
from quickstart.modal_app.spending import Spending
from quickstart.modal_app.store import Store

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LOOK_SECONDS = 10.0
"""How often, while calls are in flight, it is looked who works on them and what that costs."""

PATIENCE = 120
"""Polls in a row that Modal may fail before the run ends: a minute."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The functions of the app: each starts a call and returns at once. `attach` finds a call again by its id."""

    fetch_weights: Callable[[Message], Call]
    score: Callable[[Message], Call]
    attach: Callable[[str], Call]


@dataclass(slots=True)
class _Fetch:
    """One model's weights on their way, and who waits for them."""

    call: Call
    waiting: list[ScoreRequest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scoring:
    """A scoring call in flight. Its id is kept here: a call that was attached by its id does not tell it."""

    request: ScoreRequest
    call: Call
    call_id: str


class ModalExecutor:
    """`containers` GPUs at most. `take_in` brings new segments into the bank before their answers are handed out.

    `room`: calls that may be in flight at once for the dollars that are left, until `spending` is asked again. Every
    `poll_seconds` calls are started and collected, every `look_seconds` those at work are looked after.
    """

    def __init__(
        self,
        remote: Remote,
        store: Store,
        spending: Spending,
        containers: int,
        room: int,
        take_in: Callable[[], None],
        poll_seconds: float = POLL_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._remote = remote
        self._store = store
        self._spending = spending
        self._containers = containers
        self._take_in = take_in
        self._inbox: queue.SimpleQueue[ScoreRequest] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[ScoreAnswer] = queue.SimpleQueue()
        self._wanted: deque[ScoreRequest] = deque()
        self._weights: dict[Id32, Id32] = {}
        self._fetching: dict[Id32, _Fetch] = {}
        self._running: dict[str, _Scoring] = {}
        self._failure: BaseException | None = None
        self._room = room
        self._poll_seconds = poll_seconds
        self._look_seconds = look_seconds
        self._look_due = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="modal calls", daemon=True)

    @property
    def capacity(self) -> int:
        """Half the calls to keep in flight: so many that no container idles, and that the day's dollars suffice."""
        return min(self._containers, (self._room + 1) // 2)

    def __enter__(self) -> "ModalExecutor":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Calls in flight go on: whoever continues this work takes them up."""
        self._ended.set()
        self._thread.join(timeout=5.0)

    def spawn(self, request: ScoreRequest) -> None:
        self._inbox.put(request)

    def poll(self) -> tuple[ScoreAnswer, ...]:
        """See `Executor.poll`.

        Raises:
            Exception: Modal has failed for longer than a passing trouble does.
        """
        if self._failure is not None:
            raise self._failure
        return tuple(_drain(self._answers))

    def _work(self) -> None:
        failed = 0
        while not self._ended.wait(self._poll_seconds):
            try:
                self._step()
                failed = 0
            except Exception as error:  # noqa: BLE001 - whatever Modal raises: tried again, then told to the run
                failed += 1
                log.warning("Modal: %s: %s", type(error).__name__, error)
                if failed > PATIENCE:
                    self._failure = error
                    return

    def _step(self) -> None:
        """Starts what is wanted, and hands out what has come back. Fails without having lost anything."""
        self._wanted.extend(_drain(self._inbox))
        while self._wanted:
            self._start(self._wanted[0])
            self._wanted.popleft()
        self._collect_weights()
        if self._running and time.monotonic() >= self._look_due:
            self._look_after()
        self._collect_scores()
        self._room = self._spending.shards_left

    def _start(self, request: ScoreRequest) -> None:
        weights_id = request.weights_id
        if weights_id in self._weights:
            self._score(request, self._weights[weights_id])
        elif weights_id in self._fetching:
            self._fetching[weights_id].waiting.append(request)
        else:
            self._fetching[weights_id] = _Fetch(self._remote.fetch_weights(weights_message(request)), [request])

    def _score(self, request: ScoreRequest, weights: Id32) -> None:
        slot = f"{GPU_CALLS}/{name_of(request)}"
        if slot not in self._running:  # else it was begun a moment ago, and could not be written down
            earlier = self._store.get(slot, None)
            if earlier is not None:
                log.info("scoring of shard %s goes on as %s", request.shard, earlier)
                self._running[slot] = _Scoring(request, self._remote.attach(earlier), earlier)
                return
            others = dict.fromkeys(self._weights.get(scoring.request.weights_id) for scoring in self._running.values())
            soon = [other for other in others if other is not None and other != weights]
            call = self._remote.score(score_message(request, weights, soon))
            self._running[slot] = _Scoring(request, call, call.object_id)
        self._store.put(slot, self._running[slot].call_id)

    def _collect_weights(self) -> None:
        for weights_id, fetch in list(self._fetching.items()):
            message = _result(fetch.call)
            if message is None:
                continue
            if "failed" not in message:
                self._weights[weights_id] = bytes.fromhex(message["weights"])
                self._wanted.extend(fetch.waiting)
            else:
                for request in fetch.waiting:
                    self._answers.put(answer_to(request, message))
            del self._fetching[weights_id]

    def _collect_scores(self) -> None:
        done: list[tuple[str, Message]] = []
        for slot, scoring in self._running.items():
            message = _result(scoring.call)
            if message is not None:
                done.append((slot, message))
        if done:
            # Before these calls are forgotten: perhaps one was begun by a container that was lost.
            self._look_after(done={slot for slot, _ in done})
        if any("failed" not in message for _, message in done):
            self._take_in()
        for slot, message in done:
            self._end(slot, message)

    def _end(self, slot: str, message: Message) -> None:
        request = self._running[slot].request
        if "container" in message:
            self._spending.scored(message["container"], message["alive_seconds"], message["seconds"])
        self._store.pop(slot, None)
        del self._running[slot]
        answer = answer_to(request, message)
        if isinstance(answer, ScoreDone) and not answer.windows:
            log.info("shard %s was scored before", request.shard)
        if isinstance(answer, ScoreFailed) and not (answer.model_at_fault or answer.put_off):
            self._weights.pop(request.weights_id, None)  # perhaps they were dropped from the volume: ask again
        self._answers.put(answer)

    def _look_after(self, done: Set[str] = frozenset()) -> None:
        """Counts what the containers at work have cost so far, and ends calls that must not go on; not those of `done`
        slots, which have ended.
        """
        self._look_due = time.monotonic() + self._look_seconds
        now = time.time()
        attempts = noted(self._store, now)
        slots = {scoring.call_id: slot for slot, scoring in self._running.items()}
        self._spending.lived(alive_seconds(attempts, slots.keys(), now))
        in_flight = {call_id for call_id, slot in slots.items() if slot not in done}
        for call_id, given_up in to_give_up(attempts, in_flight, self._spending.capped).items():
            scoring = self._running[slots[call_id]]
            log.warning("scoring of shard %s is given up: %s", scoring.request.shard, given_up.reason)
            scoring.call.cancel(terminate_containers=True)
            self._end(slots[call_id], failure(given_up.reason, model_at_fault=False, put_off=given_up.put_off))


def _result(call: Call) -> Message | None:
    """What a call returned, or why it failed; None while it goes on.

    Raises:
        Exception: Modal could not be asked; it says nothing about the call.
    """
    ending = ending_of(call)
    if ending is None:
        return None
    if ending.error is not None:
        return failure(f"the call on Modal failed ({described(ending.error)})", model_at_fault=False)
    result: Message = ending.value
    return result


def _drain(waiting: "queue.SimpleQueue[Any]") -> list[Any]:
    found = []
    while True:
        try:
            found.append(waiting.get_nowait())
        except queue.Empty:
            return found
