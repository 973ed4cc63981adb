"""The Modal app that owns a model: trains on a GPU, publishes what has become better, reveals in its epoch.

    uv run modal run src/quickstart/training.py --steps 500    one training run with live progress
    uv run modal run src/quickstart/training.py::devnet        a model's whole life on an embedded network; no wallet
    uv run modal deploy src/quickstart/training.py             from then on by itself, every epoch

Wiring only: what the functions do is in `quickstart.modal_app`.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import modal

from quickstart.errors import EXIT_FAILED, EXIT_USAGE, SettingsError, UnreachableError, UsageError
from quickstart.modal_app import images, names
from quickstart.settings import load_settings
from quickstart.units import HOURS, MINUTES

if TYPE_CHECKING:
    from quickstart.modal_app.workplace import Shared

TRAINING, BANK, LEDGERS = Path("/soma-training"), Path("/soma-bank"), Path("/soma-ledger")
LOGS = Path("/soma-logs")
SOURCES = BANK / "sources"
"""Folders that people upload: `modal volume put soma-bank FOLDER /sources/NAME`."""

TRAINER_CORES, TRAINER_MEMORY_GIB = 4.0, 32
"""A model of the network's size is 4.8 GB, twice in memory while it is exported."""

STARTUP_SECONDS = 60
"""What a container costs before it can count: its start, and torch's."""

TRIAL_GPU = "L4"
BY_HAND_DOLLARS = 5.0

GPUS_NAME = "QUICKSTART_TRAINING_GPU"


def _gpus() -> list[str]:
    """GPU types from the settings of whoever deploys; in a container those of the deployment, which it is told."""
    try:
        settings = load_settings() if modal.is_local() else load_settings(env_file=None)
    except SettingsError as error:
        if not modal.is_local():  # its own functions say what is wrong with the secrets
            return ["H100"]
        sys.stderr.write(f"error: {error}\n")  # `modal deploy` imports this file: one line, and nothing is deployed
        sys.exit(EXIT_USAGE)
    return list(settings.training_gpus)


GPUS = _gpus()
DEPLOYED: dict[str, str | None] = {GPUS_NAME: ",".join(GPUS)}

app = modal.App(names.TRAINING_APP)

training_volume = modal.Volume.from_name(names.TRAINING_VOLUME, create_if_missing=True, version=2)
bank_volume = modal.Volume.from_name(names.BANK_VOLUME, create_if_missing=True, version=2)
ledger_volume = modal.Volume.from_name(names.LEDGER_VOLUME, create_if_missing=True, version=2)
log_volume = modal.Volume.from_name(names.LOG_VOLUME, create_if_missing=True, version=2)
state = modal.Dict.from_name(names.DICT, create_if_missing=True)
secrets = modal.Secret.from_name(
    names.SECRETS, required_keys=["SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]
)
data_secret = modal.Secret.from_name(names.DATA_SECRET)


@app.function(
    name=names.TRAIN,
    image=images.gpu,
    gpu=GPUS,
    env=DEPLOYED,
    secrets=[data_secret],
    cpu=TRAINER_CORES,
    memory=TRAINER_MEMORY_GIB * 1024,
    volumes={
        str(TRAINING): training_volume,
        str(BANK): bank_volume.with_mount_options(read_only=True),
        str(LOGS): log_volume,
    },
    max_containers=1,
    single_use_containers=True,
    timeout=int(24 * HOURS),
    startup_timeout=int(15 * MINUTES),
    retries=modal.Retries(max_retries=3, initial_delay=60.0, backoff_coefficient=1.0),
)
def train(message: dict[str, Any]) -> dict[str, Any]:
    """Goes on with a run, or begins it. It parses what strangers published, and holds no wallet key."""
    import os

    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import told
    from quickstart.modal_app.store import Section
    from quickstart.modal_app.trainer import TrainingPlace
    from quickstart.modal_app.trainer import train as body

    _start_log()
    call_id = modal.current_function_call_id()
    assert call_id is not None  # this runs inside a function call only
    with TemporaryDirectory() as cache:
        place = TrainingPlace(
            call_id=call_id,
            container=os.environ.get("MODAL_TASK_ID", ""),
            store=Section(state, names.TRAINING),
            disarmed=lambda: state.get(names.DISARMED, None),
            is_at_work=_is_at_work,
            runs=_shared(TRAINING, training_volume),
            uploads=SOURCES,
            cache=Path(cache),
            dollars_per_second=_dollars_per_second(),
            overhead_seconds=STARTUP_SECONDS,
        )
        with own_failures():
            try:
                return body(message, place)
            except UsageError as error:
                return told(error)


@app.function(
    name=names.TEND,
    image=images.cpu,
    env=DEPLOYED,
    secrets=[secrets],
    cpu=0.25,
    memory=(1024, 8 * 1024),
    volumes={
        str(TRAINING): training_volume.with_mount_options(read_only=True),
        str(LEDGERS): ledger_volume,
        str(LOGS): log_volume,
    },
    schedule=modal.Cron("20 * * * *"),
    max_containers=1,
    single_use_containers=True,
    timeout=int(30 * MINUTES),
    startup_timeout=int(5 * MINUTES),
)
def tend() -> dict[str, Any]:
    """Once an hour: starts training, publishes what it came to. At 02:20 the submitter does not sign, and it has gone
    when that begins again at 03:00.
    """
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import told
    from quickstart.modal_app.tending import TendingPlace
    from quickstart.modal_app.tending import tend as body

    _start_log()
    place = TendingPlace(
        store=state,
        train=train.spawn,
        is_at_work=_is_at_work,
        runs=_shared(TRAINING, training_volume),
        ledgers=_shared(LEDGERS, ledger_volume),
        dollars_per_second=_dollars_per_second(),
        training_key=names.TRAINING,
    )
    with own_failures():
        try:
            return body(place)
        except UsageError as error:
            return told(error)


@app.function(
    name=names.REVEAL,
    image=images.cpu,
    secrets=[secrets],
    cpu=0.25,
    memory=(512, 4 * 1024),
    volumes={str(LEDGERS): ledger_volume, str(LOGS): log_volume},
    schedule=modal.Cron("7,22,37,52 * * * *"),
    max_containers=1,
    single_use_containers=True,
    timeout=int(7 * MINUTES),
    startup_timeout=int(5 * MINUTES),
)
def reveal() -> dict[str, Any]:
    """Every quarter of an hour: reveals what is due."""
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import told
    from quickstart.modal_app.reveals import reveal as body

    _start_log()
    with own_failures():
        try:
            return body(_shared(LEDGERS, ledger_volume))
        except UnreachableError:
            raise  # a call that failed is seen on Modal's page
        except UsageError as error:
            return told(error)


@app.function(
    image=images.trial,
    gpu=TRIAL_GPU,
    volumes={str(LOGS): log_volume},
    cpu=2.0,
    memory=8 * 1024,
    max_containers=1,
    single_use_containers=True,
    timeout=int(20 * MINUTES),
)
def devnet(steps: int = 40, windows: int = 120) -> None:
    """A small model's whole life on an embedded network in this container: train, commit, reveal, win, claim."""
    from quickstart.cli.model_arguments import train_parser
    from quickstart.cli.training import run_train

    _start_log()
    with TemporaryDirectory() as folder:
        options = ["--network=devnet", f"--state={folder}", f"--steps={steps}", f"--windows={windows}", "--workers=1"]
        options += ["--batch=4", "--held-out=24"]
        if run_train(train_parser().parse_args(options)):
            raise RuntimeError("it was interrupted")


@app.local_entrypoint()
def run(steps: int = 500, dollars: float = BY_HAND_DOLLARS, name: str = "by-hand", source: str = "") -> None:
    """One training run with live progress; the same name goes on with it. Published is nothing."""
    from quickstart.chain.keys import Wallet
    from quickstart.modal_app.trainer import training_message
    from quickstart.modal_app.workplace import TESTNET_RPC

    settings = load_settings()
    key = settings.secret_key
    message = training_message(
        name,
        steps=steps,
        dollars=dollars,
        source=source or settings.source,
        rpc_url=settings.rpc_url or TESTNET_RPC,
        owner=Wallet.parse(key.get_secret_value()).address.hex() if key else None,
        stake=settings.model_stake_shannons,
    )
    result = train.remote(message)
    sys.stdout.write(json.dumps(result, indent=2, default=str) + "\n")
    if "error" in result:
        sys.exit(int(result["exit_code"]))
    if not result.get("finished"):
        sys.exit(EXIT_FAILED)
    sys.stdout.write(
        f"to publish it: `uv run modal volume get {names.TRAINING_VOLUME} {name}`, `uv run publish {name}`\n"
    )


def _dollars_per_second() -> float:
    from quickstart.modal_app.prices import container_dollars_per_second

    return container_dollars_per_second(GPUS, TRAINER_CORES, TRAINER_MEMORY_GIB)


def _shared(folder: Path, volume: modal.Volume) -> "Shared":
    from quickstart.modal_app.workplace import Shared

    return Shared(folder, volume.reload, volume.commit)


def _is_at_work(call_id: str) -> bool:
    """Whether a function call waits or runs."""
    from quickstart.modal_app.account import has_ended

    return not has_ended(modal.FunctionCall.from_id(call_id))


def _start_log() -> None:
    from quickstart.modal_app.events import start_log

    start_log(LOGS)
