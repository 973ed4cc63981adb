"""Carries out what the loop decides, and asks it again whenever something has changed."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.transactions import ClaimRewards, SubmitData
from quickstart.chain.treasury import Merge, Split, kind_of, plan
from quickstart.data.window import WINDOW_BYTES
from quickstart.executors.base import ScoreDone
from quickstart.ledger.ledger import ConflictError, Ledger
from quickstart.ledger.records import EpochReport, Fill, FillState, IntentKind, IntentStatus
from quickstart.ledger.writer import LedgerWriter
from quickstart.matching.values import Candidate
from quickstart.submission.actions import (
    Action,
    Arrange,
    EndEpoch,
    MakeClaim,
    Policy,
    Publish,
    ScoreShards,
    Situation,
    Submit,
)
from quickstart.submission.board_watch import INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.claims import Claim, worth_claiming
from quickstart.submission.loop import decide
from quickstart.submission.outbox import Outbox, Settled
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.requests import CLAIM, RequestBox
from quickstart.submission.scoring_desk import ScoringDesk

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05
COVERAGE_EVERY_SECONDS = 2.0
CLOSE_SECONDS = 1.0

EPOCH_OVER = "epoch_over"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for people. Counts of this wallet; `lost`: targets somebody else got first."""

    epoch: int
    distance_threshold: float
    windows: int
    coverage: float
    scored: int
    to_score: int
    open_targets: int
    in_flight: int
    filled: int
    lost: int
    claimed: int


Reporter = Callable[[Progress], None]


def record_settled(ledger: Ledger, settled: Settled) -> None:
    """What the books need besides coins and money, in the same commit: fills and what became of them."""
    intent = settled.intent
    if settled.effects.failure is not None or intent.subject is None:
        return
    if intent.kind is IntentKind.SUBMIT:
        seen_ms = int(intent.details["seen_ms"])
        fill = Fill(
            target_id=intent.subject,
            digest=intent.digest,
            epoch=settled.effects.epoch,
            reward=int(intent.details["reward"]),
            bond=int(intent.details["bond"]),
            window=bytes.fromhex(intent.details["window"]),
            latency_ms=time.time_ns() // 1_000_000 - seen_ms,
        )
        ledger.add_fills((fill,))
    elif settled.account.fill_state is not None:
        ledger.mark_fill(intent.subject, settled.account.fill_state)


class Driver:
    """One run of the loop for one wallet. All that matters is in ledger, bank and chain: this can die any time."""

    def __init__(
        self,
        owner: Id32,
        reader: NetworkReader,
        watch: BoardWatch,
        desk: ScoringDesk,
        publishing: PublishingDesk,
        outbox: Outbox,
        writer: LedgerWriter,
        requests: RequestBox,
        report: Reporter,
    ) -> None:
        self._owner = owner
        self._reader = reader
        self._watch = watch
        self._desk = desk
        self._publishing = publishing
        self._outbox = outbox
        self._writer = writer
        self._requests = requests
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._submitting: set[Id32] = set()
        self._claiming: set[Id32] = set()
        self._following: set[str] = set()
        self._arranging = False
        self._claims: tuple[Claim, ...] | None = None
        self._last_landed = time.monotonic()
        self._coverage = 0.0
        self._coverage_of: tuple[int, int] | None = None
        self._coverage_due = 0.0
        self._left_to_score = 0
        self.windows_scored = 0

    def stop(self) -> None:
        """Starts nothing new; `run_epoch` returns as soon as what is in flight has settled."""
        self._stopping = True
        self._wake.set()

    async def run_epoch(self, policy: Policy) -> str:
        """Works until this epoch has nothing left for us, or a cap stops it; the reason.

        An epoch that changes meanwhile (by itself, on a real network) ends it too.
        """
        number, started = self._watch.board.epoch.number, time.monotonic()
        self._claims = None
        await self._watch.refresh()
        while True:
            self._raise_failures()
            self._collect()
            if self._watch.due:
                await self._watch.refresh()
            if self._watch.board.epoch.number != number:
                reason = EPOCH_OVER
                break
            if self._stopping:
                reason = INTERRUPTED
                break
            self._take_requests()
            if self._claims is None and time.monotonic() - started >= INDEX_LAG_SECONDS:
                self._claims = await self._list_claims()
            candidates = await self._desk.match(self._watch.board, self._owner)
            actions = decide(self._situation(candidates, policy, started), policy)
            await self._show()
            if actions and isinstance(actions[0], EndEpoch):
                reason = actions[0].reason
                break
            for action in actions:
                self._perform(action)
            await self._pause()
        await self._settle_tasks()
        if policy.max_hits_per_epoch != 0:
            await self._report_epoch(number, reason)
        return reason

    async def await_epoch(self) -> None:
        """Waits until the board shows another epoch than now, or `stop` is called."""
        number = self._watch.board.epoch.number
        while self._watch.board.epoch.number == number and not self._stopping:
            self._watch.hurry()
            await self._watch.refresh()
            await asyncio.sleep(TICK_SECONDS)

    def _collect(self) -> None:
        known = set(self._desk.weights_names)
        for answer in self._desk.collect():
            if isinstance(answer, ScoreDone):
                self.windows_scored += answer.windows
        for encrypted in self._desk.weights_names.keys() - known:
            self._writer.ledger.name_weights(encrypted, self._desk.weights_names[encrypted])

    def _take_requests(self) -> None:
        """Does what other commands of this wallet ask for: list claims again, and answer when they are made."""
        waiting = [name for name, what in self._requests.waiting() if what == CLAIM]
        new = [name for name in waiting if name not in self._following]
        if new:
            self._following.update(new)
            self._claims = None
        elif self._following and self._claims == () and not self._claiming:
            claimed = self._writer.ledger.counts(IntentKind.CLAIM).get(IntentStatus.LANDED, 0)
            for name in self._following:
                self._requests.answer(name, {"claims_landed": claimed})
            self._following.clear()

    async def _list_claims(self) -> tuple[Claim, ...]:
        ledger = self._writer.ledger
        epoch = self._watch.board.epoch
        taken = ledger.live_subjects(IntentKind.CLAIM) | ledger.failed_subjects(IntentKind.CLAIM, epoch.number)
        return worth_claiming(await self._reader.claimable(), self._owner, taken, epoch.parameters)

    def _situation(self, candidates: Mapping[Id32, tuple[Candidate, ...]], policy: Policy, started: float) -> Situation:
        board, ledger, pool = self._watch.board, self._writer.ledger, self._outbox.pool
        parameters = board.epoch.parameters
        cost = parameters.submission_cost(WINDOW_BYTES)
        idle = pool.idle
        claims = () if self._claims is None else self._claims
        claim_fee = max((claim.fee for claim in claims), default=cost)
        unscored = self._desk.unscored(board) if policy.scoring else ()
        self._left_to_score = self._desk.left_to_score
        number = board.epoch.number
        return Situation(
            now=time.monotonic(),
            epoch_started=started,
            board=board,
            candidates=candidates,
            taken=ledger.taken_subjects(IntentKind.SUBMIT, number) | self._submitting,
            submitting=len(self._submitting),
            published=self._publishing.published.keys(),
            publishing=self._publishing.running,
            unpublishable=self._publishing.unpublishable.keys(),
            free_coins=sum(coin.balance >= cost for coin in idle),
            coin_plan=plan(idle, len(pool.reserved), policy.lanes, cost, parameters),
            arranging=self._arranging,
            hits=ledger.hits(number),
            bond_outstanding=ledger.bond_outstanding(),
            bond_per_submission=parameters.bond(WINDOW_BYTES),
            fees=ledger.fees(number),
            unscored=unscored,
            scoring=self._desk.running,
            scoring_room=self._desk.room,
            claims=tuple(claim for claim in claims if claim.target_id not in self._claiming),
            claiming=len(self._claiming),
            settled=self._claims is not None and self._watch.read_at - self._last_landed >= INDEX_LAG_SECONDS,
            claim_coins=sum(coin.balance >= claim_fee for coin in idle),
        )

    def _perform(self, action: Action) -> None:
        if isinstance(action, ScoreShards):
            self._desk.start(action.work, self._watch.board)
        elif isinstance(action, Publish):
            self._publishing.running.add(action.window_checksum)
            self._start(self._publishing.publish(self._desk.bank.window(action.row)))
        elif isinstance(action, Submit):
            cost = self._watch.board.epoch.parameters.submission_cost(WINDOW_BYTES)
            coin = self._outbox.pool.reserve(cost)
            if coin is not None:
                self._submitting.add(action.candidate.target_id)
                self._start(self._submit(action.candidate, coin))
        elif isinstance(action, MakeClaim):
            coin = self._outbox.pool.reserve(action.claim.fee)
            if coin is not None:
                self._claiming.add(action.claim.target_id)
                self._start(self._claim(action.claim, coin))
        elif isinstance(action, Arrange):
            self._arranging = True
            self._start(self._arrange(action))

    async def _submit(self, candidate: Candidate, coin: Coin) -> None:
        board = self._watch.board
        target = board.targets[candidate.target_id]
        model_id = target.model_ids[candidate.model_index]
        manifest = self._publishing.manifest(candidate.window_checksum)
        weights = self._desk.weights_names[board.models[model_id].weights_id]
        kind = SubmitData(
            target_id=target.target_id,
            manifest=manifest,
            model_id=model_id,
            embedding=self._desk.view().embedding(weights, candidate.row),
            distance=candidate.distance,
            loss=(candidate.loss,),
            bond_coin=coin.ref,
        )
        details = {
            "bond": board.epoch.parameters.bond(manifest.size),
            "reward": target.reward,
            "window": candidate.window_checksum.hex(),
            "model": format_id(model_id),
            "distance": candidate.distance,
            "loss": candidate.loss,
            "seen_ms": self._watch.seen_ms.get(target.target_id, time.time_ns() // 1_000_000),
        }
        try:
            outcome = await self._outbox.send(
                kind,
                (coin,),
                1,
                purpose=IntentKind.SUBMIT,
                subject=target.target_id,
                epoch=board.epoch.number,
                details=details,
            )
            if isinstance(outcome, Settled) and outcome.effects.failure is not None:
                log.info("target %s: %s", format_id(target.target_id), outcome.effects.failure)
        except ConflictError:
            self._outbox.pool.release((coin,))
        finally:
            self._submitting.discard(candidate.target_id)
            self._landed()

    async def _claim(self, claim: Claim, coin: Coin) -> None:
        try:
            await self._outbox.send(
                ClaimRewards(claim.target_id),
                (coin,),
                1,
                purpose=IntentKind.CLAIM,
                subject=claim.target_id,
                epoch=self._watch.board.epoch.number,
                details=claim.details,
            )
        except ConflictError:
            self._outbox.pool.release((coin,))
        finally:
            self._claiming.discard(claim.target_id)
            self._claims = tuple(c for c in self._claims or () if c.target_id != claim.target_id)
            self._landed()

    async def _arrange(self, action: Arrange) -> None:
        kind, gas = kind_of(action.plan, self._owner)
        split = action.plan if isinstance(action.plan, Split) else None
        coins = (*gas, action.plan.smallest) if isinstance(action.plan, Merge) else gas
        try:
            if not self._outbox.pool.hold(coins):
                return  # a submission took one of them meanwhile; the next plan knows
            await self._outbox.send(
                kind,
                coins,
                len(gas),
                purpose=IntentKind.SPLIT if split else IntentKind.MERGE,
                subject=None,
                epoch=self._watch.board.epoch.number,
                details={"amounts": list(split.amounts)} if split else {},
            )
        finally:
            self._arranging = False

    def _landed(self) -> None:
        self._last_landed = time.monotonic()
        self._watch.hurry()

    async def _report_epoch(self, number: int, reason: str) -> None:
        """What the bank could fill of everything seen this epoch, by brute force, against what we filled."""
        board, seen = self._watch.board, self._watch.seen
        if board.epoch.number != number and self._watch.ended is not None:
            board, seen = self._watch.ended
        ledger = self._writer.ledger
        filled = {fill.target_id for fill in ledger.fills() if fill.epoch == number}
        lost = ledger.failed_subjects(IntentKind.SUBMIT, number)
        could = await self._desk.fillable(seen.values(), board) | filled
        ledger.report_epoch(
            EpochReport(
                epoch=number,
                distance_threshold=board.epoch.distance_threshold,
                targets_seen=len(seen.keys() | filled),
                fillable=len(could),
                filled=len(filled),
                missed=len(could - filled - lost),
                ended_by=reason,
            )
        )

    async def _show(self) -> None:
        board, ledger = self._watch.board, self._writer.ledger
        measured = (self.windows_scored, board.epoch.number)
        if measured != self._coverage_of and time.monotonic() >= self._coverage_due:
            self._coverage = await self._desk.coverage(board)
            self._coverage_of = measured
            self._coverage_due = time.monotonic() + COVERAGE_EVERY_SECONDS
        fills = ledger.fill_counts()
        self._report(
            Progress(
                epoch=board.epoch.number,
                distance_threshold=board.epoch.distance_threshold,
                windows=sum(shard.n for shard in self._desk.bank.shards()),
                coverage=self._coverage,
                scored=self.windows_scored,
                to_score=self.windows_scored + self._left_to_score,
                open_targets=len(board.targets),
                in_flight=len(self._submitting) + len(self._claiming),
                filled=sum(fills.values()),
                lost=len(ledger.failed_subjects(IntentKind.SUBMIT, board.epoch.number)),
                claimed=fills.get(FillState.CLAIMED, 0),
            )
        )

    # -- tasks

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._wake.set())

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)
        except TimeoutError:
            return
        self._wake.clear()

    def _raise_failures(self) -> None:
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        for task in done:
            task.result()

    async def _settle_tasks(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks, timeout=TICK_SECONDS)
            self._raise_failures()

    async def close(self) -> None:
        """Waits a moment for what is in flight, then leaves it: it is in the ledger, the next run settles it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def board(self) -> Board:
        return self._watch.board
