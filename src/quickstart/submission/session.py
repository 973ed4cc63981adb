"""One run for one wallet on one network, from opening the ledger to closing the books.

Everything that differs between a laptop, a devnet and Modal comes in as arguments: where the network is, where
scoring runs, where bytes are published, who may end an epoch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickstart.bank import Bank
from quickstart.bank.filling import add_new_windows
from quickstart.chain.board import Board
from quickstart.chain.client import Endpoints, NetworkReader, connect
from quickstart.chain.coins import CoinPool
from quickstart.chain.identity import ServiceInfo, service_info
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import FileLease, Lease
from quickstart.data.filters import FilterCounts
from quickstart.data.window import WINDOW_BYTES, Source
from quickstart.errors import FundsError, UsageError
from quickstart.executors.base import Executor
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.actions import Policy
from quickstart.submission.board_watch import INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.driver import EPOCH_OVER, INTERRUPTED, TICK_SECONDS, Driver
from quickstart.submission.fills import record_settled
from quickstart.submission.outbox import Outbox
from quickstart.submission.progress import Reporter
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.reconcile import reconcile
from quickstart.submission.requests import RequestBox, Requests
from quickstart.submission.scoring_books import ScoringBooks
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.submission.storage import Publisher, Storage, public_client
from quickstart.submission.summary import summary
from quickstart.units import format_soma

log = logging.getLogger(__name__)

SHARD_WINDOWS = 40
"""Windows per unit of scoring: about a second of one core with the small models."""

SETTLING_EPOCHS = 2
"""A fill of epoch E is claimable from E + 2 on."""

AdvanceEpoch = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Network:
    """Where to run. `advance_epoch` and `faucet` exist on networks of our own; None elsewhere."""

    name: str
    endpoints: Endpoints
    advance_epoch: AdvanceEpoch | None = None
    faucet: Callable[[], Awaitable[int]] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `windows`: new windows to score in this run; `epochs`: epochs of submitting, 0 to claim only."""

    policy: Policy
    epochs: int
    windows: int
    sources: tuple[Source, ...]
    seed: int = 0
    command: str = "submit"
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one wallet on one chain."""

    root: Path

    @classmethod
    def of(cls, state: Path, info: ServiceInfo, wallet: Wallet) -> "Places":
        safe = "".join(c for c in info.chain_id if c.isalnum())[:32] or "unknown"
        return cls(state / "networks" / safe / wallet.address.hex())

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def bank(self) -> Path:
        return self.root / "bank"

    @property
    def lease(self) -> Path:
        return self.root / "lease"

    @property
    def requests(self) -> RequestBox:
        return RequestBox(self.root / "requests")


def _file_lease(places: Places, command: str) -> Lease:
    return FileLease(places.lease, command)


def _ledger_file(places: Places) -> AbstractContextManager[Ledger]:
    return closing(Ledger(places.ledger))


def _request_folder(places: Places) -> Requests:
    return places.requests


@dataclass(frozen=True, slots=True)
class Premises:
    """What stands where, by default all in the wallet's folder on this machine.

    `lease`: made for a command, entered before anything else. `ledger`: opens the books, and closes them at the end of
    the run. `requests`: where other commands leave what they want done.
    """

    lease: Callable[[Places, str], Lease] = _file_lease
    ledger: Callable[[Places], AbstractContextManager[Ledger]] = _ledger_file
    requests: Callable[[Places], Requests] = _request_folder


@dataclass(slots=True)
class Session:
    """An open run. Use `run`; `stop` ends it early, losing nothing."""

    network: Network
    wallet: Wallet
    places: Places
    plan: Plan
    info: ServiceInfo
    storage: Storage
    make_executor: Callable[[Places], Executor]
    report: Reporter
    premises: Premises = field(default_factory=Premises)
    _driver: Driver | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        self._stopped = True
        if self._driver is not None:
            self._driver.stop()

    async def run(self) -> dict[str, Any]:
        """Runs to the end and returns what to tell: counts, epochs, money, books (`summary`).

        Raises:
            UsageError: something a person can mend; nothing was sent.
        """
        with ExitStack() as stack:
            lease = self.premises.lease(self.places, self.plan.command)
            await asyncio.to_thread(stack.enter_context, lease)  # it may have to wait for a silent holder
            ledger = stack.enter_context(self.premises.ledger(self.places))
            reader = NetworkReader(await connect(self.network.endpoints), self.network.endpoints.rpc)
            board = await self._first_board(reader)
            writer = LedgerWriter(ledger)
            lanes = Lanes(self.network.endpoints, self.plan.policy.lanes)
            outbox = Outbox(self.wallet, lease, writer, lanes, reader, CoinPool(ledger.coins()), record_settled)
            recovered = await outbox.recover()
            if recovered:
                log.info("%d transactions of an earlier run settled", len(recovered))
                await asyncio.sleep(INDEX_LAG_SECONDS)
            await self._open_books(reader, writer, outbox, board)
            desk, counts = await self._open_desk(stack, ledger)
            client = stack.enter_context(public_client())
            self._driver = Driver(
                owner=self.wallet.address,
                reader=reader,
                watch=BoardWatch(reader, board),
                desk=desk,
                publishing=PublishingDesk(Publisher(self.storage, client), writer),
                outbox=outbox,
                writer=writer,
                requests=self.premises.requests(self.places),
                report=self.report,
            )
            if self._stopped:
                self._driver.stop()
            try:
                await self._run_epochs(self._driver)
            finally:
                await self._driver.close()
            return await self._result(board, reader, ledger, desk, counts)

    async def rehearse(self) -> dict[str, Any]:
        """Scores and matches like `run`, but has no outbox and publishes nothing: it cannot sign or send."""
        with ExitStack() as stack:
            ledger = Ledger(self.places.ledger)
            stack.callback(ledger.close)
            reader = NetworkReader(await connect(self.network.endpoints), self.network.endpoints.rpc)
            board = await self._first_board(reader)
            desk, counts = await self._open_desk(stack, ledger)
            books = ScoringBooks(ledger, desk)
            while not self._stopped:
                books.collect()
                await desk.match(board, self.wallet.address)
                work = desk.unscored(board)
                if not work and not desk.running and not desk.surveying:
                    break
                for item in work[: desk.room]:
                    desk.start(item, board)
                await asyncio.sleep(TICK_SECONDS)
            candidates = await desk.match(board, self.wallet.address)
            return {
                "dry_run": True,
                "network": self.network.name,
                "chain_id": self.info.chain_id,
                "address": format_id(self.wallet.address),
                "epoch": board.epoch.number,
                "interrupted": self._stopped,
                "windows": {"new": counts.passed, "in_bank": desk.view().n, "scored": desk.windows_scored},
                "open_targets": len(board.targets),
                "would_submit": len(candidates),
            }

    async def _open_desk(self, stack: ExitStack, ledger: Ledger) -> tuple[ScoringDesk, FilterCounts]:
        """The bank with this run's windows in it, and what scores them."""
        bank = Bank(self.places.bank)
        counts = await asyncio.to_thread(fill_bank, bank, self.plan)
        executor = stack.enter_context(self.make_executor(self.places))
        seed = scoring_seed(self.plan.seed, self.wallet.address)
        desk = ScoringDesk(bank, executor, ledger.weights_names(), ledger.scoring(), seed)
        stack.callback(desk.close)
        return desk, counts

    async def _first_board(self, reader: NetworkReader) -> Board:
        board = await reader.board()
        advance_epoch = None if self.plan.dry_run else self.network.advance_epoch
        if advance_epoch is not None and not board.targets and board.models:
            await advance_epoch()
            await asyncio.sleep(INDEX_LAG_SECONDS)
            board = await reader.board()
        refuse_other_width(board, self.network.endpoints.rpc)
        return board

    async def _open_books(self, reader: NetworkReader, writer: LedgerWriter, outbox: Outbox, board: Board) -> None:
        """Coins as the chain has them; a faucet's coins where there is one and we need some."""
        owner = self.wallet.address
        coins = await reconcile(reader, writer, owner, board.epoch.number)
        needed = board.epoch.parameters.submission_cost(WINDOW_BYTES)
        if sum(coin.balance for coin in coins) < needed * self.plan.policy.lanes and self.network.faucet:
            await self.network.faucet()
            await asyncio.sleep(INDEX_LAG_SECONDS)
            coins = await reconcile(reader, writer, owner, board.epoch.number)
        balance = sum(coin.balance for coin in coins)
        if self.plan.epochs and balance < needed and not writer.ledger.bond_outstanding():
            raise FundsError(
                f"{format_id(owner)} holds {format_soma(balance)}, one submission needs {format_soma(needed)} "
                "for bond and fees: send SOMA to that address"
            )
        outbox.pool = CoinPool(coins)

    async def _run_epochs(self, driver: Driver) -> None:
        """Epochs of submitting, then as many of claiming as it takes, where we may end epochs."""
        submitting, claiming = self.plan.policy, claims_only(self.plan.policy)
        rounds = [submitting] * self.plan.epochs or [claiming]
        if self.plan.epochs and self.network.advance_epoch is not None:
            rounds += [claiming] * SETTLING_EPOCHS
        reason = ""
        for number, policy in enumerate(rounds):
            if number and self.network.advance_epoch is not None:
                await self.network.advance_epoch()
                await driver.await_epoch()
            elif number and reason != EPOCH_OVER:
                await driver.await_epoch()
            reason = await driver.run_epoch(policy)
            if reason == INTERRUPTED:
                return

    async def _result(
        self, board: Board, reader: NetworkReader, ledger: Ledger, desk: ScoringDesk, counts: FilterCounts
    ) -> dict[str, Any]:
        await asyncio.sleep(INDEX_LAG_SECONDS)
        assert self._driver is not None
        current = self._driver.board
        result = summary(ledger, since_epoch=board.epoch.number, current_epoch=current.epoch.number)
        on_chain = sum(coin.balance for coin in await reader.coins(self.wallet.address))
        result["books"] |= {
            "chain_shannons": on_chain,
            "difference_shannons": result["books"]["ledger_shannons"] - on_chain,
        }
        threshold = current.epoch.distance_threshold
        return {
            "network": self.network.name,
            "chain_id": self.info.chain_id,
            "address": format_id(self.wallet.address),
            "epoch": current.epoch.number,
            "interrupted": self._stopped,
            "windows": {
                "new": counts.passed,
                "rejected": dict(counts.rejected),
                "in_bank": desk.view().n,
                "scored": desk.windows_scored,
            },
            "coverage": {"distance_threshold": threshold, "share": await desk.coverage(current)},
            "excluded_models": {k.hex(): reason for k, reason in desk.excluded.items()},
            **result,
        }


def refuse_other_width(board: Board, rpc_url: str) -> None:
    """A network whose targets have a width that no model has cannot be submitted to.

    Raises:
        UsageError: naming both widths.
    """
    widths = sorted({len(model.embedding) for model in board.models.values()})
    if board.targets and board.width not in widths:
        raise UsageError(
            f"the targets of {rpc_url} have width {board.width}, its models {widths or 'do not exist'}: "
            "nothing can be submitted there; name another network with --network or --rpc-url"
        )


def scoring_seed(seed: int, address: Id32) -> int:
    """What decides between equally good pieces: another one for each wallet, so that no two score the same."""
    return seed ^ int.from_bytes(address[:7])


def claims_only(policy: Policy) -> Policy:
    """The same limits, but nothing new: no scoring, no submissions."""
    return replace(policy, max_hits_per_epoch=0, scoring=False)


def fill_bank(bank: Bank, plan: Plan) -> FilterCounts:
    """Cuts the run's new windows from the sources in turn, and adds them to the bank shard by shard.

    Raises:
        SourceError: no source has a usable window.
    """
    return add_new_windows(bank, plan.sources, plan.windows, plan.seed, SHARD_WINDOWS)


async def open_session(
    network: Network,
    wallet: Wallet,
    state: Path,
    plan: Plan,
    storage_for: Callable[[Places], Storage],
    make_executor: Callable[[Places], Executor],
    report: Reporter,
    premises: Premises | None = None,
) -> Session:
    """Finds out which chain this is, and with that where wallet's ledger and bank lie."""
    info = await service_info(network.endpoints.rpc)
    places = Places.of(state, info, wallet)
    premises = premises or Premises()
    return Session(network, wallet, places, plan, info, storage_for(places), make_executor, report, premises)
