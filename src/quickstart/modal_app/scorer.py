"""What a scoring container does: windows and weights from volumes, a score segment onto one. It holds no secret."""

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from quickstart.bank.scores import read_scores, write_scores
from quickstart.bank.segments import list_folders
from quickstart.bank.shards import ShardFiles, read_shard
from quickstart.chain.ids import Id32
from quickstart.errors import QuickstartError, StateError, WeightsError
from quickstart.modal_app.account import described
from quickstart.modal_app.attempts import Attempt
from quickstart.modal_app.messages import Message, failure
from quickstart.scoring.engine import Engine, Weights
from quickstart.scoring.weights_shelf import WeightsShelf

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Volumes:
    """Where the volumes lie, and what brings them up to date; nothing may be open on a volume meanwhile."""

    bank: Path
    weights: Path
    reload_bank: Callable[[], None]
    reload_weights: Callable[[], None]
    commit_bank: Callable[[], None]


class ScoringPlace:
    """Answers score messages, one after the other. `note`: tells what this container is at, before it is."""

    def __init__(self, volumes: Volumes, engine: Engine, container: str, note: Callable[[Attempt], None]) -> None:
        self._volumes = volumes
        self._engine = engine
        self._container = container
        self._read: dict[Id32, Future[Weights]] = {}  # checked; of each only the names and places of its tensors
        self._reader = ThreadPoolExecutor(1, "weights")
        self._shelf = WeightsShelf(volumes.weights, 0)
        self._note = note
        self._started = time.monotonic()
        self._begin("")

    def score(self, message: Message, call_id: str) -> Message:
        """Scores a shard, or some rows of it, with one model; the segment is committed before the answer.

        What is there already is not scored again: Modal runs an input twice when a container was taken away.
        """
        self._begin(call_id)
        started = time.monotonic()
        try:
            answer = self._score(message)
        except WeightsError as error:
            answer = failure(str(error), model_at_fault=True)
        except QuickstartError as error:
            answer = failure(str(error), model_at_fault=False)
        except Exception as error:  # whatever volume or engine raise: an answer tells it, and what the GPU cost
            log.exception("the shard %s was not scored", message["shard"])
            answer = failure(described(error), model_at_fault=False)
        now = time.monotonic()
        return answer | {
            "container": self._container,
            "seconds": now - started,
            "alive_seconds": now - self._started,
        }

    def _begin(self, call_id: str) -> None:
        alive_seconds = time.monotonic() - self._started
        try:
            self._note(Attempt(self._container, call_id, time.time(), alive_seconds))
        except Exception as error:  # noqa: BLE001 - whatever Modal raises: a missing note makes an estimate worse
            log.warning("what this container is at was not noted: %s", described(error))

    def _score(self, message: Message) -> Message:
        checksum = bytes.fromhex(message["weights"])
        shard = self._shard(message["shard"])
        rows = range(len(shard)) if message["rows"] is None else message["rows"]
        if not message["exact"] and self._is_scored(checksum, shard, len(rows)):
            return {"weights": checksum.hex(), "windows": 0, "failures": 0, "engine": self._engine.id}
        weights = self._weights(checksum)
        self._read_ahead(bytes.fromhex(name) for name in message.get("soon", ()))
        windows = [window.data for window in shard.windows()]
        scored = self._engine.score(weights, [windows[row] for row in rows], message["exact"])
        write_scores(self._volumes.bank, shard.id, rows, scored, time.time_ns())
        self._volumes.commit_bank()
        log.info("shard %s: %d windows with %s", shard.id, len(rows), scored.engine_id)
        return {
            "weights": checksum.hex(),
            "windows": len(rows),
            "failures": len(scored.failures),
            "engine": scored.engine_id,
        }

    def _shard(self, name: str) -> ShardFiles:
        shard = read_shard(self._volumes.bank, name)
        if shard is None:
            self._volumes.reload_bank()
            shard = read_shard(self._volumes.bank, name)
        if shard is None:
            raise StateError(f"shard {name} is not on the volume")
        return shard

    def _weights(self, checksum: Id32) -> Weights:
        weights = self._read.get(checksum)
        here = self._shelf.has(checksum)
        if weights is None or weights.exception() or not here:
            if not here:
                wait(self._read.values())
                self._volumes.reload_weights()
            weights = self._read[checksum] = self._reader.submit(self._shelf.load, checksum)
        return weights.result()

    def _read_ahead(self, checksums: Iterable[Id32]) -> None:
        """Brings models that this container will be asked for to its device, while it works on another."""
        for checksum in checksums:
            if checksum not in self._read and self._shelf.has(checksum):
                self._read[checksum] = self._reader.submit(self._load_and_prepare, checksum)

    def _load_and_prepare(self, checksum: Id32) -> Weights:
        weights = self._shelf.load(checksum)
        self._engine.prepare(weights)
        return weights

    def _is_scored(self, checksum: Id32, shard: ShardFiles, rows: int) -> bool:
        """Whether a complete segment of all these windows is there, as far as this container sees the volume."""
        if rows != len(shard):
            return False
        root = self._volumes.bank
        for name in list_folders(root / "scores" / checksum.hex()):
            segment = read_scores(root, checksum, name)
            if segment is not None and segment.shard == shard.id and len(segment.rows) == rows:
                return True
        return False
