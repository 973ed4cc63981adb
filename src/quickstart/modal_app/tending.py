"""The life of our own model on Modal, an hour at a time: train, publish what has become better, train again.

Nothing of it is remembered but what lies on volume and chain: what to do next follows from them (`decide`). Reveals
have a schedule of their own (`modal_app.reveals`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from quickstart.chain.board import Epoch
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.own_models import ModelState, OwnModel
from quickstart.errors import LeaseHeldError, UsageError
from quickstart.modal_app.account import Call
from quickstart.modal_app.cycle import WALLET_NAMES
from quickstart.modal_app.messages import Message
from quickstart.modal_app.names import DISARMED
from quickstart.modal_app.own_office import Owner, own_office
from quickstart.modal_app.runs import Run, latest_run, next_name
from quickstart.modal_app.spending import Spending, Tariff, today
from quickstart.modal_app.store import Section, Store
from quickstart.modal_app.trainer import CAPPED, FAILED, training_message
from quickstart.modal_app.workplace import Shared
from quickstart.settings import load_settings
from quickstart.trainer.office import publish
from quickstart.trainer.products import read_product
from quickstart.trainer.publication import Create, next_step
from quickstart.trainer.vault import Release, releases_in
from quickstart.units import SHANNONS_PER_SOMA, format_soma

log = logging.getLogger(__name__)

STARTED = "started"
COMMISSION_BPS = 1_000
KEEP = SHANNONS_PER_SOMA
"""Left in the wallet for gas and bonds when a model is staked."""


@dataclass(frozen=True, slots=True)
class Train:
    """Go on with a run, or begin it."""

    name: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Commit what a run came to; `update`: for the model that is active."""

    run: Run
    update: bool


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str


Action: TypeAlias = Train | Publish | Wait


@dataclass(frozen=True, slots=True)
class Situation:
    """What `decide` looks at. `run`: the newest; `is_published`: its model is on the chain, revealed or to be.
    `at_work`: the training call that waits or runs; `failed`: why one came to nothing today. `stake`: shannons that
    may be staked on a first model.
    """

    disarmed: str | None
    at_work: str | None
    failed: str | None
    is_capped: bool
    run: Run | None
    is_published: bool
    models: tuple[OwnModel, ...]
    epoch: Epoch
    stake: int


def decide(now: Situation) -> Action:
    """What to do in this hour. Pure. A finished run comes first: the GPU waits, an epoch does not."""
    if now.disarmed is not None:
        return Wait(f"stopped ({now.disarmed}); `uv run submit` or `uv run deploy` starts it again")
    if now.at_work is not None:
        return Wait(f"{now.at_work} is training")
    run = now.run
    if run is not None and run.is_better and not now.is_published:
        return _publishing(run, now)
    if now.failed is not None:
        return Wait(f"training failed today: {now.failed}")
    if now.is_capped:
        return Wait(CAPPED)
    return Train(next_name(run) if run is None or run.result is not None else run.name)


def _publishing(run: Run, now: Situation) -> Action:
    update = any(model.state is ModelState.ACTIVE for model in now.models)
    try:
        step = next_step(now.models, now.epoch.number, update=update)
    except UsageError as error:
        return Wait(str(error))
    least = now.epoch.parameters.model_min_stake
    if isinstance(step, Create) and now.stake < least:
        return Wait(
            f"{run.name} is ready to be a first model, which stakes at least {format_soma(least)}: set "
            "QUICKSTART_MODEL_STAKE and run `uv run create-secrets`, or publish it yourself: "
            f"`uv run modal volume get soma-training {run.name}`, then `uv run publish {run.name}`"
        )
    return Publish(run, update)


def is_published(weights: Id32 | None, releases: Iterable[Release], models: Sequence[OwnModel]) -> bool:
    """Whether these weights wait for their reveal or are in play, by what the vault knows of the keys on the chain. An
    update whose reveal was missed is neither: it is published again if no later run has begun, else that one makes up
    for it.
    """
    keys = {model.revealed_key for model in models} | {model.pending.key for model in models if model.pending}
    return any(release.weights == weights and release.key_commitment in keys for release in releases)


@dataclass(frozen=True, slots=True)
class TendingPlace:
    """What the body uses of Modal. `store`: the whole Dict; `train`: starts training and returns at once. `is_at_work`:
    whether a call waits or runs.
    """

    store: Store
    train: Callable[[Message], Call]
    is_at_work: Callable[[str], bool]
    runs: Shared
    ledgers: Shared
    dollars_per_second: float
    training_key: str

    @property
    def training(self) -> Section:
        return Section(self.store, self.training_key)


def tend(place: TendingPlace) -> dict[str, Any]:
    """One look, and what follows from it.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    settings = load_settings(*WALLET_NAMES, env_file=None)
    owner = Owner.of(settings)
    dollars = float(settings.training_dollars_per_day)
    place.runs.reload()
    place.ledgers.reload()
    run = latest_run(place.runs.folder)
    tariff = Tariff(dollars, place.dollars_per_second, 0.0)
    epoch, models, releases = asyncio.run(_look(owner, place.ledgers))
    day, reason = place.training.get(FAILED, ("", ""))
    action = decide(
        Situation(
            disarmed=place.store.get(DISARMED, None),
            at_work=_at_work(place),
            failed=reason if day == today() else None,
            is_capped=Spending(place.training, tariff, lambda day: None).capped,
            run=run,
            is_published=run is not None and is_published(run.weights, releases, models),
            models=models,
            epoch=epoch,
            stake=settings.model_stake_shannons,
        )
    )
    match action:
        case Wait(reason):
            log.info("%s", reason)
            return {"waiting": reason}
        case Train(name):
            stake = max((model.stake for model in models if model.state is ModelState.ACTIVE), default=0)
            message = training_message(
                name,
                steps=settings.training_steps,
                dollars=dollars,
                source=settings.source,
                rpc_url=owner.endpoints.rpc,
                owner=owner.wallet.address.hex(),
                stake=stake or max(settings.model_stake_shannons, epoch.parameters.model_min_stake),
            )
            call = place.train(message)
            place.training.put(STARTED, call.object_id)
            log.info("%s goes on as %s", name, call.object_id)
            return {"training": name, "call": call.object_id}
        case Publish(finished, update):
            return asyncio.run(_publish(owner, place, finished, settings.model_stake_shannons, update=update))


def _at_work(place: TendingPlace) -> str | None:
    for key in ("running", STARTED):
        call_id = place.training.get(key, None)
        if call_id is not None and place.is_at_work(call_id):
            return str(call_id)
    return None


async def _look(owner: Owner, ledgers: Shared) -> tuple[Epoch, tuple[OwnModel, ...], tuple[Release, ...]]:
    rpc_url = owner.endpoints.rpc
    epoch, models = await NetworkReader(await connect(owner.endpoints), rpc_url).own_models(owner.wallet.address)
    places = await owner.places(ledgers.folder)
    return epoch, models, tuple(releases_in(places.vault, owner.wallet.secret))


async def _publish(owner: Owner, place: TendingPlace, run: Run, stake: int, *, update: bool) -> dict[str, Any]:
    """Commits what a run came to. While somebody else signs for the wallet, as the submitter does for most of a day,
    it waits: until two o'clock, or for the next hour.
    """
    product = read_product(run.folder)
    try:
        async with own_office(owner, place.ledgers, "publish on Modal") as office:
            committed = await publish(
                office,
                product,
                stake=stake,
                commission_bps=COMMISSION_BPS,
                update=update,
                keep=0 if update else KEEP,
                confirm=lambda quote: log.info("publishing %s: %s", run.name, quote),
            )
    except LeaseHeldError as held:
        return {"waiting": str(held)}
    log.info("committed model %s in epoch %d", format_id(committed.model_id), committed.epoch)
    return {"committed": format_id(committed.model_id), "epoch": committed.epoch, "run": run.name}
