"""The network's own answers and the torch engine: the small models in float32, those of full size where asked for.

    QUICKSTART_FULL_SIZE=1 pytest tests/scoring/test_golden_torch.py -k full_size

That writes 4.8 GB of weights at a time, and computes in 5 GB of a GPU's memory or the machine's (8 GB for bfloat16).
"""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from quickstart.scoring.contract import distance  # noqa: E402
from quickstart.scoring.engine import Architecture, Weights  # noqa: E402
from quickstart.scoring.reference import Evaluation  # noqa: E402
from quickstart.scoring.tensor_file import FileAt  # noqa: E402
from quickstart.scoring.tokens import tokenize  # noqa: E402
from quickstart.scoring.torch_engine import TorchEngine  # noqa: E402
from quickstart.scoring.torch_model import TorchModel  # noqa: E402
from quickstart.scoring.weights import open_weights  # noqa: E402

pytestmark = pytest.mark.torch

FULL_SIZE = pytest.mark.skipif(
    "QUICKSTART_FULL_SIZE" not in os.environ,
    reason="set QUICKSTART_FULL_SIZE=1: minutes, 5 GB of disk and memory",
)
NETWORK = Architecture(2048, 24, 8192, 8)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def evaluate(model: TorchModel, data: bytes) -> Evaluation:
    tokens = tokenize(data)
    arrays = (torch.from_numpy(array).to(DEVICE) for array in (tokens.ids, tokens.positions, tokens.targets))
    embeddings, losses = model.score(*arrays)
    return Evaluation(float(losses.double().mean()), embeddings.double().mean(dim=0).cpu().numpy())


@pytest.fixture(scope="module")
def torch_engine(load_model: Any, load_data: Any) -> Any:
    """(model, data file, seed) -> evaluation in float32, each computed once."""

    @cache
    def loaded(name: str, seed: int) -> TorchModel:
        return TorchModel.load(load_model(name), DEVICE, torch.float32, seed)

    return cache(lambda name, data, seed: evaluate(loaded(name, seed), load_data(data)))


@pytest.mark.usefixtures("one_thread")
def test_trained_models(trained_case: Any, torch_engine: Any, meets_the_answer: Any) -> None:
    meets_the_answer(trained_case, torch_engine)


@pytest.mark.usefixtures("one_thread")
def test_models_by_formula(synthetic_case: Any, torch_engine: Any, meets_the_answer: Any) -> None:
    meets_the_answer(synthetic_case, torch_engine)


@pytest.fixture
def full_size(tmp_path: Path, write_formula: Any) -> Iterator[Callable[[str], Weights]]:
    """`v1_1`, `v1_2` -> the model, in a file that goes when the next one is asked for."""
    path = tmp_path / "model.safetensors"

    def load(name: str) -> Weights:
        write_formula(path, NETWORK, int(name.removeprefix("v1_")))
        return open_weights(FileAt(path))

    yield load
    path.unlink(missing_ok=True)


@FULL_SIZE
def test_full_size_in_float32(
    full_size: Callable[[str], Weights], full_size_cases: Any, load_data: Any, meets_the_answer: Any
) -> None:
    results = {}
    for name in ("v1_1", "v1_2"):
        model = TorchModel.load(full_size(name), DEVICE, torch.float32)
        for data in sorted({case.data for case in full_size_cases if name in case.models}):
            results[name, data, 0] = evaluate(model, load_data(data))
        del model
    for case in full_size_cases:
        meets_the_answer(case, lambda *key: results[key], tolerance=1e-3)


@FULL_SIZE
def test_full_size_in_bfloat16(full_size: Callable[[str], Weights], full_size_cases: Any, load_data: Any) -> None:
    engine = TorchEngine(DEVICE.type, torch.bfloat16)
    cases = [case for case in full_size_cases if case.models == ("v1_1",)]
    shard = engine.score(full_size("v1_1"), [load_data(case.data) for case in cases])
    assert shard.engine_id == engine.id, "certified"
    for case, loss, embedding in zip(cases, shard.losses, shard.embeddings, strict=True):
        assert abs(loss - case.loss) < shard.error.loss
        assert abs(distance(embedding, case.target()) - case.distance) < shard.error.distance
