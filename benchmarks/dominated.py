"""How many windows of a bank can never win again: those that other windows of the same winner replace everywhere.

    uv run python benchmarks/dominated.py [--bank DIR] [--sample 60]

A window w that model m wins fills the directions t with <t, w> >= c, where c = 1 - threshold, at the tightest threshold
there is. It is dominated when each of these has <t, v> >= c for some other window v that m wins. Scaled by 1 / c, the
directions that break this are the points s with <s, w> >= 1, <s, v> < 1 for all others, and |s| = 1 / c. Without the
last condition that is a convex region. If its least |s| is above 1 / c, w is dominated. Else a walk from there along
the region's faces looks for a point of that length: if there is one, w is needed. The rest is open.

A window could leave a bank only if it were dominated for every set of models; this asks for the most frequent one.
Beside it: how few windows fill all of the sampled directions that the bank fills (chosen greedily), and what these few
are worth on directions that they were not chosen for.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from planning import JUDGE_SEED, JUDGES, PER_KIND, Pool, reach
from threadpoolctl import threadpool_limits

from quickstart.chain.protocol import scaled_threshold
from quickstart.devnet.config import MODEL_WIDTH
from quickstart.matching.contest import contest
from quickstart.planning import expect

TIGHTEST = 0.95
STEPS = 300
WALKS = 20

Floats = NDArray[np.float64]


def least_norm(rows: Floats, bounds: Floats, enough: float) -> tuple[float, Floats | None]:
    """A bound from below on the least |s| with rows @ s <= bounds, and the point, unless the bound passed `enough`.

    An active set: the constraint that is broken most joins, and the least-norm point of the joined ones is found by
    coordinate ascent on the dual (Hildreth), whose value is the bound from below at every step.
    """
    active: list[int] = []
    weights = np.zeros(0)
    low = 0.0
    for _ in range(STEPS):
        part = rows[active]
        gram = part @ part.T
        for _ in range(200):
            before = weights.copy()
            for i in range(len(weights)):
                weights[i] = max(0.0, weights[i] - (gram[i] @ weights + bounds[active[i]]) / gram[i, i])
            if np.abs(weights - before).max(initial=0.0) < 1e-9:
                break
        s = -(weights @ part) if active else np.zeros(rows.shape[1])
        dual = -0.5 * float(s @ s) - float(weights @ bounds[active])
        low = max(low, np.sqrt(2 * max(dual, 0.0)))
        broken = rows @ s - bounds
        worst = int(broken.argmax())
        if broken[worst] <= 1e-6:
            return low, s
        if low > enough:
            return low, None
        if worst in active:
            return low, None
        active.append(worst)
        weights = np.append(weights, 0.0)
    return low, None


def reaches(rows: Floats, bounds: Floats, start: Floats, norm: float, random: np.random.Generator) -> bool:
    """Whether a walk inside of rows @ s <= bounds gets from `start` to a point of length `norm`."""
    for _ in range(WALKS):
        s = start
        for _ in range(rows.shape[1]):
            tight = rows[np.abs(rows @ s - bounds) < 1e-7]
            # Along the faces that s lies on: what is tight stays so.
            space = np.linalg.svd(tight, full_matrices=True)[2][np.linalg.matrix_rank(tight) :] if len(tight) else None
            step = (
                random.standard_normal(rows.shape[1]) if space is None else random.standard_normal(len(space)) @ space
            )
            if not np.any(step):
                break
            step /= np.linalg.norm(step)
            step *= 1.0 if step @ s >= 0 else -1.0
            along = float(step @ s)
            wanted = -along + np.sqrt(along**2 + norm**2 - float(s @ s))
            speed = rows @ step
            room = np.where(speed > 1e-9, (bounds - rows @ s) / np.maximum(speed, 1e-9), np.inf).min()
            if wanted <= room:
                return True
            s = s + max(room, 0.0) * step
    return False


def dominated(units: Floats, which: int, cutoff: float, random: np.random.Generator) -> bool | None:
    """Whether window `which` of one winner's is; None if it could not be decided."""
    rows, bounds = units.copy(), np.ones(len(units))
    rows[which] *= -1
    bounds[which] = -1.0
    low, start = least_norm(rows, bounds, 1 / cutoff)
    if low > 1 / cutoff:
        return True
    if start is not None and np.linalg.norm(start) <= 1 / cutoff and reaches(rows, bounds, start, 1 / cutoff, random):
        return False
    return None


def greedy(fills: NDArray[np.bool_]) -> list[int]:
    """Windows that together fill what all fill: each time the one that fills most of what is left."""
    left, chosen = fills.any(axis=1), list[int]()
    while left.any():
        chosen.append(int((fills[left]).sum(axis=0).argmax()))
        left &= ~fills[:, chosen[-1]]
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bank", type=Path, metavar="DIR", help="windows and scores of benchmarks/planning.py")
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="windows to ask about (60)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        pool = Pool(arguments.bank or Path(folder), PER_KIND, 0)
        view, outlook = pool.scores.view, expect(pool.board)
        models = max(outlook.sets, key=outlook.targets.count)
        columns = [view.models[pool.names[model_id]] for model_id in models]
        safe = contest(columns, slice(0, view.n)).margin > 0
        fresh = reach(pool, expect(pool.board, JUDGES, JUDGE_SEED))
        sampled = reach(pool, expect(pool.board, JUDGES, JUDGE_SEED + 1))
        print(f"{view.n} windows; won by the models of the most frequent set: {safe.sum(axis=1).tolist()}")
        cutoff, random = 1 - scaled_threshold(TIGHTEST, MODEL_WIDTH), np.random.default_rng(0)
        answers: list[bool | None] = []
        for column, won in zip(columns, safe, strict=True):
            rows = np.flatnonzero(won)
            units = np.empty((len(rows), column.width), np.float32)
            column.unit_rows(rows, units)
            asked = random.permutation(len(rows))[: arguments.sample // len(columns)]
            answers += [dominated(units.astype(np.float64), int(one), cutoff, random) for one in asked]
        counts = {
            name: answers.count(value) for name, value in (("dominated", True), ("needed", False), ("open", None))
        }
        print(f"of {len(answers)} windows: {counts}")
        chosen = greedy(sampled > cutoff)
        whole, kept = ((fresh[:, part].max(axis=1) > cutoff).mean() for part in (range(view.n), chosen))
        print(f"{len(chosen)} windows fill all of {JUDGES} directions that the bank fills; ", end="")
        print(f"of {JUDGES} others they fill {kept:.4f}, the bank {whole:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
