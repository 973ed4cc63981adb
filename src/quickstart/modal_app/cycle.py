"""The submitter's body: one cycle of scoring, submitting and claiming, or a claim alone."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.bank.mirror import mirror
from quickstart.chain.addresses import is_loopback
from quickstart.chain.client import Endpoints
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import Lease
from quickstart.errors import SettingsError, UsageError
from quickstart.executors.base import Executor
from quickstart.executors.modal import ModalExecutor
from quickstart.ledger.snapshots import KeptLedger
from quickstart.modal_app.attendant import Attendant
from quickstart.modal_app.names import DISARMED
from quickstart.modal_app.ownership import at_work, leave, take_over
from quickstart.modal_app.prices import container_dollars_per_second
from quickstart.modal_app.requests import StoreRequests, post, take_answer, withdraw
from quickstart.modal_app.spending import Spending, Tariff
from quickstart.modal_app.workplace import TESTNET_RPC, Workplace, trusting_private_hosts
from quickstart.settings import S3Settings, Settings, load_settings
from quickstart.submission.actions import Policy
from quickstart.submission.premises import Network, Places, Plan, Premises
from quickstart.submission.requests import CLAIM, POLL_SECONDS
from quickstart.submission.s3_lease import bucket_lease
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.session import open_session
from quickstart.units import HOURS

log = logging.getLogger(__name__)

SOFT_DEADLINE_SECONDS = 23 * HOURS
"""A run ends by itself an hour before Modal would end it; the next firing goes on."""

MANY_EPOCHS = 1_000
LARGEST_SHARD = 2048
"""Windows of a shard: a few minutes of an L4, so that a container taken away loses little."""
SHARDS_PER_CONTAINER = 4

CUT = "windows"
"""Keys of the store that begin with this and a slash: the windows of that call are cut."""

WALLET_NAMES = ("SOMA_SECRET_KEY", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")


def shard_windows(windows: int, containers: int) -> int:
    """Windows per shard: some shards for every container, none too large. At least one."""
    return max(1, min(LARGEST_SHARD, -(-windows // (containers * SHARDS_PER_CONTAINER))))


def run_cycle(workplace: Workplace, *, until_exhausted: bool) -> dict[str, Any]:
    """One cycle. `until_exhausted`: ends when nothing is left to do, instead of waiting for new targets.

    Returns the run's summary, or `skipped` and why.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    settings = load_settings(*WALLET_NAMES, env_file=None)
    store = workplace.store
    stopped = store.get(DISARMED, None)
    if stopped is not None and not until_exhausted:
        return {"skipped": f"stopped ({stopped}); `uv run submit` or `uv run deploy` starts it again"}
    other = take_over(store, workplace.call_id, workplace.is_at_work)
    if other is not None:
        return {"skipped": f"{other} is at work"}
    try:
        if settings.gpu_dollars_per_day:
            _cut_windows(workplace, settings)
        policy = Policy(
            lanes=settings.lanes,
            max_hits_per_epoch=None,
            bond_cap=settings.bond_cap_shannons,
            gas_cap=settings.gas_cap_shannons,
            patient=not until_exhausted,
        )
        plan = Plan(
            policy,
            1 if until_exhausted else MANY_EPOCHS,
            windows=0,
            sources=(),
            command="cycle on Modal",
            accepted_versions=settings.accepted_versions,
        )
        return _run(workplace, settings, plan, stopped)
    finally:
        leave(store, workplace.call_id)


def run_claim(workplace: Workplace) -> dict[str, Any]:
    """Claims: through the cycle at work if there is one, else here.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    settings = load_settings(*WALLET_NAMES, env_file=None)
    store = workplace.store
    stopped = store.get(DISARMED, None)
    while (other := take_over(store, workplace.call_id, workplace.is_at_work)) is not None:
        answer = _ask(workplace, other)
        if answer is not None:
            return {"asked": other, "interrupted": False, **answer}
    try:
        policy = Policy(settings.lanes, 0, gas_cap=settings.gas_cap_shannons, scoring=False)
        plan = Plan(
            policy,
            0,
            windows=0,
            sources=(),
            command="claim on Modal",
            accepted_versions=settings.accepted_versions,
        )
        return _run(workplace, settings, plan, stopped)
    finally:
        leave(store, workplace.call_id)


def _ask(workplace: Workplace, other: str) -> dict[str, Any] | None:
    """Hands a claim to the call at work and follows it; None when that ended first."""
    name = post(workplace.store, CLAIM)
    try:
        while (answer := take_answer(workplace.store, name)) is None:
            if at_work(workplace.store, workplace.is_at_work) != other:
                return None
            time.sleep(POLL_SECONDS)
        return answer
    finally:
        withdraw(workplace.store, name)


def _cut_windows(workplace: Workplace, settings: Settings) -> None:
    """New windows for this cycle, once, also when the call was interrupted and started again."""
    slot = f"{CUT}/{workplace.call_id}"
    if workplace.store.get(slot, None) is not None:
        return
    wanted = settings.windows_per_run
    message = {"wanted": wanted, "shard_windows": shard_windows(wanted, settings.max_containers), "seed": 0}
    answer = workplace.cut_windows(message).get()
    if "failed" in answer:
        log.warning("no new windows: %s", answer["failed"])
    workplace.store.put(slot, answer)


def _run(workplace: Workplace, settings: Settings, plan: Plan, disarmed: object = None) -> dict[str, Any]:
    """Opens what Modal has, and runs the session; inside it Modal is only talked to from threads."""
    bucket = settings.s3
    if bucket is None or settings.secret_key is None:
        raise SettingsError("missing: the bucket or the key; run `uv run create-secrets`")
    wallet = Wallet.parse(settings.secret_key.get_secret_value())
    if settings.rpc_url and is_loopback(settings.rpc_url):
        workplace = replace(workplace, remote=trusting_private_hosts(workplace.remote))
    price = container_dollars_per_second(settings.gpus, workplace.scorer_cores, workplace.scorer_memory_gib)
    tariff = Tariff(float(settings.gpu_dollars_per_day), price, workplace.overhead_seconds)
    spending = Spending(workplace.store, tariff)
    storage = S3Storage(bucket)
    try:
        with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as state:
            workplace.ledgers.reload()
            run = _Run(
                workplace,
                plan,
                wallet,
                bucket,
                storage,
                Path(state),
                spending,
                settings.max_containers,
                disarmed,
            )
            result = asyncio.run(run.session(Endpoints(settings.rpc_url or TESTNET_RPC)))
    finally:
        storage.close()
    return result | {"gpu": {"dollars_today": round(spending.dollars, 4), "cap": tariff.dollars_per_day}}


class _Run:
    """One session, wired to the workplace."""

    def __init__(
        self,
        workplace: Workplace,
        plan: Plan,
        wallet: Wallet,
        bucket: S3Settings,
        storage: S3Storage,
        state: Path,
        spending: Spending,
        containers: int,
        disarmed: object,
    ) -> None:
        self._workplace = workplace
        self._plan = plan
        self._wallet = wallet
        self._bucket = bucket
        self._storage = storage
        self._state = state
        self._disarmed = disarmed
        self._requests = StoreRequests(workplace.store)
        self._spending = spending
        self._containers = containers
        self._room = spending.shards_left if plan.policy.scoring else 0

    async def session(self, endpoints: Endpoints) -> dict[str, Any]:
        """The run to its end."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end(_: str) -> None:
            loop.call_soon_threadsafe(ended.set)

        attendant = Attendant(
            self._workplace.store,
            self._workplace.call_id,
            self._requests,
            SOFT_DEADLINE_SECONDS,
            self._disarmed,
            end,
        )
        session = await open_session(
            Network("testnet", endpoints),
            self._wallet,
            self._state,
            self._plan,
            lambda _: self._storage,
            self._executor,
            attendant.show,
            Premises(self._lease, self._ledger, lambda _: self._requests),
        )
        await asyncio.to_thread(self._take_in, session.places)
        with attendant:
            stopping = asyncio.create_task(_when(ended, session.stop))
            try:
                return await session.run()
            finally:
                stopping.cancel()

    def _lease(self, places: Places, command: str) -> Lease:
        """In the bucket, where a laptop that runs the same wallet looks too."""
        return bucket_lease(self._bucket, places, command)

    def _executor(self, places: Places) -> Executor:
        return ModalExecutor(
            self._workplace.remote,
            self._workplace.store,
            self._spending,
            self._containers,
            self._room,
            lambda: self._take_in(places),
        )

    def _ledger(self, places: Places) -> KeptLedger:
        """The wallet's ledger on this machine, taken up from the volume and kept there."""
        snapshot = self._workplace.ledgers.folder / places.ledger.relative_to(self._state)
        return KeptLedger(places.ledger, snapshot, self._workplace.ledgers.commit)

    def _take_in(self, places: Places) -> None:
        """Brings the bank on this machine up to the one on the volume."""
        self._workplace.bank.reload()
        mirror(self._workplace.bank.folder, places.bank)


async def _when(event: asyncio.Event, then: Callable[[], None]) -> None:
    await event.wait()
    then()


def told(error: UsageError) -> dict[str, Any]:
    """A failure a person can mend, as a result: in the cloud a run ends in order, with that line in its log."""
    log.error("error: %s", error)
    return {"error": str(error), "exit_code": error.exit_code}
