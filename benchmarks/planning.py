"""Coverage of a bank whose windows the planner chose, against banks of as many windows chosen without it.

    uv run python benchmarks/planning.py [--windows 1280] [--repeats 8] [--json] [--plot FILE.svg]

Windows are cut from every kind of file that this machine has (`kinds.py`), and scored once with the devnet's four
models; `--bank DIR` keeps the scores for the next time. Then each way of choosing takes shards of 8 windows of one
kind, one after the other, until it has `--windows`:

- `planner`: the product's `Survey` and `plan`, which know nothing of a kind before a shard of it is scored;
- `in turn`: a shard of every kind, then another one of every kind;
- `uniform`: each time a shard of a kind drawn at random, every kind as likely.

Coverage is measured on 4,000 targets that the planner has not seen. Thresholds are the network's, scaled to the models'
width; each is a run of its own.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from kinds import windows_by_kind
from lines_svg import Panel, draw
from numpy.typing import NDArray
from simulated import Scores, SimulatedNetwork, score_bank
from threadpoolctl import threadpool_limits

from quickstart.bank import Bank
from quickstart.bank.bank import Shard
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import scaled_threshold
from quickstart.devnet.config import MODEL_WIDTH
from quickstart.matching.contest import contest
from quickstart.planning import Holdings, Outlook, Survey, Unscored, expect, plan, seconds_left, staged

THRESHOLDS = (1.05, 1.00, 0.956, 0.95)
SHARD_WINDOWS = 8
LEAST_OF_A_KIND = 100
PER_KIND = 300
JUDGES = 4000
JUDGE_SEED = 1
SIZES = (40, 80, 160, 320, 640, 1280, 2560)


class Pool:
    """All windows of this machine, scored. `kinds`: of each shard."""

    def __init__(self, folder: Path, per_kind: int, seed: int) -> None:
        started = time.perf_counter()
        bank = Bank(folder)
        if not bank.shards():
            for windows in windows_by_kind(per_kind, seed, LEAST_OF_A_KIND).values():
                for start in range(0, len(windows), SHARD_WINDOWS):
                    bank.add_windows(windows[start : start + SHARD_WINDOWS])
        weights = score_bank(bank)
        self.scores = Scores(
            bank.view(tuple(weights.values())), tuple(bank.shards()), weights, time.perf_counter() - started
        )
        self.board = SimulatedNetwork(1.0, seed, 1.0, weights, None).board()
        self.names = {m: weights[model.manifest.checksum] for m, model in self.board.models.items()}
        self.holdings = Holdings(bank)
        self.holdings.update(self.names.values())
        self.kinds = [holding.kinds[0] for holding in self.holdings.shards]

    def found(self) -> dict[str, int]:
        """Windows by kind."""
        return dict(Counter(kind.name for holding in self.holdings.shards for kind in holding.kinds))


def planned(pool: Pool, threshold: float, windows: int, seed: int) -> list[int]:
    """The shards that the product would score, one after the other."""
    survey, order = Survey(expect(pool.board)), list[int]()
    shards, names = pool.holdings.shards, pool.names
    seconds = dict.fromkeys(names, 1.0)
    places = {holding.shard: place for place, holding in enumerate(shards)}
    waiting = {h.shard: Unscored(h.shard, ((h.kinds[0], len(h.kinds)),), frozenset(names)) for h in shards}
    stages = staged(survey.outlook.targets, seconds_left(waiting.values(), seconds))
    tightest = min(threshold, scaled_threshold(min(THRESHOLDS), MODEL_WIDTH))
    done = frozenset[tuple[str, Id32]]()
    taken = 0
    while taken < windows and waiting:
        counted = survey.statistics(shards, done, {}, {}, (threshold, tightest))
        choice = plan(counted, list(waiting.values()), stages, seconds, most=len(stages), seed=seed)
        if not choice.pieces:
            break
        name = choice.pieces[0].shard
        taken += waiting.pop(name).windows
        order.append(places[name])
        done |= {(name, weights) for weights in names.values()}
        survey.take_in(pool.scores.view, shards, done, names)
    return order


def in_turn(pool: Pool, threshold: float, windows: int, seed: int) -> list[int]:
    """A shard of every kind, then another one of every kind."""
    rounds: Counter[object] = Counter()
    keys = []
    random = np.random.default_rng(seed)
    for place in random.permutation(len(pool.kinds)).tolist():
        keys.append((rounds[pool.kinds[place]], random.random(), place))
        rounds[pool.kinds[place]] += 1
    return _until(pool, [place for *_, place in sorted(keys)], windows)


def uniform(pool: Pool, threshold: float, windows: int, seed: int) -> list[int]:
    """Each time a kind drawn at random."""
    random = np.random.default_rng(seed)
    of_kind: dict[object, list[int]] = {}
    for place in random.permutation(len(pool.kinds)).tolist():
        of_kind.setdefault(pool.kinds[place], []).append(place)
    order = []
    while of_kind:
        kind = list(of_kind)[int(random.integers(len(of_kind)))]
        order.append(of_kind[kind].pop())
        if not of_kind[kind]:
            del of_kind[kind]
    return _until(pool, order, windows)


Chooser = Callable[[Pool, float, int, int], list[int]]
CHOOSERS: dict[str, Chooser] = {"planner": planned, "in turn": in_turn, "uniform": uniform}


def _until(pool: Pool, order: Sequence[int], windows: int) -> list[int]:
    sizes = np.cumsum([len(pool.holdings.shards[place].kinds) for place in order])
    return list(order[: int(np.searchsorted(sizes, windows)) + 1])


def reach(pool: Pool, outlook: Outlook) -> NDArray[np.float32]:
    """float32 (targets, windows): cosine less its certified error where a window may be sent, else -inf."""
    view = pool.scores.view
    found = np.full((len(outlook.assigned), view.n), -np.inf, np.float32)
    assigned = np.array(outlook.assigned)
    for number, models in enumerate(outlook.sets):
        targets = np.flatnonzero(assigned == number)
        columns = [view.models[pool.names[model_id]] for model_id in models]
        for column, safe in zip(columns, contest(columns, slice(0, view.n)).margin > 0, strict=True):
            rows = np.flatnonzero(safe)
            unit = np.empty((len(rows), column.width), np.float32)
            column.unit_rows(rows, unit)
            found[np.ix_(targets, rows)] = outlook.directions[targets] @ unit.T - column.distance_errors[rows]
    return found


def curve(pool: Pool, order: Sequence[int], judged: NDArray[np.float32], threshold: float) -> dict[int, float]:
    """Coverage by the number of windows, at each of `SIZES` that the order reaches."""
    shards: list[Shard] = [pool.scores.shards[place] for place in order]
    rows = np.concatenate([np.arange(shard.first_row, shard.first_row + shard.n) for shard in shards])
    return {
        size: float((judged[:, rows[:size]].max(axis=1) > np.float32(1 - threshold)).mean())
        for size in SIZES
        if size <= len(rows)
    }


def compare(pool: Pool, judged: NDArray[np.float32], network_threshold: float, arguments: argparse.Namespace) -> Panel:
    """Mean coverage over the repeats, of each way to choose, by windows."""
    threshold = scaled_threshold(network_threshold, MODEL_WIDTH)
    lines = {}
    for name, choose in CHOOSERS.items():
        curves = [
            curve(pool, choose(pool, threshold, arguments.windows, seed), judged, threshold)
            for seed in range(arguments.repeats)
        ]
        sizes = [size for size in SIZES if all(size in one for one in curves)]
        lines[name] = {size: [one[size] for one in curves] for size in sizes}
    return Panel(network_threshold, threshold, lines)


def show(panel: Panel) -> None:
    sizes = list(panel.lines["uniform"])
    print(f"threshold {panel.network_threshold} ({panel.threshold:.3f} at width {MODEL_WIDTH}); windows {sizes}")
    for name, points in panel.lines.items():
        means = "  ".join(f"{statistics.mean(points[size]):.4f}" for size in points)
        error = statistics.stdev(points[max(points)]) / len(points[max(points)]) ** 0.5 if points else 0.0
        print(f"  {name:8} {means}  (last: +-{error:.4f})")
    ratios = {
        size: statistics.mean(panel.lines["planner"][size]) / statistics.mean(panel.lines["uniform"][size])
        for size in sizes
        if size in panel.lines["planner"]
    }
    print("  planner / uniform " + "  ".join(f"{ratio:.3f}" for ratio in ratios.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, metavar="T", help="the network's")
    parser.add_argument("--windows", type=int, default=1280, metavar="N", help="windows that each bank gets (1280)")
    parser.add_argument("--per-kind", type=int, default=PER_KIND, metavar="N", help="windows to cut of each kind (300)")
    parser.add_argument("--repeats", type=int, default=8, metavar="N", help="seeds (8)")
    parser.add_argument("--bank", type=Path, metavar="DIR", help="keep windows and scores here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as SVG")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        pool = Pool(arguments.bank or Path(folder), arguments.per_kind, 0)
        if not arguments.json:
            print(f"{pool.scores.view.n} windows of {len(pool.found())} kinds: {pool.found()}", flush=True)
        judged = reach(pool, expect(pool.board, JUDGES, JUDGE_SEED))
        panels = []
        for threshold in arguments.thresholds:
            panels.append(compare(pool, judged, threshold, arguments))
            if not arguments.json:
                show(panels[-1])
    if arguments.json:
        rows = [{"threshold": panel.network_threshold, "coverage": panel.lines} for panel in panels]
        print(json.dumps({"kinds": pool.found(), "rows": rows}))
    if arguments.plot:
        arguments.plot.write_text(draw(panels))
    return 0


if __name__ == "__main__":
    sys.exit(main())
