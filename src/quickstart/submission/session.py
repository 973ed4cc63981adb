"""One run for one wallet on one network, from opening the ledger to closing the books; or a rehearsal of it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.coins import CoinPool
from quickstart.chain.feed import CheckpointFeed
from quickstart.chain.identity import ServiceInfo, service_info
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.versions import SigningPermit, explain
from quickstart.data.filters import FilterCounts
from quickstart.executors.base import Executor
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import AlarmKind, FillState, IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.actions import Policy
from quickstart.submission.alarms import Alarms, watch_versions
from quickstart.submission.board_watch import INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.claims import worth_claiming
from quickstart.submission.driver import EPOCH_OVER, INTERRUPTED, READ_ONLY, TICK_SECONDS, Driver
from quickstart.submission.fills import record_settled
from quickstart.submission.opening import first_board, open_coins, open_desk
from quickstart.submission.outbox import Outbox
from quickstart.submission.premises import Network, Places, Plan, Premises
from quickstart.submission.progress import Reporter
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.reconcile import reconcile
from quickstart.submission.rehearsal import planned_claims, planned_submissions, totals
from quickstart.submission.scoring_books import ScoringBooks
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.submission.storage import Publisher, Storage, public_client
from quickstart.submission.summary import summary
from quickstart.trainer.copies import ModelCopies
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.units import MINUTES, SECONDS

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30 * MINUTES
"""How long a run that has begun waits for a node that is away; one that begins wants an answer in seconds."""

OPENING_SECONDS = 20 * SECONDS
"""How long one that begins waits for a node that answers, but is busy."""

SETTLING_EPOCHS = 2
"""A fill of epoch E is claimable from E + 2 on."""


@dataclass(slots=True)
class Session:
    """An open run. Use `run` or `rehearse`; `stop` ends it early, losing nothing."""

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

    def _is_stopped(self) -> bool:
        return self._stopped

    async def run(self) -> dict[str, Any]:
        """Runs to the end and returns what to tell: counts, epochs, money, books (`summary`).

        Raises:
            UsageError: something a person can mend; nothing was sent.
        """
        with ExitStack() as stack:
            lease = self.premises.lease(self.places, self.plan.command)
            await asyncio.to_thread(stack.enter_context, lease)  # it may have to wait for a silent holder
            ledger = stack.enter_context(self.premises.ledger(self.places))
            settled_before = ledger.fill_counts()
            reader = await self._reader()
            board = await first_board(reader, self.network, may_advance=True)
            writer = LedgerWriter(ledger)
            permit = SigningPermit(self.plan.accepted_versions)
            if not await watch_versions(permit, board.epoch, alarms := Alarms(writer)):
                await alarms.clear(AlarmKind.UNKNOWN_VERSION)  # of an earlier run
            permit.check()
            lanes = Lanes(self.network.endpoints, self.plan.policy.lanes)
            outbox = Outbox(self.wallet, lease, writer, lanes, reader, CoinPool(ledger.coins()), record_settled, permit)
            recovered = await outbox.recover()
            if recovered:
                log.info("%d transactions of an earlier run settled", len(recovered))
                await asyncio.sleep(INDEX_LAG_SECONDS)
            outbox.pool = await open_coins(reader, writer, self.wallet, self.network, self.plan, board)
            desk, counts = await open_desk(stack, self.places, self.plan, self.make_executor, ledger, self._is_stopped)
            client = stack.enter_context(public_client())
            vault = self.premises.vault(self.places, self.wallet, self.storage, client)
            driver = self._driver = Driver(
                owner=self.wallet.address,
                reader=reader,
                watch=BoardWatch(reader, board, CheckpointFeed(self.network.endpoints.rpc)),
                desk=desk,
                publishing=PublishingDesk(Publisher(self.storage, client), writer),
                outbox=outbox,
                reveals=RevealDesk(
                    self.wallet.address, reader, vault, outbox, ledger, copies=ModelCopies(client, writer)
                ),
                writer=writer,
                requests=self.premises.requests(self.places),
                report=self.report,
            )
            if self._stopped:
                driver.stop()
            reader.patience_seconds = reader.away_seconds = PATIENCE_SECONDS
            try:
                await self._run_epochs(driver)
            finally:
                await driver.close()
            return await self._result(board.epoch.number, settled_before, driver, reader, ledger, desk, counts)

    async def rehearse(self) -> dict[str, Any]:
        """What `run` would do now. It has no outbox and no storage: it cannot sign, send or publish.

        Scores and matches, unless the plan is to claim only.
        """
        with ExitStack() as stack:
            ledger = stack.enter_context(closing(Ledger(self.places.ledger)))
            reader = await self._reader()
            board = await first_board(reader, self.network, may_advance=False)
            permit = SigningPermit(self.plan.accepted_versions)
            permit.observe(board.epoch.protocol_version, board.epoch.parameters.model_architecture_version)
            desk, counts = await open_desk(stack, self.places, self.plan, self.make_executor, ledger, self._is_stopped)
            if self.plan.policy.scoring:
                await self._score_everything(desk, board, ledger)
            candidates = await desk.match(board, self.wallet.address) if self.plan.epochs else {}
            owner, number = self.wallet.address, board.epoch.number
            taken = ledger.taken_subjects(IntentKind.SUBMIT, number, board.targets)
            submissions = planned_submissions(
                candidates, board, owner, taken, ledger.bond_outstanding(), self.plan.policy
            )
            claimed = ledger.live_subjects(IntentKind.CLAIM)
            claims = planned_claims(worth_claiming(await reader.claimable(), owner, claimed, board.epoch.parameters))
            return self._about(board, desk, counts) | {
                "dry_run": True,
                "open_targets": len(board.targets),
                "would_submit": len(submissions),
                "submissions": submissions,
                "claims": claims,
                "totals": totals([*submissions, *claims]),
                "withheld": [explain(permit.withheld)] if permit.withheld else [],
            }

    async def _score_everything(self, desk: ScoringDesk, board: Board, ledger: Ledger) -> None:
        """Scores what the bank holds with the models of one board."""
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

    async def _reader(self) -> NetworkReader:
        endpoints = self.network.endpoints
        reader = NetworkReader(await connect(endpoints), endpoints.rpc, lambda: connect(endpoints))
        reader.patience_seconds = OPENING_SECONDS
        return reader

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
                # Hours, perhaps: claims, public copies and reveals are looked after meanwhile.
                reason = await driver.run_epoch(replace(claiming, patient=True))
            if reason not in (INTERRUPTED, READ_ONLY):
                reason = await driver.run_epoch(policy)
            if reason in (INTERRUPTED, READ_ONLY):
                return

    async def _result(
        self,
        first_epoch: int,
        settled_before: Mapping[FillState, int],
        driver: Driver,
        reader: NetworkReader,
        ledger: Ledger,
        desk: ScoringDesk,
        counts: FilterCounts,
    ) -> dict[str, Any]:
        """What to tell at the end: the books beside what the chain says."""
        await asyncio.sleep(INDEX_LAG_SECONDS)
        board = driver.board
        if not ledger.pending():  # others may have claimed fills of ours, and paid us
            await reconcile(reader, LedgerWriter(ledger), self.wallet.address, board.epoch.number)
        result = summary(
            ledger, since_epoch=first_epoch, current_epoch=board.epoch.number, settled_before=settled_before
        )
        on_chain = sum(coin.balance for coin in await reader.coins(self.wallet.address))
        result["books"] |= {
            "chain_shannons": on_chain,
            "difference_shannons": result["books"]["ledger_shannons"] - on_chain,
        }
        threshold = board.epoch.distance_threshold
        return (
            self._about(board, desk, counts)
            | {
                "coverage": {"distance_threshold": threshold, "share": await desk.coverage(board)},
                "feed": driver.feed,
                "excluded_models": {model_id.hex(): reason for model_id, reason in desk.excluded.items()},
            }
            | result
        )

    def _about(self, board: Board, desk: ScoringDesk, counts: FilterCounts) -> dict[str, Any]:
        """Which run this was, and what became of its windows."""
        return {
            "network": self.network.name,
            "chain_id": self.info.chain_id,
            "address": format_id(self.wallet.address),
            "epoch": board.epoch.number,
            "interrupted": self._stopped,
            "windows": {
                "new": counts.passed,
                "rejected": dict(counts.rejected),
                "in_bank": desk.view().n,
                "scored": desk.windows_scored,
            },
        }


def claims_only(policy: Policy) -> Policy:
    """The same limits, but nothing new: no scoring, no submissions."""
    return replace(policy, max_hits_per_epoch=0, scoring=False)


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
