"""Which targets are to be expected: sampled directions, each with the models the network would give it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstart.chain.board import ActiveModel, Board
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import assign_models
from quickstart.matching.coverage import random_directions

SAMPLES = 1024
"""Targets in a sample: coverage is known to 1.6 points at worst (0.5 / sqrt(SAMPLES))."""

SEED = 0


@dataclass(frozen=True)
class Outlook:
    """The rules of the moment, and a sample of the targets that are made by them.

    `sets`: models of a target; `assigned`: for each sampled target an index into `sets`. `models`: `weights_id` and
    size of the file in bytes, by model id. `distance_threshold`: of new targets; `tightest_threshold`: the least the
    network's rules let it become. Not slotted: the directions are made once, when asked for.
    """

    epoch: int
    distance_threshold: float
    tightest_threshold: float
    width: int
    models: Mapping[Id32, tuple[Id32, int]]
    sets: tuple[tuple[Id32, ...], ...]
    assigned: tuple[int, ...]
    seed: int = SEED

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """float32 (samples, width), of length one."""
        return random_directions(self.width, self.seed, len(self.assigned))

    @property
    def targets(self) -> tuple[tuple[Id32, ...], ...]:
        """The models of each sampled target."""
        return tuple(self.sets[number] for number in self.assigned)

    def same_sample(self, other: "Outlook") -> bool:
        """Whether both expect the same targets, at whatever threshold."""
        return (self.width, self.seed, self.sets, self.assigned) == (
            other.width,
            other.seed,
            other.sets,
            other.assigned,
        )

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        places = {model_id: place for place, model_id in enumerate(self.models)}
        return {
            "epoch": self.epoch,
            "distance_threshold": self.distance_threshold,
            "tightest_threshold": self.tightest_threshold,
            "width": self.width,
            "models": [[model_id.hex(), weights.hex(), size] for model_id, (weights, size) in self.models.items()],
            "sets": [[places[model_id] for model_id in models] for models in self.sets],
            "assigned": list(self.assigned),
            "seed": self.seed,
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> "Outlook":
        """The outlook that `document` was made of.

        Raises:
            KeyError, TypeError, ValueError, IndexError: it was not made by `document`.
        """
        models = {bytes.fromhex(m): (bytes.fromhex(w), int(size)) for m, w, size in document["models"]}
        ids = list(models)
        return cls(
            epoch=document["epoch"],
            distance_threshold=document["distance_threshold"],
            tightest_threshold=document["tightest_threshold"],
            width=document["width"],
            models=models,
            sets=tuple(tuple(ids[place] for place in places) for places in document["sets"]),
            assigned=tuple(document["assigned"]),
            seed=document["seed"],
        )


def expect(board: Board, samples: int = SAMPLES, seed: int = SEED) -> Outlook:
    """The outlook of a board: even directions (§2), models assigned by stake and nearness (§11.6)."""
    widths = Counter(len(model.embedding) for model in board.models.values())
    width = widths.most_common(1)[0][0] if widths else board.width
    ids = sorted(model_id for model_id, model in board.models.items() if len(model.embedding) == width)
    assigned: list[tuple[Id32, ...]] = []
    if ids:
        stakes = [board.models[model_id].stake for model_id in ids]
        embeddings = np.stack([board.models[model_id].embedding for model_id in ids])
        count = board.epoch.parameters.target_models_per_target
        directions = random_directions(width, seed, samples)
        assigned = [assign_models(direction, ids, stakes, embeddings, count) for direction in directions]
    # The models of a target compete in any order: one set, however they were ranked.
    sets = {models: place for place, models in enumerate(sorted({tuple(sorted(models)) for models in assigned}))}
    return Outlook(
        epoch=board.epoch.number,
        distance_threshold=board.epoch.distance_threshold,
        tightest_threshold=min(board.epoch.distance_threshold, board.epoch.parameters.target_min_distance_threshold),
        width=width,
        models={model_id: _weights(board.models[model_id]) for model_id in ids},
        sets=tuple(sets),
        assigned=tuple(sets[tuple(sorted(models))] for models in assigned),
        seed=seed,
    )


def _weights(model: ActiveModel) -> tuple[Id32, int]:
    return model.weights_id, model.manifest.size
