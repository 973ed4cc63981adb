"""The torch engine on the CPU: the same answers in float32, and an honest error in bfloat16."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from quickstart.scoring.engines import create_engine  # noqa: E402
from quickstart.scoring.numpy_engine import run_reference  # noqa: E402
from quickstart.scoring.torch_engine import TorchEngine, TorchModel  # noqa: E402

pytestmark = pytest.mark.torch

FILES = ("win_text_0.bin", "win_code_0.bin", "text_1025.bin", "text_100.bin", "text_1.bin")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Many threads on few cores wait for each other longer than these small products take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def narrow() -> TorchEngine:
    return TorchEngine("cpu", torch.bfloat16)


@pytest.fixture(scope="module")
def plain() -> TorchEngine:
    return TorchEngine("cpu", batch_sequences=2)


@pytest.mark.parametrize(("name", "data"), [("python64", FILES), ("synth256_1", FILES[1:3])])
def test_float32_is_the_reference(
    name: str, data: tuple[str, ...], load_model: Any, load_data: Any, reference: Any
) -> None:
    model = TorchModel(load_model(name), torch.device("cpu"), torch.float32)
    scores = model.score([load_data(file) for file in data], batch_sequences=2)
    exact = [reference(name, file, 0) for file in data]
    np.testing.assert_allclose(scores.losses, [e.loss for e in exact], rtol=0, atol=1e-5)
    np.testing.assert_allclose(scores.embeddings, [e.embedding for e in exact], rtol=0, atol=2e-5)


def test_bfloat16_is_within_its_certified_error(narrow: TorchEngine, python_model: Any, windows: list[bytes]) -> None:
    shard, exact = narrow.score(python_model, windows), run_reference(python_model, windows)
    assert shard.engine_id == narrow.id == "torch-cpu-bfloat16"
    assert np.abs(shard.losses - exact.losses).max() < shard.error.loss < 0.1
    unit = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in (shard.embeddings, exact.embeddings)]
    assert np.linalg.norm(unit[0] - unit[1], axis=1).max() < shard.error.distance < 0.1


def test_exact_is_float32_whatever_the_engine_is(
    narrow: TorchEngine, plain: TorchEngine, python_model: Any, windows: list[bytes]
) -> None:
    exact, shard = narrow.score(python_model, windows, exact=True), plain.score(python_model, windows)
    assert exact.engine_id == shard.engine_id == "torch-cpu-float32"
    np.testing.assert_allclose(exact.losses, shard.losses, rtol=0, atol=2e-6)
    assert exact.error.loss < 1e-4


def test_failures_are_those_of_every_engine(plain: TorchEngine, python_model: Any, windows: list[bytes]) -> None:
    shard = plain.score(python_model, [b"", *windows, bytes(16_385)])
    assert [failure.index for failure in shard.failures] == [0, 4]


def test_the_precision_of_products_is_put_back(plain: TorchEngine, python_model: Any, windows: list[bytes]) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        plain.score(python_model, windows[:1])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="float16"):
        TorchEngine("cpu", torch.float16)


def test_torch_by_name() -> None:
    assert create_engine("torch").id.startswith("torch-")
