"""Boards of a few models, and an executor that answers what the test tells it."""

from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

from quickstart.chain.board import ActiveModel, Board, Epoch, OpenTarget
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import PARAMETERS
from quickstart.chain.transactions import Manifest
from quickstart.executors.base import ScoreAnswer, ScoreFailed, ScoreRequest


def target(name: str, models: tuple[Id32, ...], embedding: np.ndarray | None = None) -> OpenTarget:
    """A target that any direction fills: only the models decide."""
    vector = np.ones(64, np.float32) if embedding is None else embedding
    return OpenTarget(name.encode().ljust(32, b"."), vector, models, 2.0, 1, 1)


@dataclass
class ToldWhatToAnswer:
    """Works on nothing; answers as the test says."""

    capacity: int = 2
    asked: list[ScoreRequest] = field(default_factory=list)
    answers: list[ScoreAnswer] = field(default_factory=list)

    def spawn(self, request: ScoreRequest) -> None:
        self.asked.append(request)

    def poll(self) -> tuple[ScoreAnswer, ...]:
        answers, self.answers = tuple(self.answers), []
        return answers

    def fail(self, request: ScoreRequest, *, model_at_fault: bool, put_off: bool = False) -> None:
        self.answers.append(ScoreFailed(request, "a reason", model_at_fault, put_off))

    def __enter__(self) -> "ToldWhatToAnswer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def model(number: int, url: str = "https://h/w") -> ActiveModel:
    manifest = Manifest(f"{url}{number}", bytes([number]) * 32, 9)
    return ActiveModel(bytes([number]) * 32, b"o" * 32, manifest, b"k" * 32, np.ones(64, np.float32), 1)


def board_of(*models: ActiveModel, targets: tuple[OpenTarget, ...] = ()) -> Board:
    epoch = Epoch(1, 0, PARAMETERS[5], 1.05, 1)
    return Board(epoch, {one.model_id: one for one in models}, {one.target_id: one for one in targets})
