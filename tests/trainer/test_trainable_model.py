"""The model that is trained is the network's: names, numbers, loss, and gradients."""

from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: install the extra `scorer`")

from arrgen import normal_array  # noqa: E402
from soma_models.v1.configs import ModelConfig  # noqa: E402
from soma_models.v1.torch import Model as NetworkModel  # noqa: E402

from quickstart.scoring.contract import PAD, sigreg_step, sigreg_window  # noqa: E402
from quickstart.scoring.engine import Architecture, Weights  # noqa: E402
from quickstart.scoring.reference import evaluate, represent  # noqa: E402
from quickstart.scoring.tokens import tokenize  # noqa: E402
from quickstart.scoring.weights import expected_shapes, parse_weights  # noqa: E402
from quickstart.trainer.loss import _Deviation, network_loss, noise_projection, sigreg  # noqa: E402
from quickstart.trainer.model import TrainableModel  # noqa: E402

pytestmark = pytest.mark.torch

SMALL = Architecture(width=16, layers=2, feed_forward=32, heads=4)
CPU = torch.device("cpu")
TEXT = (b"def area(width: float, height: float) -> float:\n    return width * height\n\n\n" * 14)[:1024]


@pytest.fixture(scope="module")
def trained() -> Weights:
    return parse_weights((files("quickstart.devnet") / "weights" / "python64.safetensors").read_bytes())


def as_tensors(data: bytes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = tokenize(data)
    return torch.from_numpy(tokens.ids), torch.from_numpy(tokens.positions), torch.from_numpy(tokens.targets)


def test_an_export_is_a_file_the_network_takes() -> None:
    exported = TrainableModel(SMALL, seed=3).export()
    weights = parse_weights(exported)
    assert weights.architecture == SMALL
    assert {name: tensor.shape for name, tensor in weights.tensors.items()} == expected_shapes(SMALL)
    assert TrainableModel.of(weights).export() == exported


def test_what_is_exported_is_what_was_taken_in(trained: Weights) -> None:
    again = parse_weights(TrainableModel.of(trained).export())
    assert again.tensors.keys() == trained.tensors.keys()
    for name, tensor in trained.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


@pytest.mark.parametrize("data", [TEXT, TEXT[:300], TEXT + TEXT[:40]], ids=["window", "short", "two sequences"])
def test_loss_and_representation_are_the_reference(trained: Weights, data: bytes) -> None:
    model, (ids, positions, targets) = TrainableModel.of(trained), as_tensors(data)
    with torch.no_grad():
        losses = network_loss(model, ids, positions, targets, noise_projection(64, 5, CPU))
        representation = model.represent(ids, positions)
    exact = evaluate(trained, data, seed=5)
    assert float(losses.mean()) == pytest.approx(exact.loss, abs=1e-5)
    expected = represent(trained, ids[0].numpy(), positions[0].numpy())
    np.testing.assert_allclose(representation[0].numpy(), expected, rtol=0, atol=1e-4)


def test_the_network_s_own_package_reads_the_export_and_agrees(trained: Weights) -> None:
    """soma-models' torch model: logits and final-norm output. Its loss is another one (§13)."""
    shape = trained.architecture
    config = ModelConfig(0.0, shape.width, shape.feed_forward, shape.layers, shape.heads)
    model = TrainableModel.of(trained)
    theirs = NetworkModel.load_bytes(model.export(), config)
    ids, positions, _ = as_tensors(TEXT)
    with torch.no_grad():
        ours = model.represent(ids, positions)
        expected = theirs.encode(ids, positions)
        np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(model.logits(ours).numpy(), theirs.predict(expected).numpy(), rtol=0, atol=1e-4)


def test_the_gradient_of_sigreg_is_autograd_s() -> None:
    generator = torch.Generator().manual_seed(1)
    angles = torch.randn(2, 3, 256, dtype=torch.float64, generator=generator, requires_grad=True)

    def plain(x: torch.Tensor) -> torch.Tensor:
        characteristic, window = (torch.from_numpy(a) for a in sigreg_window())
        total = torch.zeros(x.shape[:2], dtype=x.dtype)
        for k in range(17):
            cosine, sine = (k * x).cos().mean(-1), (k * x).sin().mean(-1)
            total = total + window[k] * ((cosine - characteristic[k]) ** 2 + sine**2)
        return total

    (expected,) = torch.autograd.grad(plain(angles).sum(), angles)
    (found,) = torch.autograd.grad(_Deviation.apply(angles).sum(), angles)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert float(sigreg_step()) == 3 / 16


def test_sigreg_is_lower_for_a_normal_sample() -> None:
    normal = torch.from_numpy(normal_array(1, [1, 1024, 64], 0.0, 1.0).astype(np.float32))
    projection = noise_projection(64, 0, CPU)
    assert float(sigreg(normal, projection)) < 0.2 * float(sigreg(3 * normal, projection))


def test_the_last_position_of_a_window_counts_in_the_divisor_only(trained: Weights) -> None:
    ids, positions, targets = as_tensors(TEXT)
    assert targets[0, -1] == PAD
    model = TrainableModel.of(trained)
    with torch.no_grad():
        logits = model.logits(model.represent(ids, positions))
        expected = torch.nn.functional.cross_entropy(logits[0, :-1], targets[0, :-1], reduction="sum") / 1024
        full = network_loss(model, ids, positions, targets, noise_projection(64, 0, CPU))
        regulariser = 0.02 * sigreg(model.represent(ids, positions), noise_projection(64, 0, CPU))
    assert float(full - regulariser) == pytest.approx(float(expected), abs=1e-5)


def test_checkpointing_changes_memory_not_numbers(trained: Weights) -> None:
    ids, positions, targets = as_tensors(TEXT)
    gradients = []
    for checkpointing in (False, True):
        model = TrainableModel.of(trained, checkpointing=checkpointing).train()
        network_loss(model, ids, positions, targets, noise_projection(64, 0, CPU)).sum().backward()
        gradients.append(model.encoder.layers[0].attention.query.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-7)
    assert float(gradients[0].abs().max()) > 0
