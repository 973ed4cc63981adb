"""`train`: wiring of sources, a network's present models and the workshop; on a devnet the whole life of a model."""

import argparse
import asyncio
import importlib.util
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from quickstart.chain.addresses import is_loopback
from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.keys import Wallet
from quickstart.cli.commands import WEIGHTS_CACHE_BYTES, local_executor
from quickstart.cli.model_arguments import DEVNET_STEPS
from quickstart.cli.networks import LOCALNET_PORTS, check_urls
from quickstart.cli.rendering import NOTHING_SENT, print_json, print_result
from quickstart.cli.state import open_state
from quickstart.cli.stopping import INTERRUPTED, stop_on_signals
from quickstart.data.sources import open_sources
from quickstart.data.window import Source
from quickstart.errors import EXIT_DONE, EXIT_FAILED, SettingsError, UsageError
from quickstart.settings import Settings, load_settings
from quickstart.units import SHANNONS_PER_SOMA, format_soma

if TYPE_CHECKING:
    from quickstart.cli.signing import Desk
    from quickstart.trainer.metrics import StepReport
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
    if arguments.json:
        print_json(document)
    elif document.get("dry_run"):
        _print_plan(document)
    elif not document["interrupted"]:
        _print_evaluation(document)
        if "run" in document:
            _print_life(document)
    if document["interrupted"]:
        print(INTERRUPTED, file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


async def _elsewhere(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains against the models of any network, or of none."""
    check_urls(arguments)
    settings = load_settings()
    state = open_state(arguments.state or settings.state)
    rpc_url = arguments.rpc_url or (f"http://127.0.0.1:{LOCALNET_PORTS['rpc']}" if arguments.network else None)
    board = None
    if rpc_url is not None:
        board = await NetworkReader(await connect(Endpoints(rpc_url)), rpc_url).board()
    key = settings.secret_key
    owner = Wallet.parse(key.get_secret_value()).address if key else None
    order = _order(arguments, settings, board, owner)
    if arguments.dry_run:
        return _planned(order)
    made = await _make(arguments, state, order, board, private_hosts=rpc_url is not None and is_loopback(rpc_url))
    return _reached(made, order)


async def _on_devnet(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that happens to a model, on an embedded network whose epochs are ours to end."""
    from quickstart.cli.signing import desk
    from quickstart.submission.board_watch import INDEX_LAG_SECONDS
    from quickstart.submission.opening import first_board
    from quickstart.trainer.office import publish
    from quickstart.trainer.publication import costs, next_step

    settings = load_settings()
    state = open_state(arguments.state or settings.state)
    arguments.devnet = {"faucet_shannons": DEVNET_FAUCET}
    arguments.out = arguments.out or state / "training"
    arguments.steps = arguments.steps or DEVNET_STEPS
    async with desk(arguments, signs=not arguments.dry_run) as at:
        reader = NetworkReader(await connect(at.where.endpoints), at.where.endpoints.rpc)
        board = await first_board(reader, at.where, may_advance=not arguments.dry_run)
        arguments.stake = arguments.stake or int(median(model.stake for model in board.models.values()))
        order = _order(arguments, settings, board, at.wallet.address)
        epoch, models = await reader.own_models(at.wallet.address)
        update = any(model.revealed_key for model in models)
        if arguments.dry_run:
            step = next_step(models, epoch.number, update=update)
            bill = costs(step, arguments.stake, epoch.parameters, update=update)
            return _planned(order) | {
                "step": type(step).__name__.lower(),
                "stake_shannons": bill.stake,
                "fees_shannons": bill.fees,
                "submissions_an_epoch": arguments.max_hits,
            }
        made = await _make(arguments, state, order, board, private_hosts=True)
        document = _reached(made, order)
        if made.product is None:
            return document
        async with at.open_office("train") as office:
            committed = await publish(
                office,
                made.product,
                stake=arguments.stake,
                commission_bps=1_000,
                update=update,
                keep=SHANNONS_PER_SOMA,
                confirm=lambda quote: None,
            )
        assert at.where.advance_epoch is not None
        await at.where.advance_epoch()
        await asyncio.sleep(INDEX_LAG_SECONDS)
        run = await _submit(arguments, settings, at, order.sources)
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


def _planned(order: "Order") -> dict[str, Any]:
    plan, architecture = order.plan, order.architecture
    return {
        "dry_run": True,
        "interrupted": False,
        "out": str(order.folder),
        "start": order.start,
        "steps": plan.steps,
        "windows": plan.steps * plan.batch_sequences * plan.accumulation,
        "device": order.device,
        "from_scratch": asdict(architecture),
        "sources": [source.name for source in order.sources],
    }


def _reached(made: "Made", order: "Order") -> dict[str, Any]:
    """What training came to; of one that was stopped, how far."""
    return {
        "interrupted": made.product is None,
        "out": str(order.folder),
        "step": made.step,
        "steps": order.plan.steps,
        "training_loss": made.loss,
        **made.evaluation,
    }


async def _submit(
    arguments: argparse.Namespace, settings: Settings, at: "Desk", sources: tuple[Source, ...]
) -> dict[str, Any]:
    """A submitting run in which the autopilot reveals, targets are filled, and everything is claimed."""
    from quickstart.cli.progress import ProgressView
    from quickstart.submission.actions import Policy
    from quickstart.submission.premises import Plan
    from quickstart.submission.session import open_session

    plan = Plan(
        policy=Policy(
            lanes=settings.lanes,
            max_hits_per_epoch=arguments.max_hits,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
        ),
        epochs=DEVNET_EPOCHS,
        windows=arguments.windows,
        sources=sources,
        filters=settings.filter_names,
        seed=arguments.seed,
        command="train",
        accepted_versions=settings.accepted_versions,
    )
    executor = local_executor(arguments, at.places.root.parents[2], private_hosts=True)
    with ProgressView(quiet=arguments.json) as view:
        session = await open_session(
            at.where, at.wallet, at.places.root.parents[2], plan, lambda places: at.storage, executor, view.show
        )
        with stop_on_signals(session.stop, view.close):
            return await session.run()


async def _make(
    arguments: argparse.Namespace, state: Path, order: "Order", board: Board | None, *, private_hosts: bool
) -> "Made":
    """Trains and evaluates, in a thread."""
    from quickstart.scoring.download import Downloader
    from quickstart.scoring.engines import create_engine
    from quickstart.scoring.weights_store import WeightsStore
    from quickstart.trainer.workshop import make

    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    store = WeightsStore(state / "weights", WEIGHTS_CACHE_BYTES, Downloader(private_hosts=private_hosts))
    with _TrainingView(quiet=arguments.json) as view, stop_on_signals(stop, view.close):
        return await asyncio.to_thread(make, order, board, store, create_engine(), lambda: stopped, view.show)


def _order(arguments: argparse.Namespace, settings: Settings, board: Board | None, owner: Id32 | None) -> "Order":
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
        owner=owner,
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


def _print_plan(document: dict[str, Any]) -> None:
    print(f"would train {document['steps']} steps, {document['windows']} windows, from {document['start']}")
    print(f"on        {document['device']}, of {', '.join(document['sources'])}")
    print(f"into      {document['out']}")
    if "step" in document:
        stake, fees = format_soma(document["stake_shannons"]), format_soma(document["fees_shannons"])
        print(f"would {document['step']}: stake {stake}, fees {fees}; then reveal, submit and claim")
    print(f"dry run   {NOTHING_SENT}")


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
