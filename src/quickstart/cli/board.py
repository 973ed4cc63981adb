"""`board`: the network as it stands, and where the wallet's bank has gaps."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstart.bank import Bank
from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.identity import service_info
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.charts import line_chart, scatter_chart
from quickstart.cli.board_text import print_board
from quickstart.cli.networks import checked_url, network, settings_for, wallet_for
from quickstart.cli.rendering import print_json
from quickstart.desk.atlas import MOST_POINTS, Atlas, atlas
from quickstart.desk.standing import Holding, Standing, standing, winners
from quickstart.errors import EXIT_DONE, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import EpochReport
from quickstart.modal_app.workplace import TESTNET_RPC
from quickstart.settings import Settings, load_settings
from quickstart.submission.premises import Places

TARGETS, BANK, MODELS = "targets", "bank", "models"


@dataclass(frozen=True, slots=True)
class Seat:
    """Where the network is looked at from. `wallet`: None where there is no key; then there is no bank."""

    url: str
    state: Path
    wallet: Wallet | None


@asynccontextmanager
async def seat(arguments: argparse.Namespace) -> AsyncIterator[Seat]:
    """The network that the arguments name, by default the public one, for reading: no key is needed there.

    Raises:
        UsageError: what `settings_for` finds, or nothing answers.
    """
    if arguments.network or (arguments.local and not arguments.rpc_url):
        settings = settings_for(arguments, publishes=False)
        state = arguments.state or settings.state
        wallet = wallet_for(arguments, settings, state)
        async with network(arguments, settings, state, wallet) as where:
            yield Seat(where.endpoints.rpc, state, wallet)
        return
    settings = load_settings()
    given = None if arguments.rpc_url is None else checked_url("rpc_url", arguments.rpc_url)
    yield Seat(given or settings.rpc_url or TESTNET_RPC, arguments.state or settings.state, _wallet(settings))


def run_board(arguments: argparse.Namespace) -> int:
    """Prints it; with `--plots` also draws it."""
    shown, picture = asyncio.run(_look(arguments))
    if arguments.plots is not None:
        _draw(arguments.plots, shown, picture)
    if arguments.json:
        print_json(_document(shown, picture))
    else:
        print_board(shown, picture)
    return EXIT_DONE


async def _look(arguments: argparse.Namespace) -> tuple[Standing, Atlas]:
    async with seat(arguments) as where:
        reader = NetworkReader(await connect(Endpoints(where.url)), where.url)
        board, filled = await reader.board(), await reader.filled()
        history: tuple[EpochReport, ...] = ()
        holding: Holding | None = None
        if where.wallet is not None:
            places = Places.of(where.state, await service_info(where.url), where.wallet)
            history, holding = _holding(places, board)
    owner = where.wallet.address if where.wallet is not None else None
    return standing(board, filled, history, holding, owner), _atlas(board, holding)


def _holding(places: Places, board: Board) -> tuple[tuple[EpochReport, ...], Holding | None]:
    """The wallet's past, and its bank; nothing where it has not run here."""
    if not places.ledger.exists():
        return (), None
    with closing(Ledger(places.ledger)) as ledger:
        names, history = ledger.weights_names(), ledger.epoch_reports()
    weights = {i: names[model.weights_id] for i, model in board.models.items() if model.weights_id in names}
    return history, Holding(Bank(places.bank).view(tuple(weights.values())), weights)


def _atlas(board: Board, holding: Holding | None) -> Atlas:
    """Directions of targets and models, and of what the bank holds."""
    width = board.width
    groups = {
        TARGETS: [target.embedding for target in board.targets.values()],
        BANK: list(winners(holding.view, holding.weights.values(), MOST_POINTS)) if holding else [],
        MODELS: [model.embedding for model in board.models.values()],
    }
    fitting = {name: [one for one in group if one.shape == (width,)] for name, group in groups.items()}
    return atlas({name: np.array(group, np.float32).reshape(-1, width) for name, group in fitting.items()})


def _wallet(settings: Settings) -> Wallet | None:
    return Wallet.parse(settings.secret_key.get_secret_value()) if settings.secret_key is not None else None


def _draw(folder: Path, shown: Standing, picture: Atlas) -> None:
    """Raises UsageError where the folder cannot be written."""
    across, up = (f"component {number} ({share:.0%} of all variance)" for number, share in enumerate(picture.shares, 1))
    points = {name: [(float(x), float(y)) for x, y in group] for name, group in picture.points.items()}
    past = [(float(point.epoch), point.distance_threshold) for point in shown.history]
    plots = {
        "map.svg": scatter_chart("Directions", across, up, points),
        "coverage.svg": line_chart(
            "Coverage of random targets", "distance threshold", "share", {"bank": shown.curve} if shown.curve else {}
        ),
        "thresholds.svg": line_chart("Difficulty", "epoch", "distance threshold", {"new targets": past}),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in plots.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise UsageError(f"--plots {folder} cannot be written ({error.strerror}); name another folder") from error


def _document(shown: Standing, picture: Atlas) -> dict[str, Any]:
    """Ready for JSON: ids as text, gaps added."""
    document: dict[str, Any] = _texts(asdict(shown))
    for target, row in zip(shown.targets, document["targets"], strict=True):
        row["gap"] = target.gap
    points = {name: [[float(x), float(y)] for x, y in group] for name, group in picture.points.items()}
    return {**document, "fillable": shown.fillable, "map": {"shares": list(picture.shares), "points": points}}


def _texts(value: Any) -> Any:
    if isinstance(value, bytes):
        return format_id(value)
    if isinstance(value, Mapping):
        return {name: _texts(one) for name, one in value.items()}
    return [_texts(one) for one in value] if isinstance(value, list | tuple) else value
