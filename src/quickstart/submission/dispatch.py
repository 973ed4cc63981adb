"""Carries actions out: each becomes a task, and what is in flight is known until it has settled."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

from quickstart import clock
from quickstart.chain.board import Board
from quickstart.chain.coins import Coin
from quickstart.chain.effects import Effects
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.outcomes import RefusalReason
from quickstart.chain.transactions import ClaimRewards, Kind, SubmitData
from quickstart.chain.treasury import Merge, Plan, Split, fee_of, kind_of
from quickstart.data.window import WINDOW_BYTES
from quickstart.errors import UnknownVersionError
from quickstart.ledger.ledger import ConflictError
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.matching.values import Candidate
from quickstart.submission.actions import (
    Action,
    Arrange,
    CheckCopy,
    MakeClaim,
    MakeReveal,
    Publish,
    ScoreShards,
    Submit,
)
from quickstart.submission.board_watch import BoardWatch
from quickstart.submission.claims import Claim
from quickstart.submission.custody import Custody
from quickstart.submission.outbox import NotSent, Outbox, Settled
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.scoring_desk import ScoringDesk
from quickstart.trainer.reveal_desk import RevealDesk

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0

PASSING = frozenset({RefusalReason.STALE_COIN, RefusalReason.LOCKED_COIN, RefusalReason.NOTHING_SENT})
"""Refusals that say nothing against the claim itself: it may be sent again with another coin."""

NOT_SIGNED = (ConflictError, UnknownVersionError)
"""Nothing was recorded or sent, and the coins are free again; the next decision knows why."""


class Dispatch:
    """Starts actions and waits for them. `on_change` is called whenever one has ended.

    `claims_made`: targets whose claim was sent, whatever came of it but a refusal that passes. `refused`: targets whose
    submission a node refused for good; neither is tried again.
    """

    def __init__(
        self,
        owner: Id32,
        desk: ScoringDesk,
        publishing: PublishingDesk,
        custody: Custody,
        outbox: Outbox,
        reveals: RevealDesk,
        watch: BoardWatch,
        writer: LedgerWriter,
        on_change: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._desk = desk
        self._publishing = publishing
        self._custody = custody
        self._outbox = outbox
        self._reveals = reveals
        self._watch = watch
        self._writer = writer
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self.submitting: set[Id32] = set()
        self.claiming: set[Id32] = set()
        self.claims_made: set[Id32] = set()
        self.refused: set[Id32] = set()
        self.arranging = False
        self.arranging_fee = 0
        self.last_settled = clock.now()

    @property
    def in_flight(self) -> int:
        """Submissions and claims on their way."""
        return len(self.submitting) + len(self.claiming)

    def perform(self, action: Action, board: Board) -> None:
        """Starts one action. Without a coin for it, nothing: the next decision knows better."""
        if isinstance(action, ScoreShards):
            self._desk.start(action.work, board)
        elif isinstance(action, Publish):
            self._publishing.running.add(action.window_checksum)
            self._start(self._publishing.publish(self._desk.bank.window(action.row)))
        elif isinstance(action, CheckCopy):
            self._custody.begin(action.copy)
            self._start(self._custody.check(action.copy))
        elif isinstance(action, Submit):
            coin = self._outbox.pool.reserve(board.epoch.parameters.submission_cost(WINDOW_BYTES))
            if coin is not None:
                claim, details = self._submission(action.candidate, coin, board)
                self.submitting.add(claim.target_id)
                self._start(self._submit(claim, coin, board.epoch.number, details))
        elif isinstance(action, MakeClaim):
            coin = self._outbox.pool.reserve(action.claim.fee)
            if coin is not None:
                self.claiming.add(action.claim.target_id)
                self._start(self._claim(action.claim, coin, board.epoch.number))
        elif isinstance(action, MakeReveal):
            self._start(self._reveals.begin(action.reveal))
        elif isinstance(action, Arrange):
            kind, gas = kind_of(action.plan, self._owner)
            coins = (*gas, action.plan.smallest) if isinstance(action.plan, Merge) else gas
            # Held at once: a submission of the same decision would take the only coin there is to split, every time.
            if self._outbox.pool.hold(coins):
                self.arranging = True
                self.arranging_fee = fee_of(action.plan, board.epoch.parameters)
                self._start(self._arrange(action.plan, kind, coins, len(gas), board.epoch.number))

    def _submission(self, candidate: Candidate, coin: Coin, board: Board) -> tuple[SubmitData, dict[str, Any]]:
        """The claim to a target, and what the books need to know of it."""
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
            "url": manifest.url,
            "reward": target.reward,
            "window": candidate.window_checksum.hex(),
            "model": format_id(model_id),
            "distance": candidate.distance,
            "loss": candidate.loss,
            "provenance": asdict(self._desk.bank.provenance_of(candidate.row)),
        }
        return kind, details

    async def _submit(self, kind: SubmitData, coin: Coin, epoch: int, details: dict[str, Any]) -> None:
        target_id = kind.target_id
        landed_ms = 0

        def executed(effects: Effects) -> None:
            nonlocal landed_ms
            landed_ms = time.time_ns() // 1_000_000
            self._watch.own_fill(target_id, effects)

        try:
            outcome = await self._outbox.send(
                kind,
                (coin,),
                1,
                purpose=IntentKind.SUBMIT,
                subject=target_id,
                epoch=epoch,
                details=details,
                on_signed=self._watch.expect,
                on_executed=executed,
            )
            if isinstance(outcome, NotSent):
                self._watch.forget(outcome.intent.digest)
                if outcome.refusal.reason not in PASSING:
                    self.refused.add(target_id)
            elif outcome.effects.failure is not None:
                log.info("target %s: %s", format_id(target_id), outcome.effects.failure)
            elif (sighting := self._watch.sightings.get(target_id)) is not None:
                timing = sighting.timing(target_id, outcome.intent.created_ms, landed_ms)
                await self._writer.write(lambda ledger: ledger.add_timing(timing))
        except NOT_SIGNED:
            self._outbox.pool.release((coin,))
        finally:
            self.submitting.discard(target_id)
            self.last_settled = clock.now()

    async def _claim(self, claim: Claim, coin: Coin, epoch: int) -> None:
        kind = ClaimRewards(claim.target_id)
        outcome: Settled | NotSent | None = None
        try:
            outcome = await self._outbox.send(
                kind, (coin,), 1, purpose=IntentKind.CLAIM, subject=claim.target_id, epoch=epoch, details=claim.details
            )
        except NOT_SIGNED:
            self._outbox.pool.release((coin,))
        finally:
            self.claiming.discard(claim.target_id)
            if not (isinstance(outcome, NotSent) and outcome.refusal.reason in PASSING):
                self.claims_made.add(claim.target_id)
            self.last_settled = clock.now()

    async def _arrange(self, plan: Plan, kind: Kind, coins: tuple[Coin, ...], gas: int, epoch: int) -> None:
        purpose = IntentKind.SPLIT if isinstance(plan, Split) else IntentKind.MERGE
        details = {"amounts": list(plan.amounts)} if isinstance(plan, Split) else {}
        try:
            await self._outbox.send(kind, coins, gas, purpose=purpose, subject=None, epoch=epoch, details=details)
        except NOT_SIGNED:
            self._outbox.pool.release(coins)
        finally:
            self.arranging = False
            self.arranging_fee = 0

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._on_change())

    def raise_failures(self) -> None:
        """Raises what an ended action raised; forgets the others that have ended."""
        done = {task for task in self._tasks if task.done()}
        self._tasks -= done
        for task in done:
            task.result()

    async def settle(self) -> None:
        """Waits until nothing is in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self.raise_failures()

    async def close(self) -> None:
        """Waits a moment for what is in flight, then leaves it: it is in the ledger, the next run settles it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
