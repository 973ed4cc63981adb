"""Asks the loop what to do whenever something has changed, and has it done."""

import asyncio
import time
from collections.abc import Mapping

from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader
from quickstart.chain.ids import Id32
from quickstart.chain.treasury import plan
from quickstart.data.window import WINDOW_BYTES
from quickstart.ledger.records import EpochReport, IntentKind, IntentStatus
from quickstart.ledger.writer import LedgerWriter
from quickstart.matching.values import Candidate
from quickstart.submission.actions import EndEpoch, Policy, Situation
from quickstart.submission.board_watch import INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.claims import Claim, worth_claiming
from quickstart.submission.dispatch import Dispatch
from quickstart.submission.loop import decide
from quickstart.submission.outbox import Outbox
from quickstart.submission.progress import ProgressMeter, Reporter
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.requests import CLAIM, Requests
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.trainer.reveal_desk import RevealDesk

TICK_SECONDS = 0.05

EPOCH_OVER = "epoch_over"
INTERRUPTED = "interrupted"


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
        reveals: RevealDesk,
        writer: LedgerWriter,
        requests: Requests,
        report: Reporter,
    ) -> None:
        self._owner = owner
        self._reader = reader
        self._watch = watch
        self._desk = desk
        self._publishing = publishing
        self._pool = outbox.pool
        self._reveals = reveals
        self._writer = writer
        self._requests = requests
        self._meter = ProgressMeter(desk, writer.ledger, report)
        self._dispatch = Dispatch(owner, desk, publishing, outbox, reveals, self._changed)
        self._wake = asyncio.Event()
        self._stopping = False
        self._following: set[str] = set()
        self._listed_claims: tuple[Claim, ...] | None = None

    @property
    def board(self) -> Board:
        return self._watch.board

    def stop(self) -> None:
        """Starts nothing new; `run_epoch` returns as soon as what is in flight has settled."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Ends without waiting for what does not settle at once."""
        await self._dispatch.close()

    async def run_epoch(self, policy: Policy) -> str:
        """Works until this epoch has nothing left for us, or a cap stops it; the reason.

        An epoch that changes meanwhile (by itself, on a real network) ends it too.
        """
        number, started = self._watch.board.epoch.number, time.monotonic()
        self._list_claims_again()
        await self._watch.refresh()
        while True:
            self._dispatch.raise_failures()
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
            await self._reveals.look(number)
            if self._listed_claims is None and time.monotonic() - started >= INDEX_LAG_SECONDS:
                self._listed_claims = await self._list_claims()
            candidates = await self._desk.match(self._watch.board, self._owner)
            actions = decide(self._situation(candidates, policy, started), policy)
            await self._meter.show(self._watch.board, self._dispatch.in_flight)
            if actions and isinstance(actions[0], EndEpoch):
                reason = actions[0].reason
                break
            for action in actions:
                self._dispatch.perform(action, self._watch.board, self._watch.seen_ms)
            await self._pause()
        await self._dispatch.settle()
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
        self._desk.collect()
        for encrypted in self._desk.weights_names.keys() - known:
            self._writer.ledger.name_weights(encrypted, self._desk.weights_names[encrypted])

    def _take_requests(self) -> None:
        """Does what other commands of this wallet ask for: list claims again, and answer when they are made."""
        waiting = [name for name, what in self._requests.waiting() if what == CLAIM]
        new = [name for name in waiting if name not in self._following]
        if new:
            self._following.update(new)
            self._list_claims_again()
        elif self._following and self._listed_claims is not None and not self._claims:
            claimed = self._writer.ledger.counts(IntentKind.CLAIM).get(IntentStatus.LANDED, 0)
            for name in self._following:
                self._requests.answer(name, {"claims_landed": claimed})
            self._following.clear()

    @property
    def _claims(self) -> tuple[Claim, ...]:
        """Claims worth making that are not made yet; those being made are among them."""
        made = self._dispatch.claims_made
        return tuple(claim for claim in self._listed_claims or () if claim.target_id not in made)

    def _list_claims_again(self) -> None:
        self._listed_claims = None
        self._dispatch.claims_made.clear()

    async def _list_claims(self) -> tuple[Claim, ...]:
        ledger = self._writer.ledger
        epoch = self._watch.board.epoch
        taken = ledger.live_subjects(IntentKind.CLAIM) | ledger.failed_subjects(IntentKind.CLAIM, epoch.number)
        return worth_claiming(await self._reader.claimable(), self._owner, taken, epoch.parameters)

    def _situation(self, candidates: Mapping[Id32, tuple[Candidate, ...]], policy: Policy, started: float) -> Situation:
        board, ledger, dispatch = self._watch.board, self._writer.ledger, self._dispatch
        number, parameters = board.epoch.number, board.epoch.parameters
        cost = parameters.submission_cost(WINDOW_BYTES)
        claims = tuple(claim for claim in self._claims if claim.target_id not in dispatch.claiming)
        claim_fee = max((claim.fee for claim in claims), default=cost)
        idle = self._pool.idle
        listed = self._listed_claims is not None
        return Situation(
            now=time.monotonic(),
            epoch_started=started,
            board=board,
            candidates=candidates,
            taken=ledger.taken_subjects(IntentKind.SUBMIT, number) | dispatch.submitting | dispatch.refused,
            submitting=len(dispatch.submitting),
            published=self._publishing.published.keys(),
            publishing=self._publishing.running,
            unpublishable=self._publishing.unpublishable.keys(),
            free_coins=sum(coin.balance >= cost for coin in idle),
            claim_coins=sum(coin.balance >= claim_fee for coin in idle),
            coin_plan=plan(idle, len(self._pool.reserved), policy.lanes, cost, parameters),
            arranging=dispatch.arranging,
            hits=ledger.hits(number),
            bond_outstanding=ledger.bond_outstanding(),
            bond_per_submission=parameters.bond(WINDOW_BYTES),
            fees=ledger.fees(number),
            unscored=self._desk.unscored(board) if policy.scoring else (),
            scoring=self._desk.running,
            scoring_room=self._desk.room,
            claims=claims,
            claiming=len(dispatch.claiming),
            settled=listed and self._watch.read_at - dispatch.last_settled >= INDEX_LAG_SECONDS,
            reveals=self._reveals.due,
            reveals_open=self._reveals.open,
        )

    async def _pause(self) -> None:
        """Until something has ended, or a tick has passed."""
        try:
            await asyncio.wait_for(self._wake.wait(), TICK_SECONDS)
        except TimeoutError:
            return
        self._wake.clear()

    def _changed(self) -> None:
        self._watch.hurry()
        self._wake.set()

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
