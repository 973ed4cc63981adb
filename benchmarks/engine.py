"""Speed and error of the numpy engine against the float64 reference, on one core, in one run.

    uv run python benchmarks/engine.py

Speed: each of the four small models on 1,024-byte windows, best of several rounds taken in turn. Error: every
recorded case of `tests/golden` (seed 0), against the reference and against the network's own answers.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
from arrgen import normal_array
from threadpoolctl import threadpool_limits

from quickstart.scoring.contract import distance
from quickstart.scoring.engine import Weights
from quickstart.scoring.float32_model import Float32Model
from quickstart.scoring.numpy_engine import run_reference
from quickstart.scoring.weights import parse_weights

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
ROUNDS = 5


def load_models() -> dict[str, Weights]:
    folder = files("quickstart.devnet") / "weights"
    return {
        Path(file.name).stem: parse_weights(file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".safetensors")
    }


def seconds_per_window(run: Callable[[list[bytes]], object], windows: list[bytes]) -> float:
    started = time.perf_counter()
    run(windows)
    return (time.perf_counter() - started) / len(windows)


def measure_speed(models: dict[str, Weights]) -> None:
    windows = [path.read_bytes() for path in sorted((GOLDEN / "data").glob("win_*.bin"))]
    print(f"{'model':10} {'reference':>14} {'numpy engine':>14} {'ratio':>7}    windows per second, one core")
    for name, weights in models.items():
        engine = Float32Model(weights)
        slow, fast = [], []
        for _ in range(ROUNDS):
            slow.append(seconds_per_window(lambda data, weights=weights: run_reference(weights, data), windows[:3]))
            fast.append(seconds_per_window(engine.score, windows))
        print(f"{name:10} {1 / min(slow):14.1f} {1 / min(fast):14.1f} {min(slow) / min(fast):7.2f}")


def measure_error(models: dict[str, Weights]) -> None:
    names = list(models)
    engines = {name: Float32Model(weights) for name, weights in models.items()}
    recorded = [case for case in json.loads((GOLDEN / "trained.json").read_text())["cases"] if case["seed"] == 0]
    against_reference, against_network = np.zeros(2), np.zeros(2)
    scored = {}
    for name in names:
        for file in sorted({case["data"] for case in recorded}):
            data = [(GOLDEN / "data" / file).read_bytes()]
            actual, exact = engines[name].score(data), run_reference(models[name], data)
            gaps = [np.abs(actual.losses - exact.losses).max(), np.abs(actual.embeddings - exact.embeddings).max()]
            against_reference = np.maximum(against_reference, gaps)
            scored[name, file] = float(actual.losses[0]), actual.embeddings[0]
    wrong_winners = 0
    for case in recorded:
        results = [scored[name, case["data"]] for name in case["models"]]
        winner = int(np.argmin([loss for loss, _ in results]))
        wrong_winners += winner != case["winner"]
        loss, embedding = results[winner]
        target = normal_array(case["target_seed"], [len(embedding)], 0.0, 1.0)
        gaps = [abs(loss - case["loss"]), abs(distance(embedding, target) - case["distance"])]
        against_network = np.maximum(against_network, gaps)
    print(f"\n{len(recorded)} recorded cases, {wrong_winners} with another winner")
    print(f"largest error against the reference: loss {against_reference[0]:.1e}, embedding {against_reference[1]:.1e}")
    print(f"largest error against the network:   loss {against_network[0]:.1e}, distance {against_network[1]:.1e}")


def main() -> int:
    models = load_models()
    with threadpool_limits(1):
        measure_speed(models)
        measure_error(models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
