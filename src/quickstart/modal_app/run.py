"""One run on Modal: a session wired to volumes, the store, the bucket, and the scorers."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.bank.mirror import mirror
from quickstart.chain.addresses import is_loopback
from quickstart.chain.client import Endpoints
from quickstart.chain.keys import Wallet
from quickstart.errors import SettingsError
from quickstart.executors.base import Executor
from quickstart.executors.modal import ModalExecutor
from quickstart.modal_app import names
from quickstart.modal_app.account import described
from quickstart.modal_app.attendant import Attendant
from quickstart.modal_app.billing import Bill
from quickstart.modal_app.premises import volume_premises
from quickstart.modal_app.prices import container_dollars_per_gpu_dollar, container_dollars_per_second
from quickstart.modal_app.requests import StoreRequests
from quickstart.modal_app.spending import Spending, Tariff
from quickstart.modal_app.workplace import TESTNET_RPC, Workplace, trusting_private_hosts
from quickstart.settings import S3Settings, Settings
from quickstart.submission.premises import Network, Places, Plan
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.session import open_session
from quickstart.units import HOURS, MINUTES

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 10 * MINUTES


def working_seconds(now: float) -> float:
    """How long a run works that is started or started again at `now` (seconds since 1970): to an hour before the next
    firing, which goes on, so that what is in flight has come back by then; 23 hours at most, since Modal allows 24.
    """
    since_firing = (now - names.FIRING_HOUR * HOURS) % (24 * HOURS)
    return min(23 * HOURS, max(SHORTEST_SECONDS, (23 * HOURS - since_firing) % (24 * HOURS)))


def run_session(workplace: Workplace, settings: Settings, plan: Plan, stopped: str | None) -> dict[str, Any]:
    """Opens what Modal has, and runs the session; inside it Modal is only talked to from threads.

    `stopped`: what the store said of a stop before we began; only a later one ends this run.

    Raises:
        UsageError: something a person can mend; nothing was sent.
    """
    bucket = settings.s3
    if bucket is None or settings.secret_key is None:
        raise SettingsError("missing: the bucket or the key; run `uv run create-secrets`")
    wallet = Wallet.parse(settings.secret_key.get_secret_value())
    if settings.rpc_url and is_loopback(settings.rpc_url):
        workplace = replace(workplace, remote=trusting_private_hosts(workplace.remote))
    bill = Bill(
        workplace.gpu_dollars_billed,
        container_dollars_per_gpu_dollar(workplace.gpus, workplace.scorer_cores, workplace.scorer_memory_gib),
    )
    spending = Spending(workplace.store, tariff(workplace, settings), bill.dollars)
    storage = S3Storage(bucket)
    try:
        with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as state:
            run = _Run(
                workplace=workplace,
                plan=plan,
                wallet=wallet,
                bucket=bucket,
                storage=storage,
                state=Path(state),
                requests=StoreRequests(workplace.store),
                spending=spending,
                containers=workplace.containers,
                room=spending.shards_left if plan.policy.scoring else 0,
                stopped=stopped,
            )
            result = asyncio.run(run.session(Endpoints(settings.rpc_url or TESTNET_RPC)))
    finally:
        storage.close()
    return result | {"gpu": gpu_costs(spending)}


def gpu_costs(spending: Spending) -> dict[str, float | None] | None:
    """What GPUs cost, or None where Modal does not say: a run has a result all the same."""
    try:
        return spending.summary()
    except Exception as error:  # noqa: BLE001 - whatever Modal's Dict raises
        log.warning("what GPUs cost today is not known: %s", described(error))
        return None


def tariff(workplace: Workplace, settings: Settings) -> Tariff:
    """The day's cap as the settings have it, the prices of the GPUs that are deployed."""
    price = container_dollars_per_second(workplace.gpus, workplace.scorer_cores, workplace.scorer_memory_gib)
    return Tariff(float(settings.gpu_dollars_per_day), price, workplace.overhead_seconds)


@dataclass(frozen=True, slots=True)
class _Run:
    """What one session works with. `room`: scoring calls that the day's dollars allow when it begins."""

    workplace: Workplace
    plan: Plan
    wallet: Wallet
    bucket: S3Settings
    storage: S3Storage
    state: Path
    requests: StoreRequests
    spending: Spending
    containers: int
    room: int
    stopped: str | None

    async def session(self, endpoints: Endpoints) -> dict[str, Any]:
        """The run to its end."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end(_: str) -> None:
            loop.call_soon_threadsafe(ended.set)

        workplace = self.workplace
        attendant = Attendant(
            workplace.store,
            workplace.call_id,
            self.requests,
            working_seconds(time.time()),
            self.stopped,
            end,
            is_cycle=self.plan.epochs > 0,
        )
        premises = volume_premises(self.bucket, workplace.ledgers, self.state)
        session = await open_session(
            Network("testnet", endpoints),
            self.wallet,
            self.state,
            self.plan,
            lambda _: self.storage,
            self._executor,
            attendant.show,
            replace(premises, requests=lambda _: self.requests),
        )
        await asyncio.to_thread(self._take_in, session.places)
        with attendant:
            stopping = asyncio.create_task(_when(ended, session.stop))
            try:
                return await session.run()
            finally:
                stopping.cancel()

    def _executor(self, places: Places) -> Executor:
        return ModalExecutor(
            self.workplace.remote,
            self.workplace.store,
            self.spending,
            self.containers,
            self.room,
            lambda: self._take_in(places),
        )

    def _take_in(self, places: Places) -> None:
        """Brings the bank on this machine up to the one on the volume."""
        self.workplace.bank.reload()
        mirror(self.workplace.bank.folder, places.bank)


async def _when(event: asyncio.Event, then: Callable[[], None]) -> None:
    await event.wait()
    then()
