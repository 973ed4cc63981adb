"""The Modal app: scorers on GPUs, weights and windows on CPUs, the submitter on a schedule, and a claim.

    uv run modal run src/quickstart/submitter.py       one run with live progress, ends by itself
    uv run modal deploy src/quickstart/submitter.py    from then on every day at 03:00 UTC

Wiring only: what the functions do is in `quickstart.modal_app`.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import modal

from quickstart.errors import EXIT_USAGE, NetworkError, SettingsError, UsageError
from quickstart.modal_app import images, names
from quickstart.modal_app.prices import SCORER_CORES, SCORER_MEMORY_GIB
from quickstart.settings import load_settings
from quickstart.units import GIB, HOURS, MINUTES

if TYPE_CHECKING:
    from quickstart.modal_app.workplace import Shared, Workplace

BANK, WEIGHTS, LEDGERS = Path("/soma-bank"), Path("/soma-weights"), Path("/soma-ledger")
LOGS = Path("/soma-logs")
SOURCES = BANK / "sources"
"""Folders that people upload: `modal volume put soma-bank FOLDER /sources/NAME`."""

WEIGHTS_BYTES = 250 * GIB
"""Decrypted weights kept on the volume: some fifty models of the network's size."""

SUBMITTER_CORES = 0.25
SUBMITTER_MEMORY_MIB = (1024, 16 * 1024)
"""Asked for, and at most; beyond the first, what is used is paid for. With three models 20,000 windows take 0.6 GB and
100,000 take 2.3 GB: the bank, mapped, and what the matcher makes of it.
"""

SCORER_TIMEOUT = 10 * MINUTES
SCALEDOWN_SECONDS = 60
STARTUP_SECONDS = 60


DEPLOYED_GPUS, DEPLOYED_CONTAINERS = "DEPLOYED_GPUS", "DEPLOYED_CONTAINERS"


def _deployment() -> tuple[list[str], int]:
    """GPU types and number of scorers, from the settings of whoever deploys. A container reads this file again, with
    another environment: there they are what `deployed` says, where it is given.
    """
    if not modal.is_local():
        return os.environ.get(DEPLOYED_GPUS, "L4").split(","), int(os.environ.get(DEPLOYED_CONTAINERS, "1"))
    try:
        settings = load_settings()
    except SettingsError as error:  # `modal deploy` imports this file: one line, and nothing is deployed
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_USAGE)
    return list(settings.gpus), settings.max_containers


GPUS, MAX_CONTAINERS = _deployment()

app = modal.App(names.APP)

bank_volume = modal.Volume.from_name(names.BANK_VOLUME, create_if_missing=True, version=2)
weights_volume = modal.Volume.from_name(names.WEIGHTS_VOLUME, create_if_missing=True, version=2)
ledger_volume = modal.Volume.from_name(names.LEDGER_VOLUME, create_if_missing=True, version=2)
log_volume = modal.Volume.from_name(names.LOG_VOLUME, create_if_missing=True, version=2)
"""Not for the scorers: what they have to tell comes back with their results."""
state = modal.Dict.from_name(names.DICT, create_if_missing=True)
WALLET_VOLUMES: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    str(BANK): bank_volume.with_mount_options(read_only=True),
    str(LEDGERS): ledger_volume,
    str(LOGS): log_volume,
}
secrets = modal.Secret.from_name(
    names.SECRETS, required_keys=["SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]
)
data_secret = modal.Secret.from_name(names.DATA_SECRET)
deployed = modal.Secret.from_dict({DEPLOYED_GPUS: ",".join(GPUS), DEPLOYED_CONTAINERS: str(MAX_CONTAINERS)})
"""No secret: what the submitter counts dollars with must be what was deployed, not what `.env` said later."""


@app.cls(
    image=images.gpu,
    gpu=GPUS,
    cpu=SCORER_CORES,
    memory=SCORER_MEMORY_GIB * 1024,
    volumes={str(BANK): bank_volume, str(WEIGHTS): weights_volume.with_mount_options(read_only=True)},
    max_containers=MAX_CONTAINERS,
    scaledown_window=SCALEDOWN_SECONDS,
    timeout=int(SCORER_TIMEOUT),
    startup_timeout=int(15 * MINUTES),
    retries=modal.Retries(max_retries=2, initial_delay=1.0),
    block_network=True,
)
class Scorer:
    """Scores shards. No secret, no network: it parses what strangers published."""

    @modal.enter()
    def start(self) -> None:
        from functools import partial

        from quickstart.modal_app.account import own_failures
        from quickstart.modal_app.attempts import note
        from quickstart.modal_app.scorer import ScoringPlace, Volumes
        from quickstart.scoring.engines import create_engine

        _start_log()
        volumes = Volumes(BANK, WEIGHTS, bank_volume.reload, weights_volume.reload, bank_volume.commit)
        container = os.environ.get("MODAL_TASK_ID", "")
        with own_failures():
            self._place: ScoringPlace = ScoringPlace(volumes, create_engine("auto"), container, partial(note, state))

    @modal.method()
    def score(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._place.score(message, modal.current_function_call_id() or "")


@app.function(
    name=names.WEIGHTS,
    image=images.cpu,
    cpu=2.0,
    memory=4 * 1024,
    volumes={str(WEIGHTS): weights_volume, str(LOGS): log_volume},
    max_containers=2,
    timeout=int(1 * HOURS),
    retries=modal.Retries(max_retries=2, initial_delay=5.0),
)
def fetch_weights(message: dict[str, Any]) -> dict[str, Any]:
    """Downloads, checks and decrypts one model's weights into the volume."""
    from quickstart.modal_app.weights import put_weights

    _start_log()
    return put_weights(message, _shared(WEIGHTS, weights_volume), WEIGHTS_BYTES)


@app.function(
    name=names.WINDOWS,
    image=images.cpu,
    secrets=[data_secret],
    cpu=1.0,
    memory=2 * 1024,
    volumes={str(BANK): bank_volume, str(LOGS): log_volume},
    max_containers=1,
    timeout=int(1 * HOURS),
    retries=modal.Retries(max_retries=2, initial_delay=5.0),
)
def cut_windows(message: dict[str, Any]) -> dict[str, Any]:
    """Cuts new windows into shards on the volume: from uploaded folders and the named source, else from Python's own
    library. What was cut before trouble came, or the time was over, is kept."""
    from quickstart.modal_app.cutting import cut

    _start_log()
    return cut(message, _shared(BANK, bank_volume), SOURCES)


@app.function(
    name=names.SUBMITTER,
    image=images.cpu,
    secrets=[secrets, deployed],
    cpu=SUBMITTER_CORES,
    memory=SUBMITTER_MEMORY_MIB,
    volumes=WALLET_VOLUMES,
    schedule=modal.Cron(f"0 {names.FIRING_HOUR} * * *"),
    max_containers=1,
    single_use_containers=True,
    timeout=int(24 * HOURS),
    startup_timeout=int(10 * MINUTES),
    retries=modal.Retries(max_retries=3, initial_delay=60.0),
)
def cycle(until_exhausted: bool = False) -> dict[str, Any]:
    """A day of submitting. With `until_exhausted` it ends when nothing is left to do."""
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import run_cycle, told

    _start_log()
    with own_failures():
        try:
            return run_cycle(_workplace(), until_exhausted=until_exhausted)
        except UsageError as error:
            return told(error)


@app.function(
    name=names.CLAIM,
    image=images.cpu,
    secrets=[secrets, deployed],
    cpu=SUBMITTER_CORES,
    memory=SUBMITTER_MEMORY_MIB,
    volumes=WALLET_VOLUMES,
    max_containers=1,
    single_use_containers=True,
    timeout=int(1 * HOURS),
)
def claim() -> dict[str, Any]:
    """Claims everything claimable, or has the cycle at work do it."""
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import run_claim, told

    _start_log()
    with own_failures():
        try:
            return run_claim(_workplace())
        except UsageError as error:
            return told(error)


@app.function(
    name=names.UPKEEP,
    image=images.cpu,
    secrets=[secrets, deployed],
    cpu=SUBMITTER_CORES,
    memory=SUBMITTER_MEMORY_MIB,
    volumes=WALLET_VOLUMES,
    max_containers=1,
    single_use_containers=True,
    timeout=int(1 * HOURS),
)
def upkeep(what: str, dry_run: bool = False) -> dict[str, Any]:
    """Makes the ledger on the volume again from chain and bucket, or removes published windows that are claimed."""
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import WALLET_NAMES, told
    from quickstart.modal_app.upkeep import run_upkeep

    _start_log()
    with own_failures():
        try:
            return run_upkeep(_workplace(), load_settings(*WALLET_NAMES, env_file=None), what, dry_run=dry_run)
        except UsageError as error:
            return told(error)


@app.function(
    name=names.WATCH,
    image=images.cpu,
    secrets=[secrets, deployed],
    cpu=0.125,
    memory=512,
    volumes={str(LEDGERS): ledger_volume, str(LOGS): log_volume},
    schedule=modal.Cron("*/30 * * * *"),
    max_containers=1,
    timeout=int(10 * MINUTES),
)
def watch() -> dict[str, Any]:
    """Looks at schedule, wallet and chain, and tells a person what needs one."""
    from quickstart.modal_app.account import own_failures
    from quickstart.modal_app.cycle import WALLET_NAMES, told
    from quickstart.modal_app.watch import run_watch

    _start_log()
    with own_failures():
        try:
            return run_watch(_workplace(), load_settings(*WALLET_NAMES, env_file=None))
        except UsageError as error:
            return told(error)


@app.local_entrypoint()
def run() -> None:
    """One run with live progress, which ends by itself."""
    result = cycle.remote(until_exhausted=True)
    sys.stdout.write(json.dumps(result, indent=2, default=str) + "\n")
    if "error" in result:
        sys.exit(int(result["exit_code"]))


def _workplace() -> "Workplace":
    from quickstart.executors.modal import Remote
    from quickstart.modal_app.account import has_ended
    from quickstart.modal_app.workplace import Workplace

    call_id = modal.current_function_call_id()
    if call_id is None:
        raise RuntimeError("this runs inside a function call only")
    return Workplace(
        call_id=call_id,
        store=state,
        remote=Remote(fetch_weights.spawn, Scorer().score.spawn, modal.FunctionCall.from_id),
        cut_windows=cut_windows.spawn,
        is_at_work=lambda call_id: not has_ended(modal.FunctionCall.from_id(call_id)),
        gpu_dollars_billed=_gpu_dollars_billed,
        bank=_shared(BANK, bank_volume),
        ledgers=_shared(LEDGERS, ledger_volume),
        gpus=tuple(GPUS),
        containers=MAX_CONTAINERS,
        scorer_cores=SCORER_CORES,
        scorer_memory_gib=SCORER_MEMORY_GIB,
        overhead_seconds=STARTUP_SECONDS + SCALEDOWN_SECONDS,
    )


def _shared(folder: Path, volume: modal.Volume) -> "Shared":
    from quickstart.modal_app.workplace import Shared

    return Shared(folder, volume.reload, volume.commit)


def _gpu_dollars_billed(day: str) -> float:
    """What Modal has billed our app for GPUs on a day, in whole hours, some of them perhaps still to come.

    Raises:
        NetworkError: it does not say.
    """
    from quickstart.modal_app.billing import gpu_dollars

    try:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
        rows = modal.Workspace.from_context().billing.report(start=start, resolution="h")
    except (modal.exception.Error, OSError) as error:
        raise NetworkError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    return gpu_dollars(rows, app.app_id)


def _start_log() -> None:
    from quickstart.modal_app.events import start_log

    start_log(LOGS)
