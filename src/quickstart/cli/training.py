"""`train`: wiring of sources, a network's present models and the workshop; on a devnet the whole life of a model."""

import argparse
import asyncio
import importlib.util
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.ids import format_id
from quickstart.cli.commands import WEIGHTS_CACHE_BYTES, local_executor
from quickstart.cli.model_arguments import DEVNET_STEPS
from quickstart.cli.rendering import print_json, print_result
from quickstart.cli.state import open_state
from quickstart.cli.stopping import INTERRUPTED, stop_on_signals
from quickstart.data.sources import open_sources
from quickstart.errors import EXIT_DONE, EXIT_FAILED, SettingsError, UsageError
from quickstart.settings import Settings, load_settings
from quickstart.units import SHANNONS_PER_SOMA, format_soma

if TYPE_CHECKING:
    from quickstart.cli.releases import Desk
    from quickstart.trainer.training import StepReport
    from quickstart.trainer.workshop import Made, Order

DEVNET_FAUCET = 2_500 * SHANNONS_PER_SOMA
"""So that a stake beside the devnet's own models, of 1,000 SOMA each, can be paid."""

DEVNET_EPOCHS = 2
PLAIN_EVERY_SECONDS = 5.0


def run_train(arguments: argparse.Namespace) -> int:
    """Trains; on a devnet commits, reveals, submits and claims too."""
    if importlib.util.find_spec("torch") is None:
        raise SettingsError("training needs torch: install the extra with `uv sync --extra scorer`")
    if arguments.network is None and arguments.out is None:
        raise UsageError("say where the run is kept: --out DIR")
    if arguments.network is None and arguments.steps is None:
        raise UsageError("say how long to train: --steps N")
    if arguments.network == "devnet":
        document = asyncio.run(_on_devnet(arguments))
    else:
        document = asyncio.run(_elsewhere(arguments))
    if document["interrupted"]:
        print(INTERRUPTED, file=sys.stderr)
        return EXIT_FAILED
    if arguments.json:
        print_json(document)
    else:
        _print_evaluation(document)
        if "run" in document:
            _print_life(document)
    return EXIT_DONE


async def _elsewhere(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains against the models of any network, or of none."""
    settings = load_settings()
    state = open_state(arguments.state or settings.state)
    rpc_url = arguments.rpc_url or ("http://127.0.0.1:9000" if arguments.network else None)
    board = None
    if rpc_url is not None:
        board = await NetworkReader(await connect(Endpoints(rpc_url)), rpc_url).board()
    made, interrupted = await _make(arguments, settings, state, board)
    return {"interrupted": interrupted, "out": str(arguments.out), **made.evaluation}


async def _on_devnet(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that happens to a model, on an embedded network whose epochs are ours to end."""
    from quickstart.cli.releases import desk
    from quickstart.submission.board_watch import INDEX_LAG_SECONDS
    from quickstart.submission.opening import first_board
    from quickstart.trainer.office import publish

    settings = load_settings()
    state = open_state(arguments.state or settings.state)
    arguments.devnet = {"faucet_shannons": DEVNET_FAUCET}
    arguments.out = arguments.out or state / "training"
    arguments.steps = arguments.steps or DEVNET_STEPS
    async with desk(arguments, publishes=True) as at:
        reader = NetworkReader(await connect(at.where.endpoints), at.where.endpoints.rpc)
        board = await first_board(reader, at.where, may_advance=True)
        arguments.stake = arguments.stake or int(median(model.stake for model in board.models.values()))
        made, interrupted = await _make(arguments, settings, state, board)
        document = {"interrupted": interrupted, "out": str(arguments.out), **made.evaluation}
        if interrupted:
            return document
        async with at.open_office("train") as office:
            _, models = await office.reader.own_models(at.wallet.address)
            committed = await publish(
                office,
                made.product,
                stake=arguments.stake,
                commission_bps=1_000,
                update=any(model.revealed_key for model in models),
                keep=SHANNONS_PER_SOMA,
                confirm=lambda quote: None,
            )
        assert at.where.advance_epoch is not None
        await at.where.advance_epoch()
        await asyncio.sleep(INDEX_LAG_SECONDS)
        run = await _submit(arguments, settings, at)
        document["interrupted"] = run["interrupted"]
        board = await reader.board()
        assigned = sum(committed.model_id in target.model_ids for target in board.targets.values())
        return document | {
            "model": format_id(committed.model_id),
            "commit_epoch": committed.epoch,
            "active": committed.model_id in board.models,
            "assigned": {"targets": assigned, "of": len(board.targets)},
            "wins": _wins(at, committed.model_id),
            "run": run,
        }


async def _submit(arguments: argparse.Namespace, settings: Settings, at: "Desk") -> dict[str, Any]:
    """A submitting run in which the autopilot reveals, targets are filled, and everything is claimed."""
    from quickstart.cli.progress import ProgressView
    from quickstart.submission.actions import Policy
    from quickstart.submission.premises import Plan
    from quickstart.submission.session import open_session

    plan = Plan(
        policy=Policy(lanes=settings.lanes, max_hits_per_epoch=arguments.max_hits),
        epochs=DEVNET_EPOCHS,
        windows=arguments.windows,
        sources=open_sources(arguments.source, settings),
        seed=arguments.seed,
        command="train",
    )
    executor = local_executor(arguments, at.places.root.parents[2], private_hosts=True)
    with ProgressView(quiet=arguments.json) as view:
        session = await open_session(
            at.where, at.wallet, at.places.root.parents[2], plan, lambda places: at.storage, executor, view.show
        )
        with stop_on_signals(session.stop, view.close):
            return await session.run()


async def _make(
    arguments: argparse.Namespace, settings: Settings, state: Path, board: Board | None
) -> tuple["Made", bool]:
    """Trains and evaluates; whether it was interrupted."""
    from quickstart.scoring.download import Downloader
    from quickstart.scoring.engines import create_engine
    from quickstart.scoring.weights_store import WeightsStore
    from quickstart.trainer.workshop import make

    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    downloader = Downloader(private_hosts=arguments.network is not None)
    store = WeightsStore(state / "weights", WEIGHTS_CACHE_BYTES, downloader)
    order = _order(arguments, settings, board)
    with _TrainingView(quiet=arguments.json) as view, stop_on_signals(stop, view.close):
        made = await make(order, board, store, create_engine(), lambda: stopped, view.show)
    return made, not made.finished


def _order(arguments: argparse.Namespace, settings: Settings, board: Board | None) -> "Order":
    import torch

    from quickstart.scoring.engine import Architecture
    from quickstart.scoring.weights import NETWORK_HEADS, NETWORK_WIDTH, SMALL_HEADS
    from quickstart.trainer.plan import TrainingPlan
    from quickstart.trainer.workshop import BEST, SCRATCH, Order

    width = arguments.width
    heads = NETWORK_HEADS if width == NETWORK_WIDTH else SMALL_HEADS
    if width % (2 * heads):
        raise UsageError(f"--width {width} does not divide into {heads} heads of an even size")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    least = board.epoch.parameters.model_min_stake if board else SHANNONS_PER_SOMA
    return Order(
        plan=TrainingPlan(
            steps=arguments.steps or DEVNET_STEPS,
            batch_sequences=arguments.batch,
            accumulation=arguments.accumulate,
            learning_rate=arguments.learning_rate,
            warmup_steps=arguments.warmup,
            seed=arguments.seed,
            bfloat16=arguments.bf16,
            checkpointing=arguments.checkpointing,
            checkpoint_every=arguments.checkpoint_every,
            keep=arguments.keep,
        ),
        sources=open_sources(arguments.source, settings),
        folder=arguments.out,
        start=arguments.start or (BEST if board and board.models else SCRATCH),
        architecture=Architecture(width, arguments.layers, arguments.feed_forward or 4 * width, heads),
        windows=arguments.held_out,
        stake=arguments.stake or least,
        device=automatic if arguments.device == "auto" else arguments.device,
    )


def _wins(at: "Desk", model_id: bytes) -> int:
    """Fills of ours that our own model won, by the ledger."""
    from contextlib import closing

    from quickstart.ledger.ledger import Ledger
    from quickstart.ledger.records import IntentKind

    with closing(Ledger(at.places.ledger)) as ledger:
        landed = ledger.landed(IntentKind.SUBMIT)
    return sum(intent.details["model"] == format_id(model_id) for intent, _ in landed)


class _TrainingView:
    """A progress bar on a terminal, a line every few seconds elsewhere; nothing when `quiet`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._due = 0.0

    def __enter__(self) -> "_TrainingView":
        if not self._quiet and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def show(self, report: "StepReport") -> None:
        text = f"loss {report.loss:.3f}  {report.bytes_per_second / 1024:.0f} KiB/s"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=report.steps)
            self._bar.update(self._task, completed=report.step, description=text)
        elif not self._quiet and (time.monotonic() >= self._due or report.step == report.steps):
            self._due = time.monotonic() + PLAIN_EVERY_SECONDS
            print(f"step {report.step}/{report.steps}  {text}", flush=True)


def _print_evaluation(document: dict[str, Any]) -> None:
    print("held-out windows: kind, windows, won, loss, best present model")
    for kind in document["kinds"]:
        rival = "-" if kind["best_rival"] is None else f"{kind['best_rival']:.3f}"
        print(f"  {kind['kind']:>8}  {kind['windows']:4}  {kind['share']:4.0%}  {kind['loss']:.3f}  {rival}")
    for one in document["outlook"].values():
        print(
            f"stake {format_soma(one['stake'])}: assigned to {one['assigned']:.0%} of targets, wins {one['won']:.1%} "
            f"of fills, {format_soma(one['reward_per_epoch'])} an epoch of {one['fills']} fills"
        )
    print(f"written to {document['out']}")


def _print_life(document: dict[str, Any]) -> None:
    assigned = document["assigned"]
    print(f"model     {document['model']}, committed in epoch {document['commit_epoch']}")
    print(f"assigned  {assigned['targets']} of {assigned['of']} open targets; it won {document['wins']} of our fills")
    income = document["run"]["books"]["items"].get("reward_model", 0)
    print(f"owner     {format_soma(income)} for the model's wins")
    print_result(document["run"])
