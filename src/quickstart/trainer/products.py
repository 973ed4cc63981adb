"""The folder that training leaves and publishing takes: weights, embedding, evaluation, plots."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstart.charts import bar_chart, line_chart
from quickstart.errors import StateError, UsageError
from quickstart.trainer.evaluation import Expectation, Floats, KindResult
from quickstart.trainer.metrics import read_metrics

WEIGHTS, EMBEDDING, EVALUATION = "model.safetensors", "embedding.npy", "evaluation.json"


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """What is published: a safetensors file, and the embedding to reveal, float32 (width,)."""

    weights: Path
    embedding: Floats


def read_product(folder: Path) -> Product:
    """What an earlier training left in `folder`.

    Raises:
        UsageError: it left nothing there.
    """
    try:
        with (folder / WEIGHTS).open("rb"):
            embedding = np.load(folder / EMBEDDING, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} holds no trained model ({error}): run `uv run train --out {folder}`") from error
    return Product(folder / WEIGHTS, np.asarray(embedding, np.float32))


def write_weights(folder: Path, plain: bytes) -> Path:
    """Puts a model's file into `folder`, durable, under a name that `write_product` replaces; its path.

    Raises:
        StateError: the folder cannot be written.
    """
    draft = folder / f".{WEIGHTS}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(plain)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(folder, error) from error
    return draft


def write_product(
    folder: Path,
    weights: Path,
    embedding: Floats,
    kinds: Sequence[KindResult],
    outlook: Mapping[str, Expectation],
    losses: Mapping[str, float | None],
) -> tuple[Product, dict[str, Any]]:
    """Writes everything, and renames `weights` (of `write_weights`) last; the evaluation as a document.

    Raises:
        StateError: the folder cannot be written.
    """
    document = {
        **losses,
        "kinds": [asdict(kind) | {"share": kind.share} for kind in kinds],
        "outlook": {name: asdict(one) for name, one in outlook.items()},
    }
    curve = [(float(record["step"]), float(record["loss"])) for record in read_metrics(folder / "metrics.jsonl")]
    chart = {kind.kind: _bars(kind) for kind in kinds[:8]}
    try:
        with (folder / f".{EMBEDDING}").open("wb") as file:
            np.save(file, embedding)
        (folder / f".{EMBEDDING}").replace(folder / EMBEDDING)
        for name, content in (
            (EVALUATION, json.dumps(document, indent=2).encode()),
            ("loss.svg", line_chart("Loss", "step", "nats per byte", {"training": curve}).encode()),
            ("kinds.svg", bar_chart("Loss on held-out windows", "nats per byte", chart).encode()),
        ):
            draft = folder / f".{name}"
            draft.write_bytes(content)
            draft.replace(folder / name)
        weights.replace(folder / WEIGHTS)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return Product(folder / WEIGHTS, embedding), document


def _unwritable(folder: Path, error: OSError) -> StateError:
    return StateError(f"{folder} cannot be written ({error.strerror}): free disk space, or name another --out")


def _bars(kind: KindResult) -> dict[str, float]:
    own = {"ours": kind.loss}
    return own if kind.best_rival is None else own | {"best rival": kind.best_rival}
