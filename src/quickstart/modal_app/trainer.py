"""What a training container does: goes on with a run, evaluates it at its end. It holds no wallet key.

A message says what to train; of what is begun, the run's own folder does. Modal runs the same input again after it
took a container away, and the run goes on from its last checkpoint: the same steps, whoever makes them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quickstart.chain.addresses import is_loopback
from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.errors import UnreachableError, UsageError
from quickstart.modal_app.messages import Message
from quickstart.modal_app.ownership import leave, take_over
from quickstart.modal_app.runs import ORDER, RESULT, number_of, read_json, tidy, write_json
from quickstart.modal_app.spending import Spending, Tariff, today
from quickstart.modal_app.store import Store
from quickstart.modal_app.uploads import names_of, open_uploaded
from quickstart.modal_app.workplace import Shared
from quickstart.settings import load_settings
from quickstart.units import HOURS, SECONDS

if TYPE_CHECKING:
    from quickstart.trainer.metrics import StepReport
    from quickstart.trainer.workshop import Made, Order

log = logging.getLogger(__name__)

HELD_OUT_WINDOWS = 256
LOOK_SECONDS = 10 * SECONDS
LONGEST_SECONDS = 23 * HOURS
"""Modal ends an attempt after 24 hours; the next one goes on."""

FAILED = "failed"
"""Key of the store: (day, why) of a training of the schedule that only a person can mend; it is not tried again on that
day.
"""

CAPPED = "the day's dollars for training are spent (QUICKSTART_TRAINING_DOLLARS_PER_DAY)"
TIME_OVER = "its time is over, the next call goes on"
BATCH = 8
CHECKPOINTS = 10
"""Of a run at least; one every fifty steps in any case."""


@dataclass(frozen=True, slots=True)
class TrainingPlace:
    """What the body uses of Modal. `store`: the training app's part of the Dict; `disarmed`: since when everything is
    stopped, or None. `uploads`: folders of data; `cache`: for other models' weights. `is_at_work`: whether a call waits
    or runs.
    """

    call_id: str
    container: str
    store: Store
    disarmed: Callable[[], str | None]
    is_at_work: Callable[[str], bool]
    runs: Shared
    uploads: Path
    cache: Path
    dollars_per_second: float
    overhead_seconds: float
    look_seconds: float = LOOK_SECONDS


def training_message(
    run: str, *, steps: int, dollars: float, source: str | None, rpc_url: str | None, owner: str | None, stake: int
) -> Message:
    """What `train` is told. `rpc_url`: the network whose models it meets; `owner`: whose own are not among them."""
    return {
        "run": run,
        "steps": steps,
        "dollars": dollars,
        "source": source,
        "rpc_url": rpc_url,
        "owner": owner,
        "stake": stake,
    }


def train(message: Message, place: TrainingPlace) -> Message:
    """Goes on with a run until its end, or until the day's dollars are spent, it is stopped or its time is over.

    Raises:
        UsageError: something a person can mend.
    """
    other = take_over(place.store, place.call_id, place.is_at_work)
    if other is not None:
        return {"skipped": f"{other} is training"}
    try:
        tariff = Tariff(message["dollars"], place.dollars_per_second, place.overhead_seconds)
        watch = _Watch(place, Spending(place.store, tariff, lambda day: None))
        result: Message = {"run": message["run"], "finished": False}
        try:
            if not watch.must_stop():
                result |= _go_on(message, place, watch)
        except UnreachableError:
            raise  # another hour may do better
        except UsageError as error:
            if number_of(message["run"]):  # a run by hand says nothing of the schedule's
                place.store.put(FAILED, (today(), str(error)))
            raise
        watch.look()
        return result | {"stopped_by": watch.reason, "dollars_today": round(watch.spending.dollars, 4)}
    finally:
        leave(place.store, place.call_id)


def _go_on(message: Message, place: TrainingPlace, watch: "_Watch") -> Message:
    """Trains; the result is on the volume before it is told."""
    from quickstart.scoring.download import Downloader
    from quickstart.scoring.engines import create_engine
    from quickstart.scoring.weights_store import WeightsStore
    from quickstart.trainer.workshop import make

    folder = place.runs.folder / message["run"]
    kept = read_json(folder / ORDER)
    if kept is None:
        kept = message | {"folders": names_of(place.uploads)}
        write_json(folder / ORDER, kept)
        tidy(place.runs.folder, message["run"])
    rpc_url = message["rpc_url"]
    board = asyncio.run(_board(rpc_url)) if rpc_url else None
    order = _order({**kept, "stake": message["stake"]}, folder, place.uploads, board)
    downloader = Downloader(private_hosts=rpc_url is not None and is_loopback(rpc_url))
    store = WeightsStore(place.cache, downloader=downloader)
    made = make(order, board, store, create_engine(), watch.must_stop, watch.hear, place.runs.commit)
    result = _told(made, order)
    if made.product is not None:
        write_json(folder / RESULT, result)
        place.runs.commit()
    return result


def _order(kept: Message, folder: Path, uploads: Path, board: Board | None) -> "Order":
    import torch

    from quickstart.scoring.engine import Architecture
    from quickstart.scoring.weights import NETWORK_HEADS, NETWORK_WIDTH
    from quickstart.trainer.plan import TrainingPlan
    from quickstart.trainer.workshop import BEST, SCRATCH, Order

    on_gpu = torch.cuda.is_available()
    return Order(
        plan=TrainingPlan(
            steps=kept["steps"],
            batch_sequences=BATCH if on_gpu else BATCH // 4,
            checkpoint_every=max(1, min(50, kept["steps"] // CHECKPOINTS)),
            seed=number_of(kept["run"]),
            bfloat16=on_gpu,
            checkpointing=on_gpu,  # until it was measured what fits without
            keep=2,
        ),
        sources=open_uploaded(uploads, kept["folders"], kept["source"], load_settings(env_file=None)),
        folder=folder,
        start=BEST if board and board.models else SCRATCH,
        architecture=Architecture(NETWORK_WIDTH, 24, 4 * NETWORK_WIDTH, NETWORK_HEADS),
        windows=HELD_OUT_WINDOWS if on_gpu else HELD_OUT_WINDOWS // 8,
        stake=kept["stake"],
        device="cuda" if on_gpu else "cpu",
        owner=bytes.fromhex(kept["owner"]) if kept["owner"] else None,
    )


def _told(made: "Made", order: "Order") -> Message:
    return {
        "run": order.folder.name,
        "finished": made.product is not None,
        "step": made.step,
        "steps": order.plan.steps,
        "training_loss": made.loss,
        "weights": made.weights.hex() if made.weights else None,
        **made.evaluation,
    }


async def _board(rpc_url: str) -> Board:
    return await NetworkReader(await connect(Endpoints(rpc_url)), rpc_url).board()


@dataclass(slots=True)
class _Watch:
    """Counts what the container costs, and says when to stop; looks every ten seconds."""

    place: TrainingPlace
    spending: Spending
    reason: str | None = None
    _started: float = field(default_factory=time.monotonic)
    _due: float = 0.0
    _stopped_before: str | None = field(init=False)

    def __post_init__(self) -> None:
        self._stopped_before = self.place.disarmed()

    def must_stop(self) -> bool:
        if self.reason is None and time.monotonic() >= self._due:
            self._due = time.monotonic() + self.place.look_seconds
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - Modal's Dict may fail for a moment; the next look counts all
                log.warning("Modal: %s: %s", type(error).__name__, error)
        return self.reason is not None

    def look(self) -> None:
        alive = time.monotonic() - self._started
        self.spending.lived({self.place.container: alive})
        stopped = self.place.disarmed()
        if self.spending.capped:
            self.reason = CAPPED
        elif stopped is not None and stopped != self._stopped_before:
            self.reason = f"stopped ({stopped})"
        elif alive > LONGEST_SECONDS:
            self.reason = TIME_OVER

    def hear(self, report: "StepReport") -> None:
        if report.step == report.steps or time.monotonic() >= self._due:
            log.info("step %d/%d  loss %.3f", report.step, report.steps, report.loss)
