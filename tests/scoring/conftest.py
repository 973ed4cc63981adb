"""Recorded answers, the models they are about, and results that are computed once per test process."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from arrgen import normal_array
from numpy.typing import NDArray
from safetensors.numpy import save

from quickstart.scoring.contract import distance
from quickstart.scoring.engine import Architecture, Weights
from quickstart.scoring.float32_model import Float32Model
from quickstart.scoring.reference import Evaluation, evaluate
from quickstart.scoring.weights import expected_shapes, parse_weights

GOLDEN = Path(__file__).parent.parent / "golden"


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded answer: the winner among `models` for `data`, with its loss, distance and embedding."""

    data: str
    models: tuple[str, ...]
    seed: int
    target_seed: int
    winner: int
    loss: float
    distance: float
    embedding: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.data.removesuffix('.bin')}-{'+'.join(self.models)}-seed{self.seed}"

    def target(self) -> NDArray[np.float32]:
        target: NDArray[np.float32] = normal_array(self.target_seed, [len(self.embedding)], 0.0, 1.0)
        return target


def golden_cases(name: str) -> list[Case]:
    recorded = json.loads((GOLDEN / name).read_text())["cases"]
    return [Case(**(case | {key: tuple(case[key]) for key in ("models", "embedding")})) for case in recorded]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `trained_case` or `synthetic_case` runs once for each recorded answer of that file."""
    for name in ("trained", "synthetic"):
        if f"{name}_case" in metafunc.fixturenames:
            metafunc.parametrize(f"{name}_case", golden_cases(f"{name}.json"), ids=str)


def trained_bytes(name: str) -> bytes:
    return (files("quickstart.devnet") / "weights" / f"{name}.safetensors").read_bytes()


def formula_tensors(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """The weights the synthetic answers were recorded with: numbers of a known generator, tensor by tensor."""
    names = sorted(expected_shapes(architecture))
    return {name: formula_tensor(architecture, seed, i) for i, name in enumerate(names)}


def formula_tensor(architecture: Architecture, seed: int, number: int) -> NDArray[np.float32]:
    name, shape = sorted(expected_shapes(architecture).items())[number]
    mean, deviation = 0.0, shape[0] ** -0.5
    if name == "embedding.weight":
        deviation = 1.0
    elif name.endswith("gamma"):
        mean, deviation = 1.0, 0.1
    elif name.endswith("beta"):
        deviation = 0.1
    elif name.endswith("bias"):
        deviation = 0.02
    tensor: NDArray[np.float32] = normal_array(1000 * seed + number, list(shape), mean, deviation).astype(np.float32)
    return tensor


def write_formula_file(path: Path, architecture: Architecture, seed: int) -> None:
    """The same as a safetensors file, without ever holding more than one tensor; with seed 0 all numbers are zero."""
    shapes = sorted(expected_shapes(architecture).items())
    ends = np.cumsum([0, *(4 * math.prod(shape) for _, shape in shapes)]).tolist()
    header = json.dumps(
        {
            name: {"dtype": "F32", "shape": shape, "data_offsets": ends[i : i + 2]}
            for i, (name, shape) in enumerate(shapes)
        }
    ).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for i in range(len(shapes)):
            file.write(formula_tensor(architecture, seed, i).tobytes() if seed else bytes(ends[i + 1] - ends[i]))


@cache
def model(name: str) -> Weights:
    """`python64` and its like are trained files; `synth256_2` is made by the formula with seed 2."""
    if name.startswith("synth256_"):
        tensors = formula_tensors(Architecture(256, 4, 1024, 4), int(name.removeprefix("synth256_")))
        return parse_weights(save(tensors))
    return parse_weights(trained_bytes(name))


def golden_data(name: str) -> bytes:
    return (GOLDEN / "data" / name).read_bytes()


@cache
def reference_of(name: str, data: str, seed: int) -> Evaluation:
    return evaluate(model(name), golden_data(data), seed)


@cache
def engine_of(name: str, data: str, seed: int) -> Evaluation:
    scores = Float32Model(model(name), seed).score([golden_data(data)])
    return Evaluation(float(scores.losses[0]), scores.embeddings[0].astype(np.float64))


Evaluate: TypeAlias = Callable[[str, str, int], Evaluation]
"""(model, data file, seed) -> evaluation, each computed once."""


@pytest.fixture(scope="session")
def load_model() -> Callable[[str], Weights]:
    return model


@pytest.fixture(scope="session")
def load_data() -> Callable[[str], bytes]:
    return golden_data


@pytest.fixture(scope="session")
def reference() -> Evaluate:
    return reference_of


@pytest.fixture(scope="session")
def numpy_engine() -> Evaluate:
    return engine_of


@pytest.fixture(scope="session")
def meets_the_answer() -> Callable[..., None]:
    """Asserts that an engine gives the recorded winner, and its loss, distance and embedding to `tolerance`."""

    def check(case: Case, scores: Evaluate, tolerance: float = 1e-4) -> None:
        results = [scores(name, case.data, case.seed) for name in case.models]
        winner = int(np.argmin([result.loss for result in results]))
        assert winner == case.winner
        assert results[winner].loss == pytest.approx(case.loss, abs=tolerance)
        assert distance(results[winner].embedding, case.target()) == pytest.approx(case.distance, abs=tolerance)
        np.testing.assert_allclose(results[winner].embedding, case.embedding, rtol=0, atol=tolerance)

    return check


@pytest.fixture(scope="session")
def is_close_to_reference() -> Callable[[Case, Evaluate], None]:
    """Asserts that an engine is within 1e-5 of the reference in loss and embedding components."""

    def check(case: Case, scores: Evaluate) -> None:
        for name in case.models:
            actual, exact = scores(name, case.data, case.seed), reference_of(name, case.data, case.seed)
            assert abs(actual.loss - exact.loss) < 1e-5
            assert np.abs(actual.embedding - exact.embedding).max() < 1e-5

    return check


@pytest.fixture(scope="session")
def write_formula() -> Callable[[Path, Architecture, int], None]:
    return write_formula_file


@pytest.fixture(scope="session")
def full_size_cases() -> list[Case]:
    return golden_cases("full_size.json")


@pytest.fixture
def windows() -> list[bytes]:
    return [golden_data(f"win_{kind}_0.bin") for kind in ("text", "code", "json")]


@pytest.fixture
def tiny_tensors() -> dict[str, NDArray[np.float32]]:
    """A well-formed model of width 16 with one layer, in 20 KB."""
    return formula_tensors(Architecture(16, 1, 32, 4), seed=5)


@pytest.fixture
def python_model() -> Weights:
    return model("python64")


@pytest.fixture
def python_file() -> bytes:
    return trained_bytes("python64")
