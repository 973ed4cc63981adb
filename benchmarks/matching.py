"""How long matching takes: 100 open targets, one new target, and how both grow with the bank.

    uv run benchmarks/matching.py [--windows 2000 20000 200000] [--width 2048] [--targets 100]

The bank is real, in a temporary folder that is removed at the end (2 x width bytes per window and model:
2.5 GB for 200,000 windows and 3 models). Embeddings are random around a common direction, as real ones are.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quickstart.bank import Bank, BankView
from quickstart.data.window import Provenance, Window
from quickstart.matching import Matcher, MatchTarget, fillable
from quickstart.scoring.engine import CertifiedError, ScoredShard

MODELS = [bytes([number]) * 32 for number in range(3)]
SHARD_WINDOWS = 1000
THRESHOLD = 0.95
SHARED = 0.8  # squared cosine of an embedding with the direction that all of a model's have in common


def add_shard(bank: Bank, number: int, width: int) -> None:
    random = np.random.default_rng(number)
    provenance = Provenance("benchmark", f"shard-{number}", 0)
    shard = bank.add_windows([Window.cut(random.bytes(1024), provenance) for _ in range(SHARD_WINDOWS)])
    for place, weights in enumerate(MODELS):
        common = np.random.default_rng(10**9 + place).standard_normal(width, np.float32)
        embeddings = random.standard_normal((SHARD_WINDOWS, width), np.float32)
        embeddings *= np.float32((1 - SHARED) ** 0.5)
        embeddings += np.float32(SHARED**0.5) * common
        losses = random.normal(2.0, 0.05, SHARD_WINDOWS).astype(np.float32)
        error = CertifiedError(distance=1e-3, loss=2e-3)
        scored = ScoredShard(weights, "benchmark", embeddings, losses, error)
        bank.add_scores(shard, scored, created_at=number)


def make_targets(count: int, width: int, seed: int) -> list[MatchTarget]:
    random = np.random.default_rng([seed, 7])
    return [
        MatchTarget(random.bytes(32), random.standard_normal(width, np.float32), tuple(MODELS), THRESHOLD)
        for _ in range(count)
    ]


def median_seconds(run: Callable[[int], object], repeats: int) -> float:
    seconds = []
    for repeat in range(repeats):
        start = time.perf_counter()
        run(repeat)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def anonymous_bytes() -> int:
    """Memory of this process that is not a mapped file."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the anonymous memory")


def measure(view: BankView, targets: int, width: int) -> dict[str, float]:
    board = make_targets(targets, width, 0)
    matcher = Matcher()
    first = median_seconds(lambda _: matcher.match(view, board), 1)
    found = matcher.match(view, board)
    figures = {
        "windows": view.n,
        "first_match_s": first,
        "match_s": median_seconds(lambda _: matcher.match(view, board), 5),
        "one_new_target_s": median_seconds(lambda n: matcher.match(view, make_targets(1, width, n + 1)), 15),
        "resident_mb": matcher.resident_bytes / 1e6,
        "anonymous_mb": anonymous_bytes() / 1e6,
        "filled": sum(bool(matches.sendable) for matches in found.values()),
    }
    matcher.close()
    if view.n <= 20_000:
        assert {i for i, matches in found.items() if matches.sendable} == fillable(view, board)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--targets", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bank = Bank(Path(folder))
        rows = []
        for windows in sorted(arguments.windows):
            while bank.view([]).n < windows:
                add_shard(bank, len(bank.shards()), arguments.width)
            view = bank.view(MODELS)
            rows.append(measure(view, arguments.targets, arguments.width))
            print(json.dumps({name: round(value, 4) for name, value in rows[-1].items()}), flush=True)
        last = bank.view(MODELS)
        matcher = Matcher()
        matcher.match(last, make_targets(1, arguments.width, 1))
        add_shard(bank, len(bank.shards()), arguments.width)
        seconds = median_seconds(lambda n: matcher.match(bank.view(MODELS), make_targets(1, arguments.width, n)), 1)
        print(json.dumps({"windows": last.n, "one_target_after_a_new_shard_s": round(seconds, 4)}))
        matcher.close()
    print(json.dumps({"cores": os.cpu_count(), "models": len(MODELS), "targets": arguments.targets}))


if __name__ == "__main__":
    main()
