"""`niches`: the present models on what the wallet's bank has scored, as a table and a plot."""

import argparse
import asyncio
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from quickstart.bank import Bank, BankView
from quickstart.bank.view import Rows
from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import Id32, format_id
from quickstart.charts import bar_chart
from quickstart.cli.networks import network, settings_for, wallet_for
from quickstart.cli.rendering import print_json
from quickstart.cli.state import open_state
from quickstart.errors import EXIT_DONE, StateError, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.submission.premises import Places
from quickstart.trainer.batches import kind_of
from quickstart.trainer.evaluation import Floats
from quickstart.trainer.niches import Niche, Scored, holdings, niches
from quickstart.units import format_soma

MOST_WINDOWS = 5_000
PLOTTED = 10
COLUMNS = ("kind", "windows", "best loss", "zlib", "weakness", "lead", "nearby", "assigned")


def run_niches(arguments: argparse.Namespace) -> int:
    """Prints the table; needs a bank that a run has filled."""
    document = asyncio.run(_niches(arguments))
    if arguments.json:
        print_json(document)
    else:
        _print(document)
    return EXIT_DONE


async def _niches(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = settings_for(arguments, publishes=False)
    state = open_state(arguments.state or settings.state)
    wallet = wallet_for(arguments, settings, state)
    async with network(arguments, settings, state, wallet) as where:
        reader = NetworkReader(await connect(where.endpoints), where.endpoints.rpc)
        board = await reader.board()
        places = Places.of(state, await service_info(where.endpoints.rpc), wallet)
    scored, model_ids = _scored(places, board)
    parameters = board.epoch.parameters
    models = {model.model_id: (model.stake, model.embedding) for model in board.models.values()}
    stake = arguments.stake or parameters.model_min_stake
    found = niches(scored, models, stake, parameters.target_models_per_target)
    if arguments.plot is not None:
        try:
            arguments.plot.write_text(_plot(found))
        except OSError as error:
            raise UsageError(f"--plot {arguments.plot} cannot be written ({error.strerror})") from error
    return {
        "windows": len(scored.data),
        "stake_shannons": stake,
        "niches": [asdict(niche) | {"weakness": niche.weakness} for niche in found],
        "models": [
            asdict(one) | {"model_id": format_id(one.model_id)}
            for one in holdings(scored, model_ids, models, parameters.target_models_per_target)
        ],
    }


def _scored(places: Places, board: Board) -> tuple[Scored, list[Id32]]:
    """The bank's windows that every present model it knows has scored; up to 5,000, the newest.

    Raises:
        UsageError: there is none.
    """
    remedy = "score some first: `uv run submit` with the same network and state"
    if not places.ledger.exists():
        raise UsageError(f"this wallet has no bank of scores yet: {remedy}")
    with closing(Ledger(places.ledger)) as ledger:
        names = ledger.weights_names()
    bank = Bank(places.bank)
    known = {model_id: names[model.weights_id] for model_id, model in board.models.items() if model.weights_id in names}
    view = bank.view(tuple(known.values()))
    rows = np.flatnonzero(view.scored(tuple(known.values())))[-MOST_WINDOWS:] if known else np.empty(0, np.int64)
    if not rows.size:
        raise UsageError(f"the bank has no window that the present models have scored: {remedy}")
    windows = [bank.window(row) for row in rows.tolist()]
    losses = np.stack([view.models[name].losses[rows] for name in known.values()])
    embeddings = _winners(view, list(known.values()), rows, losses.argmin(axis=0))
    kinds = [kind_of(window) for window in windows]
    return Scored(losses, embeddings, kinds, [window.data for window in windows]), list(known)


def _winners(view: BankView, names: list[Id32], rows: Rows, winner: Rows) -> Floats:
    """Each window's embedding by its best model, float32 (n, width)."""
    width = view.models[names[0]].width
    out = np.empty((len(rows), width), np.float32)
    for number, name in enumerate(names):
        chosen = np.flatnonzero(winner == number)
        if view.models[name].width != width:
            raise StateError("the present models have several widths; nothing can be compared")
        part = np.empty((len(chosen), width), np.float32)
        if chosen.size:
            view.models[name].gather(rows[chosen], part)
        out[chosen] = part
    return out


def _plot(found: tuple[Niche, ...]) -> str:
    bars = {niche.kind: {"best present model": niche.loss, "zlib": niche.zlib} for niche in _most_seen(found)}
    return bar_chart("Where the present models are weak", "nats per byte", bars)


def _most_seen(found: tuple[Niche, ...]) -> list[Niche]:
    """The kinds with most windows, the weakest first."""
    kept = {niche.kind for niche in sorted(found, key=lambda niche: -niche.windows)[:PLOTTED]}
    return [niche for niche in found if niche.kind in kept]


def _print(document: dict[str, Any]) -> None:
    print(f"{document['windows']} windows that all present models have scored; losses in nats per byte")
    print("".join(f"{name:>11}" for name in COLUMNS))
    for one in document["niches"]:
        print(
            f"{one['kind'][:10]:>11}{one['windows']:>11}{one['loss']:>11.3f}{one['zlib']:>11.3f}"
            f"{one['weakness']:>11.2f}{one['lead']:>11.3f}{one['nearby']:>11.1%}{one['assigned']:>11.1%}"
        )
    print(f"assigned: share of targets that {format_soma(document['stake_shannons'])} would get with its embedding")
    for one in document["models"]:
        print(
            f"model {one['model_id'][:18]}…  stake {format_soma(one['stake'])}, assigned to {one['assigned']:.0%} of "
            f"targets, best on {one['won']:.0%} of windows"
        )
