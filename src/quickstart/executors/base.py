"""The interface every place where scoring runs has, and the values that cross it.

The unit of work is (shard of windows x model). Whoever carries it out writes the results to the bank itself and
returns a small answer of builtins, so that a slow wire never carries embeddings.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias

from quickstart.bank.shards import ShardId
from quickstart.chain.board import sealed_weights_id
from quickstart.chain.ids import Id32
from quickstart.chain.transactions import Manifest


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Score a shard, or the windows at positions `rows` of it, with one model; `exact`: as well as the engine can."""

    shard: ShardId
    model_id: Id32
    manifest: Manifest
    decryption_key: bytes
    rows: tuple[int, ...] | None = None
    exact: bool = False

    @property
    def weights_id(self) -> Id32:
        """Names the weights without opening them (`ActiveModel.weights_id`)."""
        return sealed_weights_id(self.manifest, self.decryption_key)


@dataclass(frozen=True, slots=True)
class ScoreDone:
    """The results are in the bank. `seconds` of work; `failures`: windows this model could not score."""

    request: ScoreRequest
    weights_checksum: Id32
    windows: int
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ScoreFailed:
    """Nothing is in the bank. `model_at_fault`: the weights are bad or out of reach, others of that model fail too.

    `put_off`: not tried at all, for want of money; it says nothing about shard or model.
    """

    request: ScoreRequest
    reason: str
    model_at_fault: bool
    put_off: bool = False


ScoreAnswer: TypeAlias = ScoreDone | ScoreFailed


class Executor(Protocol):
    """Runs requests somewhere else; safe to ask for the same request twice."""

    @property
    def capacity(self) -> int:
        """Requests it works on at a time."""
        ...

    def spawn(self, request: ScoreRequest) -> None: ...

    def poll(self) -> tuple[ScoreAnswer, ...]:
        """Answers that have arrived since the last call; never waits."""
        ...

    def __enter__(self) -> "Executor": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
