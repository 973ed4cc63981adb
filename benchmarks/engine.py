"""Speed and error of the engines, in one run: on the CPU, and on a CUDA card if there is one.

    uv run --extra scorer python benchmarks/engine.py [--rounds N] [--json FILE]

Times on the CPU are processor time of one thread, so that other work on the machine counts little; on a card they are
wall time. All engines take their turn in every round; times are medians over rounds, ratios medians of ratios.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch
from arrgen import normal_array
from safetensors.numpy import save, save_file
from soma_models.v1.tokenizer import tokenize as soma_tokenize
from soma_models.v1.torch import Model, ModelConfig, SIGReg, SIGRegConfig, compute_loss
from threadpoolctl import threadpool_limits
from torch.profiler import ProfilerActivity, profile

from quickstart.scoring.certification import calibration_windows, certify
from quickstart.scoring.contract import SEQUENCE_TOKENS, VOCABULARY, distance
from quickstart.scoring.engine import Architecture, Weights
from quickstart.scoring.float32_model import Float32Model
from quickstart.scoring.numpy_engine import run_reference
from quickstart.scoring.tensor_file import FileAt
from quickstart.scoring.torch_engine import TorchEngine
from quickstart.scoring.torch_model import TorchModel
from quickstart.scoring.weights import expected_shapes, open_weights, parse_weights

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
MIDDLE, NETWORK = Architecture(256, 4, 1024, 4), Architecture(2048, 24, 8192, 8)
L4_DOLLARS_PER_HOUR, L4_PEAK = 0.80, 121e12

Section: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[list[bytes]], object]


def windows() -> list[bytes]:
    return [path.read_bytes() for path in sorted((GOLDEN / "data").glob("win_*.bin"))]


def small_models() -> dict[str, Weights]:
    folder = files("quickstart.devnet") / "weights"
    found = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".safetensors"))
    return {name.removesuffix(".safetensors"): parse_weights(file.read_bytes()) for name, file in found}


def random_tensors(architecture: Architecture) -> dict[str, np.ndarray[Any, Any]]:
    """Numbers of the size that a trained model has; what they are makes no difference to speed."""
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in expected_shapes(architecture).items():
        scale = 1.0 if name == "embedding.weight" else shape[0] ** -0.5
        tensor = random.standard_normal(shape, np.float32) * np.float32(scale)
        tensors[name] = tensor + np.float32(1) if name.endswith("gamma") else tensor
    return tensors


def plain_run(weights: Weights, device: str, dtype: torch.dtype, batch: int) -> Run:
    """The torch engine without its certification."""
    engine = TorchEngine(device, dtype, batch_sequences=batch)
    model = TorchModel.load(weights, torch.device(device), dtype)
    return lambda data: engine._score(model, data)


def soma_run(weights: Weights, device: str) -> Run:
    """soma-models' own torch model the ordinary way: float32, one file at a time."""
    shape = weights.architecture
    config = ModelConfig(0.0, shape.width, shape.feed_forward, shape.layers, shape.heads)
    model = Model.load_bytes(save(dict(weights.tensors)), config).eval().to(device)
    regulariser = SIGReg(SIGRegConfig()).to(device)

    def score(data: list[bytes]) -> list[tuple[float, Any]]:
        results = []
        with torch.no_grad():
            for window in data:
                sequences = soma_tokenize(window)
                ids = torch.tensor([sequence.token_ids for sequence in sequences], device=device)
                targets = torch.tensor([sequence.targets for sequence in sequences], device=device)
                loss, embedding = compute_loss(model, regulariser, ids, targets)
                results.append((loss.item(), embedding.cpu().numpy()))
        return results

    return score


def compare(runs: Mapping[str, Run], data: list[bytes], rounds: int, device: str = "cpu") -> Section:
    """Windows per second of each, and how many times those of the first."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            started = clock()
            run(data)  # every engine ends with its results on the host
            if round_number:  # the first warms up
                seconds[name].append((clock() - started) / len(data))
    first = next(iter(seconds.values()))
    return {
        name: {
            "windows_per_second": 1 / statistics.median(times),
            "ratio": statistics.median(a / b for a, b in zip(first, times, strict=True)),
        }
        for name, times in seconds.items()
    }


def speed_on_small_models(models: Mapping[str, Weights], rounds: int) -> Section:
    found = {}
    for name, weights in models.items():
        runs: dict[str, Run] = {
            "reference": lambda data, weights=weights: run_reference(weights, data),
            "numpy": Float32Model(weights).score,
            "torch": plain_run(weights, "cpu", torch.float32, 1),
        }
        found[name] = compare(runs, windows()[:4], rounds)
    return found


def against_soma_models(weights: Weights, device: str, rounds: int, batch: int) -> Section:
    runs = {
        "soma-models float32": soma_run(weights, device),
        "torch float32": plain_run(weights, device, torch.float32, batch),
        "torch bfloat16": plain_run(weights, device, torch.bfloat16, batch),
    }
    return compare(runs, windows()[: max(4, batch)], rounds, device)


def certificates(models: Mapping[str, Weights], device: str) -> Section:
    """What bfloat16 and float32 are certified with on this device, against the float64 reference."""
    found: Section = {}
    data = calibration_windows()
    for name, weights in models.items():
        exact = run_reference(weights, data)
        for dtype in (torch.float32, torch.bfloat16):
            run = plain_run(weights, device, dtype, 1)
            certificate = certify(run, lambda _, exact=exact: exact, data)  # type: ignore[arg-type]
            found[f"{name} {str(dtype).removeprefix('torch.')}"] = {
                "distance": certificate.error.distance,
                "loss": certificate.error.loss,
                "tolerance_share": certificate.tolerance_share,
            }
    return found


def golden(models: Mapping[str, Weights]) -> Section:
    """Largest errors of the float32 engines over the recorded cases with the audit's seed."""
    cases = [case for case in json.loads((GOLDEN / "trained.json").read_text())["cases"] if case["seed"] == 0]
    data = {name: (GOLDEN / "data" / name).read_bytes() for name in {case["data"] for case in cases}}
    found = {}
    for engine in ("numpy", "torch"):
        runs = {
            name: Float32Model(weights).score if engine == "numpy" else plain_run(weights, "cpu", torch.float32, 1)
            for name, weights in models.items()
        }
        scores = {(model, name): runs[model]([data[name]]) for model in models for name in data}
        wrong, loss_error, distance_error = 0, 0.0, 0.0
        for case in cases:
            results: list[Any] = [scores[model, case["data"]] for model in case["models"]]
            winner = int(np.argmin([result.losses[0] for result in results]))
            wrong += winner != case["winner"]
            embedding = results[winner].embeddings[0]
            target = normal_array(case["target_seed"], [len(embedding)], 0.0, 1.0)
            loss_error = max(loss_error, abs(float(results[winner].losses[0]) - case["loss"]))
            distance_error = max(distance_error, abs(distance(embedding, target) - case["distance"]))
        found[engine] = {"cases": len(cases), "wrong": wrong, "loss": loss_error, "distance": distance_error}
    return found


def window_flops(architecture: Architecture) -> float:
    """Multiplications and additions of one window: the matrices, the causal half of attention, the predictor."""
    width = architecture.width
    matrices = architecture.layers * (4 * width**2 + 2 * width * architecture.feed_forward) + width * VOCABULARY
    attention = architecture.layers * 2 * SEQUENCE_TOKENS * width / 2
    return 2 * SEQUENCE_TOKENS * (matrices + attention)


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """The most operations a second that a square product reaches."""
    size, clock = (8192, time.perf_counter) if device == "cuda" else (1024, time.process_time)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        started = clock()
        (a @ b)[0, 0].item()  # waits for the device
        seconds.append(clock() - started)
    return 2 * size**3 / min(seconds)


def sweep(weights: Weights, device: str, dtype: torch.dtype, batches: Iterable[int], rounds: int) -> list[Section]:
    """By batch size: speed, its share of the device's measured peak, memory."""
    peak, flops, found = matmul_peak(device, dtype), window_flops(weights.architecture), []
    for batch in batches:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        data = (windows() * 4)[: max(4, 2 * batch)]
        result = compare({"torch": plain_run(weights, device, dtype, batch)}, data, rounds, device)
        speed = result["torch"]["windows_per_second"]
        found.append(
            {
                "batch": batch,
                "windows_per_second": speed,
                "share_of_peak": speed * flops / peak,
                "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
            }
        )
    return found


def on_a_card(rounds: int) -> Section | None:
    """Everything at the network's size; None without a card: then it is not measured."""
    if not torch.cuda.is_available():
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file(random_tensors(NETWORK), path)
        started = time.perf_counter()
        weights = open_weights(FileAt(path))
        TorchEngine("cuda", torch.bfloat16).score(weights, windows()[:1])
        first = time.perf_counter() - started
        batches = sweep(weights, "cuda", torch.bfloat16, (1, 2, 4, 8, 16, 32, 64), rounds)
        share = max(batch["share_of_peak"] for batch in batches)
        return {
            "card": torch.cuda.get_device_name(),
            "bf16_peak": matmul_peak("cuda", torch.bfloat16),
            "seconds_to_first_window": first,
            "against_soma_models": against_soma_models(weights, "cuda", rounds, 32),
            "sweep": batches,
            # 3,000 scores on an L4 that reaches the same share of its peak, in dollars.
            "l4_dollars_per_1000_windows_3_models": 3000
            * window_flops(NETWORK)
            / (share * L4_PEAK)
            / 3600
            * L4_DOLLARS_PER_HOUR,
            "profile": time_by_operation(weights, "cuda", torch.bfloat16, 32),
        }


def time_by_operation(weights: Weights, device: str, dtype: torch.dtype, batch: int) -> dict[str, float]:
    """Share of the time that each operation takes by itself, the ten largest."""
    run, data = plain_run(weights, device, dtype, batch), windows()[: max(4, batch)]
    run(data)
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        run(data)
    field = f"self_{'device' if device == 'cuda' else 'cpu'}_time_total"
    times = {event.key: float(getattr(event, field)) for event in profiled.key_averages()}
    total = sum(times.values())
    return {key: times[key] / total for key in sorted(times, key=lambda key: -times[key])[:10]}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        models, middle = small_models(), parse_weights(save(random_tensors(MIDDLE)))
        figures: Section = {
            "machine": {
                "processor": platform.machine(),
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            "small_models": speed_on_small_models(models, options.rounds),
            "golden": golden(models),
            "certificates": certificates({**models, "width 256": middle}, "cpu"),
            "width_256_against_soma_models": against_soma_models(middle, "cpu", options.rounds, 1),
            "width_256_sweep": sweep(middle, "cpu", torch.float32, (1, 2, 4, 8), options.rounds),
            "width_256_profile": time_by_operation(middle, "cpu", torch.float32, 1),
            "card": on_a_card(options.rounds) or "not measured: this machine has no CUDA card",
        }
    text = json.dumps(figures, indent=1, default=float)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
