"""The torch engine on the CPU: the same answers in float32, bfloat16 only where certified, batches that shrink."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from quickstart.chain.ids import format_digest  # noqa: E402
from quickstart.errors import DeviceMemoryError, StateError, WeightsError  # noqa: E402
from quickstart.scoring.certification import calibration_windows  # noqa: E402
from quickstart.scoring.contract import SEQUENCE_TOKENS, VOCABULARY  # noqa: E402
from quickstart.scoring.engines import create_engine  # noqa: E402
from quickstart.scoring.numpy_engine import run_reference  # noqa: E402
from quickstart.scoring.torch_engine import TorchEngine  # noqa: E402
from quickstart.scoring.torch_memory import is_out_of_memory  # noqa: E402

pytestmark = pytest.mark.torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
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


class SmallCard(TorchDispatchMode):
    """Refuses memory as a card does: to any operation whose result has the positions of `sequences` or more."""

    def __init__(self, sequences: int) -> None:
        super().__init__()
        self._positions = sequences * SEQUENCE_TOKENS
        self.refused: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim == 2 and len(result) >= self._positions:
            self.refused.append(len(result) // SEQUENCE_TOKENS)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a test")
        return result


class Tensors(Mapping[str, Any]):
    """A model's tensors on a disk that can be watched: `reads` names what was read, reading waits until it is `ready`
    and ends in the next of `faults`, if there is one.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self.ready = threading.Event()
        self.ready.set()
        self.reads: list[str] = []
        self.faults: list[Exception] = []

    def __getitem__(self, name: str) -> Any:
        assert self.ready.wait(20)
        self.reads.append(name)
        if self.faults:
            raise self.faults.pop()
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def watched(weights: Any) -> Any:
    return replace(weights, tensors=Tensors(weights.tensors))


@pytest.mark.parametrize("device", DEVICES)
def test_float32_is_the_reference(device: str, python_model: Any, load_data: Any, reference: Any) -> None:
    shard = TorchEngine(device, batch_sequences=2).score(python_model, [load_data(file) for file in FILES])
    exact = [reference("python64", file, 0) for file in FILES]
    np.testing.assert_allclose(shard.losses, [e.loss for e in exact], rtol=0, atol=1e-5)
    np.testing.assert_allclose(shard.embeddings, [e.embedding for e in exact], rtol=0, atol=2e-5)
    assert shard.engine_id == f"torch-{device}-float32"
    assert shard.embeddings.dtype == shard.losses.dtype == np.float32


@pytest.mark.parametrize("device", DEVICES)
def test_bfloat16_is_within_its_certified_error(device: str, python_model: Any, windows: list[bytes]) -> None:
    engine = TorchEngine(device, torch.bfloat16)
    shard, exact = engine.score(python_model, windows), run_reference(python_model, windows)
    assert shard.engine_id == engine.id == f"torch-{device}-bfloat16"
    assert 1e-5 < np.abs(shard.losses - exact.losses).max() < shard.error.loss
    targets = np.random.default_rng(1).standard_normal((1000, 64))
    unit = [e / np.linalg.norm(e, axis=1, keepdims=True) for e in (shard.embeddings, exact.embeddings, targets)]
    assert 1e-5 < np.abs((unit[0] - unit[1]) @ unit[2].T).max() < shard.error.distance < 0.005


def test_bfloat16_that_errs_too_much_gives_way_to_float32(
    narrow: TorchEngine, load_model: Any, windows: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    weights = load_model("markup64")
    for _ in range(2):
        shard = narrow.score(weights, windows)
        assert shard.engine_id == "torch-cpu-float32"
        assert shard.error.distance < 1e-3
    assert caplog.text.count(f"weights {format_digest(weights.checksum)}: torch-cpu-bfloat16 takes") == 1


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
    assert plain.score(python_model, []).embeddings.shape == (0, 64)


@pytest.mark.parametrize("tensor", ["embedding.weight", "encoder.layers.1.pwff.linear_outer.bias", "predictor.bias"])
def test_a_model_that_gives_nan_is_named(
    narrow: TorchEngine, python_model: Any, windows: list[bytes], tensor: str
) -> None:
    tensors = dict(python_model.tensors) | {tensor: np.full_like(python_model.tensors[tensor], np.nan)}
    broken = replace(python_model, tensors=tensors, checksum=tensor.encode().ljust(32, b".")[:32])
    with pytest.raises(WeightsError, match=format_digest(broken.checksum)):
        narrow.score(broken, windows)
    assert not narrow.score(python_model, windows).failures


# -- batches


@pytest.fixture(scope="module")
def many(plain: TorchEngine, load_model: Any, load_data: Any) -> tuple[list[bytes], Any]:
    """65 windows, and what `python64` makes of them two at a time."""
    windows = [load_data(f"win_{kind}_{i}.bin") for i in range(6) for kind in ("text", "code", "json")] * 4
    return windows[:65], plain.score(load_model("python64"), windows[:65])


@pytest.mark.parametrize("batch", [2, 8, 64])
def test_out_of_memory_halves_the_batch_and_loses_no_window(
    python_model: Any, many: tuple[list[bytes], Any], batch: int
) -> None:
    engine = TorchEngine(batch_sequences=batch)
    windows, before = many[0][: batch + 1], many[1]
    engine.score(python_model, windows[:1])
    with SmallCard(batch) as card:
        shard = engine.score(python_model, windows)
        assert card.refused == [batch]
        engine.score(python_model, windows[:batch])
        assert card.refused == [batch], "the size that held is remembered"
    assert shard.failures == ()
    np.testing.assert_allclose(shard.losses, before.losses[: batch + 1], rtol=0, atol=2e-6)
    np.testing.assert_allclose(shard.embeddings, before.embeddings[: batch + 1], rtol=0, atol=1e-5)
    assert engine.batch_size(python_model.architecture) == batch // 2


class MarkedWindows(TorchDispatchMode):
    """Refuses memory to every batch that holds a byte 0xFE."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.index.Tensor and len(args[0]) == VOCABULARY and (args[1][0] == 0xFE).any():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a test")
        return func(*args, **(kwargs or {}))


def test_a_window_that_fits_not_even_alone_is_reported(python_model: Any, windows: list[bytes]) -> None:
    engine = TorchEngine(batch_sequences=4)
    spared = engine.score(python_model, windows)
    marked = bytes(1500) + b"\xfe" * 500  # two sequences, of which the second cannot be scored
    with MarkedWindows():
        shard = engine.score(python_model, [windows[0], marked, *windows[1:]])
        with pytest.raises(DeviceMemoryError, match=r"weights .*: out of memory for every window: end what else"):
            engine.score(python_model, [marked])
    assert [(failure.index, failure.reason) for failure in shard.failures] == [(1, "out of memory")]
    assert np.isnan(shard.losses[1])
    np.testing.assert_allclose(shard.losses[[0, 2, 3]], spared.losses, rtol=0, atol=2e-6)
    assert engine.batch_size(python_model.architecture) == 4, "one bad window makes no batch smaller"


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_the_ways_that_a_lack_of_memory_is_told(error: Exception, lack: bool) -> None:
    assert is_out_of_memory(error) is lack


def test_other_errors_are_not_taken_for_a_lack_of_memory(python_model: Any, windows: list[bytes]) -> None:
    class Broken(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine = TorchEngine()
    engine.score(python_model, windows[:1])
    with Broken(), pytest.raises(RuntimeError, match="illegal"):
        engine.score(python_model, windows[:1])


# -- models in turn


def test_a_model_is_read_while_another_one_scores(load_model: Any, windows: list[bytes]) -> None:
    engine = TorchEngine()
    first, second = load_model("python64"), watched(load_model("c64"))
    engine.score(first, windows[:1])
    second.tensors.ready.clear()
    reader = threading.Thread(target=engine.prepare, args=(second,))
    reader.start()
    assert not engine.score(first, windows).failures  # while the other waits for its disk
    assert reader.is_alive()
    second.tensors.ready.set()
    reader.join()
    engine.prepare(second)
    expected = TorchEngine().score(load_model("c64"), windows)
    np.testing.assert_array_equal(engine.score(second, windows).losses, expected.losses)
    weight = "encoder.layers.1.pwff.linear_inner.weight"
    assert second.tensors.reads.count(weight) == 1 + len(calibration_windows()), "the engine once, else the reference"


def test_models_stay_while_there_is_room(load_model: Any, windows: list[bytes]) -> None:
    free = {"bytes": 2**33}
    engine = TorchEngine(free=lambda device: free["bytes"])
    models = [watched(load_model(name)) for name in ("python64", "c64")]
    for model in models * 2:
        engine.score(model, windows[:1])
        if model is models[-1]:
            before = [len(model.tensors.reads) for model in models]
    assert [len(model.tensors.reads) for model in models] == before

    free["bytes"] = 0  # from here on a model takes the place of all others, and none is read ahead
    other = load_model("prose64")
    engine.score(other, windows[:1])
    engine.prepare(models[0])
    engine.score(other, windows[:1])
    assert len(models[0].tensors.reads) == before[0]
    assert not engine.score(models[0], windows[:1]).failures
    assert len(models[0].tensors.reads) == before[0] + len(models[0].tensors)

    engine.score(other, windows[:1])
    models[0].tensors.faults = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a test")]
    with pytest.raises(DeviceMemoryError, match="no room for them on cpu"):
        engine.score(models[0], windows[:1])
    models[0].tensors.faults = [StateError("the file of the weights in use cannot be read")]
    with pytest.raises(StateError, match="cannot be read"):
        engine.score(models[0], windows[:1])
    assert not engine.score(models[0], windows[:1]).failures


# -- settings


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
