"""Asks the loop what to do whenever something has changed, and has it done."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from quickstart import clock
from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader
from quickstart.chain.ids import Id32
from quickstart.chain.protocol import Parameters
from quickstart.chain.treasury import fee_of, plan
from quickstart.data.window import WINDOW_BYTES
from quickstart.errors import QuickstartError
from quickstart.ledger.records import Fate, IntentKind, IntentStatus, Unfilled
from quickstart.ledger.writer import LedgerWriter
from quickstart.matching.values import Candidate
from quickstart.submission.actions import EndEpoch, Policy, Situation
from quickstart.submission.alarms import Alarms, watch_versions
from quickstart.submission.board_watch import FASTEST_POLL_SECONDS, INDEX_LAG_SECONDS, BoardWatch
from quickstart.submission.claims import Claim, worth_claiming
from quickstart.submission.custody import Custody
from quickstart.submission.dispatch import Dispatch
from quickstart.submission.epoch_end import EpochEnd, taken
from quickstart.submission.loop import decide
from quickstart.submission.outbox import Outbox
from quickstart.submission.progress import ProgressMeter, Reporter
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.requests import CLAIM, Requests
from quickstart.submission.scoring_books import ScoringBooks
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.trainer.reveal_desk import RevealDesk

TICK_SECONDS = 0.05

TAKERS_SECONDS = 5.0
MOST_TAKERS = 32
"""Targets whose submitters are asked for at the end of an epoch: enough to see who, and no delay for the next."""

EPOCH_OVER = "epoch_over"
INTERRUPTED = "interrupted"
READ_ONLY = "read_only"
"""The network has become one of a version that this program does not know."""


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
        self._outbox = outbox
        self._pool = outbox.pool
        self._reveals = reveals
        self._permit = outbox.permit
        self._alarms = Alarms(writer)
        self._writer = writer
        self._requests = requests
        self._books = ScoringBooks(writer.ledger, desk)
        self._meter = ProgressMeter(desk, writer.ledger, report)
        self._custody = Custody(publishing, writer, self._alarms, desk.bank)
        self._dispatch = Dispatch(owner, desk, publishing, self._custody, outbox, reveals, watch, writer, self._changed)
        self._wake = asyncio.Event()
        self._stopping = False
        self._following: set[str] = set()
        self._listed_claims: tuple[Claim, ...] | None = None
        self._listing: asyncio.Task[tuple[Claim, ...]] | None = None

    @property
    def board(self) -> Board:
        return self._watch.board

    @property
    def feed(self) -> dict[str, Any]:
        """What kept the board in this run, ready for JSON."""
        return self._watch.told()

    def stop(self) -> None:
        """Starts nothing new; `run_epoch` returns as soon as what is in flight has settled."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """Ends without waiting for what does not settle at once."""
        await self._dispatch.close()
        self._publishing.close()
        await self._reveals.close()
        await self._watch.close()
        self._list_claims_again()
        await self._meter.close()

    async def run_epoch(self, policy: Policy) -> str:
        """Works until this epoch has nothing left for us, or a cap stops it; the reason.

        An epoch that changes meanwhile (by itself, on a real network) ends it too, and so does a version of the network
        that this program does not know.
        """
        number, started = self._watch.board.epoch.number, clock.now()
        self._list_claims_again()
        self._watch.start(self._wake.set)
        await self._watch.refresh()
        while True:
            self._dispatch.raise_failures()
            self._watch.raise_failures()
            self._books.collect()
            if await watch_versions(self._permit, self._watch.board.epoch, self._alarms):
                reason = READ_ONLY
                break
            if self._watch.board.epoch.number != number:
                reason = EPOCH_OVER
                break
            if self._stopping:
                reason = INTERRUPTED
                break
            self._take_requests(policy)
            self._reveals.watch(number)
            await self._custody.look()
            if clock.now() - started >= INDEX_LAG_SECONDS:
                self._take_listed_claims()
            board = self._watch.board
            candidates = await self._match()
            if self._watch.board.epoch is not board.epoch or self._watch.board.models is not board.models:
                continue  # other rules, or other weights, than what was matched
            actions = decide(self._situation(candidates, policy, started), policy)
            self._meter.show(self._watch.board, self._dispatch.in_flight)
            if actions and isinstance(actions[0], EndEpoch):
                reason = actions[0].reason
                break
            for action in actions:
                self._dispatch.perform(action, self._watch.board)
            await self._pause()
        await self._dispatch.settle()
        if policy.max_hits_per_epoch != 0:
            await self._report_epoch(number, reason)
        return reason

    async def await_epoch(self) -> None:
        """Waits until the board shows another epoch than now, which has begun, or `stop` is called."""
        number = self._watch.board.epoch.number
        while self._watch.board.epoch.number == number and not self._stopping:
            await self._watch.refresh()
            await asyncio.sleep(FASTEST_POLL_SECONDS)

    async def _match(self) -> Mapping[Id32, tuple[Candidate, ...]]:
        """What is safe to send for each target, open or expected, the latest first: others may not know it yet."""
        watch = self._watch
        candidates = await self._desk.match(watch.board, self._owner, watch.expected)
        now_ms = time.time_ns() // 1_000_000
        for target_id in candidates:
            watch.sightings.matched(target_id, now_ms)
        return dict(sorted(candidates.items(), key=lambda item: -watch.sightings.order(item[0])))

    def _take_requests(self, policy: Policy) -> None:
        """Does what other commands of this wallet ask for: list claims again, and answer when they are made, or when
        the day's fees do not allow for more of them.
        """
        waiting = [name for name, what in self._requests.waiting() if what == CLAIM]
        new = [name for name in waiting if name not in self._following]
        if new:
            self._following.update(new)
            self._list_claims_again()
        elif self._following and self._listed_claims is not None and not self._claims_to_make(policy):
            claimed = self._writer.ledger.counts(IntentKind.CLAIM).get(IntentStatus.LANDED, 0)
            for name in self._following:
                self._requests.answer(name, {"claims_landed": claimed})
            self._following.clear()

    @property
    def _claims(self) -> tuple[Claim, ...]:
        """Claims worth making that are not made yet; those being made are among them."""
        made = self._dispatch.claims_made
        return tuple(claim for claim in self._listed_claims or () if claim.target_id not in made)

    def _claims_to_make(self, policy: Policy) -> bool:
        """Whether a claim is being made, or there is one that the day's fees allow for."""
        claims, cap = self._claims, policy.gas_cap
        if self._dispatch.claiming or cap is None:
            return bool(claims)
        left = cap - self._writer.ledger.fees(self._watch.board.epoch.number)
        return any(claim.fee <= left for claim in claims)

    def _list_claims_again(self) -> None:
        self._listed_claims = None
        if self._listing is not None:
            self._listing.cancel()
            self._listing = None
        self._dispatch.claims_made.clear()

    def _take_listed_claims(self) -> None:
        """Has claims listed where they are not yet, without waiting for it: targets do not wait either."""
        if self._listing is None and self._listed_claims is None:
            self._listing = asyncio.create_task(self._list_claims())
            self._listing.add_done_callback(lambda _: self._wake.set())
        elif self._listing is not None and self._listing.done():
            self._listed_claims, self._listing = self._listing.result(), None

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
        coin_plan = plan(idle, len(self._pool.reserved), policy.lanes, cost, parameters)
        listed = self._listed_claims is not None
        return Situation(
            now=clock.now(),
            epoch_started=started,
            board=board,
            candidates=candidates,
            expected=self._watch.expected.keys(),
            taken=ledger.taken_subjects(IntentKind.SUBMIT, number, board.targets)
            | dispatch.submitting
            | dispatch.refused,
            submitting=len(dispatch.submitting),
            published=self._publishing.published.keys(),
            publishing=self._publishing.running,
            publishers=self._publishing.publishers,
            unchecked=self._custody.due,
            checking=len(self._custody.running),
            network_away=self._reader.is_away,
            unpublishable=self._publishing.unpublishable.keys(),
            free_coins=sum(coin.balance >= cost for coin in idle),
            claim_coins=sum(coin.balance >= claim_fee for coin in idle),
            coin_plan=coin_plan,
            arranging=dispatch.arranging,
            hits=ledger.hits(number),
            bond_outstanding=ledger.bond_outstanding(),
            bond_per_submission=parameters.bond(WINDOW_BYTES),
            fees=ledger.fees(number),
            fees_in_flight=self._fees_in_flight(parameters),
            fee_per_submission=parameters.submission_fee,
            plan_fee=fee_of(coin_plan, parameters) if coin_plan is not None else 0,
            unscored=self._desk.unscored(board) if policy.scoring else (),
            scoring=self._desk.running + (policy.scoring and self._desk.surveying),
            scoring_room=self._desk.room,
            claims=claims,
            claiming=len(dispatch.claiming),
            settled=listed and self._watch.known_until - dispatch.last_settled >= INDEX_LAG_SECONDS,
            reveals=self._reveals.due,
            reveals_open=self._reveals.open,
            resting=self._outbox.resting,
        )

    def _fees_in_flight(self, parameters: Parameters) -> int:
        """Shannons that what is under way will cost at most."""
        dispatch = self._dispatch
        claims = sum(claim.fee for claim in self._listed_claims or () if claim.target_id in dispatch.claiming)
        return len(dispatch.submitting) * parameters.submission_fee + claims + dispatch.arranging_fee

    async def _pause(self) -> None:
        """Until something has ended, or a tick has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                await self._wake.wait()
        self._wake.clear()

    def _changed(self) -> None:
        self._watch.hurry()
        self._wake.set()

    async def _report_epoch(self, number: int, reason: str) -> None:
        """What the bank could fill of everything seen this epoch, by brute force, against what we filled."""
        board, seen, seen_count = self._watch.board, self._watch.seen, self._watch.seen_count
        if board.epoch.number != number and self._watch.ended is not None:
            board, seen, seen_count = self._watch.ended
        ledger = self._writer.ledger
        end = EpochEnd(
            board=board,
            seen=seen,
            seen_count=seen_count,
            nearest=await self._desk.nearest({**seen, **board.targets}.values(), board),
            filled={fill.target_id for fill in ledger.fills() if fill.epoch == number},
            failed=ledger.failed_subjects(IntentKind.SUBMIT, number),
            ended_by=reason,
        )
        ledger.report_epoch(end.report())
        unfilled = end.unfilled(self._watch.sightings)
        ledger.note_unfilled(unfilled)
        await self._note_takers(unfilled)

    async def _note_takers(self, unfilled: Iterable[Unfilled]) -> None:
        """Who filled what we did not, what we lost and what was nearest first: as many as the node tells in a few
        seconds.
        """
        gone = [target for target in unfilled if target.fate is Fate.LOST or target.open_ms is not None][:MOST_TAKERS]
        if self._stopping or self._reader.is_away:
            return
        told: list[Unfilled] = []
        with suppress(TimeoutError, QuickstartError):  # a review can do without; the next epoch cannot wait
            async with asyncio.timeout(TAKERS_SECONDS):
                for target in gone:
                    contents = await self._reader.target(target.target_id)
                    told.append(taken(target, contents))
        self._writer.ledger.note_unfilled(told)
