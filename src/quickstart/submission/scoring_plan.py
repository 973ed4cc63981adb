"""What a wallet's bank and ledger say should be scored and cut next; needs no network."""

import math
from collections import Counter
from typing import Any

from quickstart.bank import Bank
from quickstart.ledger.ledger import Ledger
from quickstart.planning import (
    Choice,
    Holdings,
    Kind,
    KindStatistics,
    Outlook,
    Piece,
    Reason,
    Statistics,
    Survey,
    plan,
    seconds_left,
    seconds_per_window,
    shares,
    staged,
)
from quickstart.planning.planner import EXPLORE_WINDOWS, LEAST_GAIN_PER_100


def scoring_plan(bank: Bank, ledger: Ledger, *, budget_seconds: float = math.inf, seed: int) -> dict[str, Any] | None:
    """Kinds, what they did, and the next pieces with their reasons, ready for JSON. None if the ledger has never seen a
    network's models: nothing can be planned for.
    """
    kept = ledger.outlook()
    if kept is None:
        return None
    outlook = Outlook.parse(kept)
    known = ledger.weights_names()
    names = {model_id: known[weights_id] for model_id, (weights_id, _) in outlook.models.items() if weights_id in known}
    holdings = Holdings(bank)
    holdings.update(names.values())
    survey = Survey(outlook)
    survey.take_in(bank.view(tuple(names.values())), holdings.shards, holdings.done, names)
    seconds = seconds_per_window({m: size for m, (_, size) in outlook.models.items()}, names, ledger.scoring())
    statistics = survey.statistics(
        holdings.shards,
        holdings.done,
        {names[model_id]: seconds[model_id] for model_id in names},
        holdings.filled(fill.window for fill in ledger.fills()),
        (outlook.distance_threshold, outlook.tightest_threshold),
    )
    shards = holdings.unscored({model_id: names.get(model_id) for model_id in outlook.models})
    stages = staged(outlook.targets, seconds_left(shards, seconds))
    choice = plan(statistics, shards, stages, seconds, budget_seconds=budget_seconds, seed=seed)
    sizes = {shard.shard: Counter(dict(shard.kinds)) for shard in shards}
    return _document(outlook, statistics, choice, sizes)


def _document(
    outlook: Outlook, statistics: Statistics, choice: Choice, sizes: dict[str, Counter[Kind]]
) -> dict[str, Any]:
    unscored = sum(sizes.values(), Counter[Kind]())
    first = {piece.shard: piece for piece in reversed(choice.pieces)}
    planned = sum((sizes[shard] for shard in first), Counter[Kind]())
    reasons = {kind: piece.reason for piece in reversed(choice.pieces) for kind in sizes[piece.shard]}
    cut = shares(statistics)
    return {
        "epoch": outlook.epoch,
        "distance_threshold": statistics.distance_threshold,
        "tightest_threshold": statistics.tightest_threshold,
        "samples": statistics.samples,
        "coverage": statistics.coverage,
        "coverage_tightest": statistics.coverage_tightest,
        "seconds": choice.seconds,
        "kinds": [
            {
                "source": kind.source,
                "kind": kind.name,
                "windows": known.windows,
                "scored": known.scored,
                "gain_per_100": known.gain_per_100,
                "wins": known.wins,
                "gpu_seconds": known.gpu_seconds,
                "filled": known.filled,
                "next_windows": planned[kind],
                "cut_share": cut[kind],
                "why": _why(known, unscored[kind], planned[kind], reasons.get(kind), kind in choice.left),
                "models": [
                    {
                        "weights": model.weights.hex(),
                        "scored": model.scored,
                        "wins": model.wins,
                        "gain_per_100": 100 * model.only / known.scored if known.scored else 0.0,
                        "gpu_seconds": model.gpu_seconds,
                    }
                    for model in known.models
                ],
            }
            for kind, known in statistics.kinds.items()
        ],
        "pieces": [_piece(piece) for piece in choice.pieces],
    }


def _why(known: KindStatistics, unscored: int, planned: int, reason: Reason | None, left: bool) -> str:
    if not unscored:
        return "all scored"
    if left:
        return f"left: 100 more add less than {LEAST_GAIN_PER_100:.2%}"
    if not planned:
        return "beyond the budget"
    if reason is Reason.UNEXPLORED:
        return f"unexplored: {known.scored:.0f} of {EXPLORE_WINDOWS} scored"
    return str(reason)


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "shard": piece.shard,
        "model": "0x" + piece.model_id.hex(),
        "seconds": piece.seconds,
        "gain": piece.gain,
        "why": str(piece.reason),
    }
