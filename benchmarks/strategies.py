"""Our strategy against ones that score and forget, on one simulated clock, machine and stream of windows.

    uv run python benchmarks/strategies.py [--thresholds 1.05 1.00 0.95] [--windows 400] [--budget 320] [--json]

Every strategy has one GPU that takes 7 s to score a window with all models, and transactions that take 1 s. The
network is the devnet's own state machine: 100 open targets, four epochs, a threshold that is fixed for the run (the
network's thresholds, scaled to the models' width). An epoch is as long as a GPU without rest needs to score all of
the `--windows` real windows once (2,800 s with 400): within an epoch nobody scores a window twice, and in the next one
all targets are new, so that to a strategy that forgets an old window is as good as a new one. GPU seconds are seconds
of scoring; a GPU that waits costs nothing here, which favours the strategies that forget. Nobody else submits.

- `first target`: what the existing client (soma-org/quickstart) does. It takes the first open target of the listing,
  scores one window against it, submits if that hits, and forgets the window.
- `one target`: kinder. The window is compared with every open target and submitted for one of those it hits.
- `all targets`: kinder still. It is submitted for all it hits, one after the other over one lane, before the next
  window is scored.
- `bank`: ours. The product's `decide`, `Matcher` and `BankView` choose; 8 lanes; the GPU stops for good after
  `--budget` windows, by default what one run on the devnet scores. `small bank`: the same with 40 windows.

What limits each:

- Where nearly everything hits (1.05), transactions in flight: 8 lanes land 8 fills a second whatever the bank. A
  small bank does what a large one does, so GPU seconds beyond the first few minutes buy nothing. The network pays
  for one fill a second in the long run (86,400 a day): `--paid-per-second 1` gives an epoch the reward budget that
  goes with its length, and then nobody can be much faster than one lane that never waits.
- Where thresholds are tighter, coverage: each of the 100 places on the board is filled again and again until it
  holds a target that the bank cannot fill. A bank of coverage c makes about 100 c / (1 - c) fills an epoch however
  long that is, and then the board is clogged until the epoch ends. At 0.95 c is near one eighth, and a strategy that
  forgets gets to the same place within the epoch, but with a GPU that never rests. A longer epoch (`--epoch-seconds
  86400`; windows are then scored again and again) costs it more and brings it little. What would bring more fills
  there is windows of other kinds, for everybody: `--source`, or `--mixed`, with which the forgetful take windows of
  all kinds of files on this machine in turn, and `bank` those that the planner chooses.
"""

import argparse
import heapq
import itertools
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from planning import PER_KIND, Pool, in_turn, planned
from simulated import EPOCHS, EveryRow, Scores, SimulatedNetwork, real_scores
from threadpoolctl import threadpool_limits

from quickstart.bank import BankView
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import scaled_threshold
from quickstart.chain.transactions import TransactionData
from quickstart.data.folder import FolderSource, python_library
from quickstart.devnet.config import MODEL_WIDTH
from quickstart.matching import Candidate, Matcher
from quickstart.submission.actions import Policy, ScoreShards, Situation, Submit, Work
from quickstart.submission.loop import decide

THRESHOLDS = (1.05, 1.00, 0.95)
LANES = 8
SMALL_BUDGET = 40
SCORE_SECONDS = 7.0
TRANSACTION_SECONDS = 1.0
GOAL_PER_GPU_SECOND, GOAL_PER_HOUR = 20.0, 5.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a strategy did in `seconds` of simulated time. `failed`: transactions that came after the epoch's end."""

    strategy: str
    hits: int
    failed: int
    windows: int
    seconds: float

    @property
    def gpu_seconds(self) -> float:
        return self.windows * SCORE_SECONDS

    @property
    def per_gpu_second(self) -> float:
        return self.hits / self.gpu_seconds

    @property
    def per_hour(self) -> float:
        return self.hits / self.seconds * 3600


class Choice(StrEnum):
    """What a strategy that forgets does with a scored window."""

    FIRST = "first target"
    ONE = "one target"
    ALL = "all targets"


def score_and_forget(network: SimulatedNetwork, scores: Scores, choice: Choice) -> Result:
    """One window at a time, compared with what is open now, over one lane."""
    every_row, known = EveryRow(scores.view), dict[Id32, dict[int, tuple[int, float]]]()
    (coin,) = network.coins(1)
    now, end = 0.0, EPOCHS * network.epoch_seconds
    hits = failed = windows = 0
    for row in itertools.cycle(range(scores.view.n)):
        # The existing client takes its target before it scores; the epoch may end meanwhile.
        listed = sorted(network.targets)
        now += SCORE_SECONDS
        if now > end:
            break
        windows += 1
        network.pass_to(now, inclusive=True)
        for target in network.match_targets(t for t in network.targets if t not in known):
            known[target.target_id] = every_row.candidates(target)
        wanted = listed[:1] if choice is Choice.FIRST else sorted(network.targets)
        wanted = [t for t in wanted if t in network.targets and row in known[t]]
        for target_id in wanted[:1] if choice is Choice.ONE else wanted:
            now += TRANSACTION_SECONDS
            if now > end or target_id not in network.targets:
                break
            model_index, distance = known[target_id][row]
            transaction = network.submission(target_id, row, model_index, distance, scores.view, coin)
            network.pass_to(now, inclusive=False)
            filled = network.land(transaction)
            hits, failed = hits + filled, failed + (not filled)
    return Result(choice.value, hits, failed, windows, end)


@dataclass(frozen=True, slots=True)
class Scored:
    """Event: the GPU has finished a unit of work."""

    work: Work


@dataclass(frozen=True, slots=True)
class Landed:
    """Event: a transaction executes, and its coin is free again."""

    transaction: TransactionData
    target_id: Id32
    coin: Id32


class BankStrategy:
    """Ours: the product's decisions, carried out on the simulated clock.

    Windows are published ahead: publishing takes no time here, and none for the other strategies.
    """

    def __init__(self, network: SimulatedNetwork, scores: Scores, budget: int) -> None:
        """`budget`: windows to score before the GPU stops for good."""
        self._network = network
        self._scores = scores
        self._now = 0.0
        self._events: list[tuple[float, int, Scored | Landed]] = []
        self._started = 0
        shards = {shard.id: shard for shard in scores.shards if shard.first_row + shard.n <= budget}
        self._shards = shards
        self._unscored = [Work(shard, model_id) for shard in shards for model_id in network.weights]
        self._scoring: set[Work] = set()
        self._rows: dict[Id32, int] = {}
        self._published = frozenset(scores.view.checksum(row) for row in range(scores.view.n))
        self._matcher = Matcher(threads=1)
        self._view: BankView = scores.only({})
        self._candidates: dict[Id32, tuple[Candidate, ...]] = {}
        self._matched: set[Id32] = set()
        self._submitting: set[Id32] = set()
        self._coins = list(network.coins(LANES))
        self._hits = self._failed = 0
        self._gpu_seconds = 0.0

    def run(self, name: str) -> Result:
        network, end = self._network, EPOCHS * self._network.epoch_seconds
        policy = Policy(lanes=LANES, max_hits_per_epoch=None)
        while self._now < end:
            self._match()
            for action in decide(self._situation(), policy):
                if isinstance(action, Submit):
                    self._submit(action.candidate)
                elif isinstance(action, ScoreShards):
                    self._score(action.work)
            self._now = min([network.epoch_ends, *(event[0] for event in self._events[:1])])
            while self._events and self._events[0][0] <= self._now:
                event = heapq.heappop(self._events)[2]
                self._take_in(event) if isinstance(event, Scored) else self._land(event)
            if self._now == network.epoch_ends < end:
                network.pass_to(self._now, inclusive=True)
                self._matched, self._candidates = set(), {}
        self._matcher.close()
        return Result(name, self._hits, self._failed, round(self._gpu_seconds / SCORE_SECONDS), end)

    def _match(self) -> None:
        """As the product does: new targets when they appear, all of them after new scores."""
        fresh = [target_id for target_id in self._network.targets if target_id not in self._matched]
        if fresh:
            found = self._matcher.match(self._view, self._network.match_targets(fresh), top=1)
            self._candidates |= {target_id: found[target_id].sendable for target_id in fresh}
            self._matched.update(fresh)

    def _situation(self) -> Situation:
        board = self._network.board()
        return Situation(
            now=self._now,
            epoch_started=self._network.epoch_ends - self._network.epoch_seconds,
            board=board,
            candidates=self._candidates,
            taken=self._submitting,
            submitting=len(self._submitting),
            published=self._published,
            publishing=frozenset(),
            unpublishable=frozenset(),
            free_coins=len(self._coins),
            coin_plan=None,
            arranging=False,
            hits=self._hits,
            bond_outstanding=0,
            bond_per_submission=0,
            fees=0,
            unscored=tuple(self._unscored[:1]),
            scoring=len(self._scoring),
            scoring_room=1 - len(self._scoring),
            claims=(),
            claiming=0,
            settled=True,
        )

    def _after(self, seconds: float, event: Scored | Landed) -> None:
        self._started += 1
        heapq.heappush(self._events, (self._now + seconds, self._started, event))

    def _score(self, work: Work) -> None:
        seconds = self._shards[work.shard].n * SCORE_SECONDS / len(self._network.weights)
        self._unscored.remove(work)
        self._scoring.add(work)
        self._gpu_seconds += seconds
        self._after(seconds, Scored(work))

    def _take_in(self, event: Scored) -> None:
        shard = self._shards[event.work.shard]
        self._scoring.discard(event.work)
        self._rows[self._network.weights[event.work.model_id]] = shard.first_row + shard.n
        self._view = self._scores.only(self._rows)
        self._matched, self._candidates = set(), {}

    def _submit(self, candidate: Candidate) -> None:
        coin = self._coins.pop()
        self._submitting.add(candidate.target_id)
        transaction = self._network.submission(
            candidate.target_id, candidate.row, candidate.model_index, candidate.distance, self._view, coin
        )
        self._after(TRANSACTION_SECONDS, Landed(transaction, candidate.target_id, coin))

    def _land(self, event: Landed) -> None:
        filled = self._network.land(event.transaction)
        self._hits, self._failed = self._hits + filled, self._failed + (not filled)
        self._submitting.discard(event.target_id)
        self._candidates.pop(event.target_id, None)
        self._coins.append(event.coin)


def compare(threshold: float, scores: Scores, banked: Scores, arguments: argparse.Namespace) -> list[Result]:
    """All strategies at one threshold, each on a network of its own that starts the same. `banked`: what `bank` may
    score, where that is not what the others do.
    """
    epoch_seconds = arguments.epoch_seconds or scores.view.n * SCORE_SECONDS
    paid = arguments.paid_per_second
    paid_hits = None if paid is None else max(1, round(paid * epoch_seconds))

    def network() -> SimulatedNetwork:
        return SimulatedNetwork(threshold, arguments.seed, epoch_seconds, scores.weights, paid_hits)

    forgetful = [score_and_forget(network(), scores, choice) for choice in Choice]
    return [
        *forgetful,
        BankStrategy(network(), banked, min(SMALL_BUDGET, arguments.budget)).run("small bank"),
        BankStrategy(network(), banked, arguments.budget).run("bank"),
    ]


def mixed(pool: Pool, threshold: float, arguments: argparse.Namespace) -> tuple[Scores, Scores]:
    """Of every kind of file on this machine: `--windows` windows, each kind in turn; and what the planner scores."""
    scaled = scaled_threshold(threshold, MODEL_WIDTH)
    orders = (
        in_turn(pool, scaled, arguments.windows, arguments.seed),
        planned(pool, scaled, arguments.budget, arguments.seed),
    )
    everybody, ours = (pool.scores.pick([pool.scores.shards[place] for place in order]) for order in orders)
    return everybody, ours


def figures(threshold: float, results: list[Result]) -> list[dict[str, Any]]:
    """One row per strategy; ratios are to each strategy that forgets, by its name."""
    forgetful = results[: len(Choice)]
    return [
        {
            "threshold": threshold,
            "strategy": result.strategy,
            "hits": result.hits,
            "failed": result.failed,
            "gpu_seconds": result.gpu_seconds,
            "seconds": result.seconds,
            "per_gpu_second": result.per_gpu_second,
            "per_hour": result.per_hour,
            "per_gpu_second_ratio": {
                other.strategy: ratio(result.per_gpu_second, other.per_gpu_second) for other in forgetful
            },
            "per_hour_ratio": {other.strategy: ratio(result.per_hour, other.per_hour) for other in forgetful},
        }
        for result in results
    ]


def ratio(ours: float, theirs: float) -> float | None:
    """None where they hit nothing at all."""
    return ours / theirs if theirs else None


def show(rows: list[dict[str, Any]]) -> None:
    columns = f"{'hits':>7} {'GPU s':>7} {'per GPU s':>10} {'x first':>8} {'x one':>7} {'x all':>7}"
    print(f"{rows[0]['threshold']:.2f} {'':13} {columns} {'per hour':>9} {'x first':>8} {'x one':>7} {'x all':>7}")
    for row in rows:
        per_gpu, per_hour = (
            [f"{value:.1f}" if value is not None else "-" for value in row[name].values()]
            for name in ("per_gpu_second_ratio", "per_hour_ratio")
        )
        print(
            f"{'':5}{row['strategy']:13} {row['hits']:7} {row['gpu_seconds']:7.0f} {row['per_gpu_second']:10.3f} "
            f"{per_gpu[0]:>8} {per_gpu[1]:>7} {per_gpu[2]:>7} {row['per_hour']:9.0f} "
            f"{per_hour[0]:>8} {per_hour[1]:>7} {per_hour[2]:>7}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, metavar="T", help="the network's")
    parser.add_argument("--windows", type=int, default=400, metavar="N", help="real windows there are (400)")
    parser.add_argument("--budget", type=int, default=320, metavar="N", help="windows that `bank` scores (320)")
    parser.add_argument("--paid-per-second", type=float, metavar="X", help="reward budget of an epoch: X hits a second")
    parser.add_argument("--epoch-seconds", type=float, metavar="S", help="length of an epoch (7 s a window)")
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder to cut windows from; repeatable (Python's own library)",
    )
    parser.add_argument("--mixed", action="store_true", help="windows of all kinds of files on this machine instead")
    parser.add_argument("--pool", type=Path, metavar="DIR", help="with --mixed: keep its windows and scores here")
    parser.add_argument("--seed", type=int, default=0, help="order of the windows, and the chain (0)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    sources = [FolderSource(folder) for folder in arguments.source or ()] or [python_library()]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        pool = Pool(arguments.pool or Path(folder), PER_KIND, 0) if arguments.mixed else None
        scores = pool.scores if pool else real_scores(Path(folder), arguments.windows, arguments.seed, sources)
        started = time.perf_counter()
        for threshold in arguments.thresholds:
            played = mixed(pool, threshold, arguments) if pool else (scores, scores)
            found = figures(threshold, compare(threshold, *played, arguments))
            rows += found
            if not arguments.json:
                show(found)
    if arguments.json:
        print(json.dumps({"goal_per_gpu_second": GOAL_PER_GPU_SECOND, "goal_per_hour": GOAL_PER_HOUR, "rows": rows}))
    else:
        print(f"goals: {GOAL_PER_GPU_SECOND:.0f} times the hits per GPU second, {GOAL_PER_HOUR:.0f} times per hour")
    print(f"{scores.seconds:.0f} s of scoring, {time.perf_counter() - started:.0f} s of simulation", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
