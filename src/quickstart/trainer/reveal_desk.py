"""Carries the reveal autopilot out: looks at the chain, reveals what is due, alarms, and never gives up in time."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from quickstart import clock
from quickstart.chain.board import Epoch
from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.own_models import OwnModel
from quickstart.chain.transactions import RevealModel
from quickstart.errors import StateError, UnknownVersionError, UnreachableError
from quickstart.ledger.ledger import ConflictError, Ledger
from quickstart.ledger.records import IntentKind
from quickstart.submission.board_watch import INDEX_LAG_SECONDS
from quickstart.submission.outbox import Outbox, Settled
from quickstart.trainer.copies import ModelCopies
from quickstart.trainer.publication import commit_fee, commitment_subject
from quickstart.trainer.reveals import Attempts, Next, Phase, Reveal, Status, decide, pending_reveals, status
from quickstart.trainer.vault import Release, Vault

log = logging.getLogger(__name__)

READING_SECONDS = 60.0

LOOK_EVERY_SECONDS = 60.0
"""An update committed by another command is seen that soon; epoch changes are looked at when they happen."""


class RevealDesk:
    """The commitments of one wallet. `look` reads the chain, `due` says what to attempt, `begin` makes one attempt.

    `wall_clock`: seconds since 1970, as the chain's epochs are counted. `copies`: what looks after the public copies of
    our models' weights, beside all that; nothing does where it is None.
    """

    def __init__(
        self,
        owner: Id32,
        reader: NetworkReader,
        vault: Vault,
        outbox: Outbox,
        ledger: Ledger,
        wall_clock: Callable[[], float] = time.time,
        copies: ModelCopies | None = None,
    ) -> None:
        self._owner = owner
        self._reader = reader
        self._vault = vault
        self._outbox = outbox
        self._ledger = ledger
        self._wall_clock = wall_clock
        self._copies = copies
        self._checking: asyncio.Task[None] | None = None
        self._epoch: Epoch | None = None
        self._looked_at = -LOOK_EVERY_SECONDS
        self._attempts: dict[Reveal, Attempts] = {}
        self._told: set[Reveal] = set()
        self._keyless: set[Reveal] = set()
        self._told_penniless = False
        self._watched: int | None = None
        self._looking: asyncio.Task[None] | None = None
        self.statuses: tuple[Status, ...] = ()

    def watch(self, epoch: int) -> None:
        """Has our models looked at when `epoch` is another than before, and now and then; never waits.

        Raises:
            NetworkError, UnreachableError: the last look failed, for longer than its reader has patience.
        """
        self._watched = epoch
        if self._looking is not None and self._looking.done():
            done, self._looking = self._looking, None
            done.result()
        pause = LOOK_EVERY_SECONDS if self._is_current else INDEX_LAG_SECONDS
        if self._looking is None and clock.now() - self._looked_at >= pause:
            self._looking = asyncio.create_task(self.look())

    async def read_copies(self) -> None:
        """Waits for the reading of public copies that the last look began, for a minute at most."""
        if self._checking is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(READING_SECONDS):
                    await self._checking

    async def close(self) -> None:
        """Ends a look, or a reading of public copies, that is under way."""
        for task in filter(None, (self._looking, self._checking)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def _is_current(self) -> bool:
        """Whether our models were seen in the epoch that is watched."""
        return self._watched is None or (self._epoch is not None and self._epoch.number == self._watched)

    async def look(self) -> None:
        """Reads our models, and tells of a reveal that was missed."""
        self._looked_at = clock.now()
        self._epoch, models = await self._reader.own_models(self._owner)
        self.statuses = self.statuses_of(models, self._epoch.number)
        if self._checking is not None and self._checking.done():
            done, self._checking = self._checking, None
            done.result()
        if self._copies is not None and self._checking is None:
            self._checking = asyncio.create_task(self._copies.check(models))
        for missed in self.statuses:
            if missed.phase is Phase.MISSED and missed.reveal not in self._told:
                self._told.add(missed.reveal)
                log.error(
                    "model %s: the reveal of its commit of epoch %d was missed%s; this leads to %s: `uv run publish`",
                    format_id(missed.reveal.model_id),
                    missed.reveal.commit_epoch,
                    ", and half its stake is lost" if missed.reveal.first else "",
                    missed.leads_to,
                )

    @property
    def due(self) -> tuple[Reveal, ...]:
        """Reveals to attempt now, as far as free coins pay for them; alarms on the way."""
        wanted = [reveal for reveal in self._of_this_epoch if self._now(reveal)]
        if not wanted:
            return ()
        pool = self._outbox.pool
        if self._penniless and not self._told_penniless:
            self._told_penniless = True
            log.error("no coin is left that pays for the reveal of a model; send SOMA to this wallet")
        return tuple(wanted[: sum(coin.balance >= self._fee for coin in pool.idle)])

    @property
    def open(self) -> int:
        """Reveals that this epoch must still see and that there is hope for; one more as long as that is not known."""
        if not self._is_current:
            return 1
        return 0 if self._penniless else len(set(self._of_this_epoch) - self._keyless)

    @property
    def _of_this_epoch(self) -> tuple[Reveal, ...]:
        return tuple(one.reveal for one in self.statuses if one.phase is Phase.REVEAL_DUE)

    @property
    def _fee(self) -> int:
        return commit_fee(self._epoch.parameters) if self._epoch else 0

    @property
    def _penniless(self) -> bool:
        """No coin pays, and none is in flight that might come back."""
        pool = self._outbox.pool
        return not pool.reserved and all(coin.balance < self._fee for coin in pool.idle)

    def begin(self, reveal: Reveal) -> Coroutine[Any, Any, None]:
        """Takes a coin, marks the attempt as under way, and gives what makes it."""
        coin = self._outbox.pool.reserve(self._fee)
        attempts = self._attempts_of(reveal)
        self._attempts[reveal] = (
            attempts if coin is None else replace(attempts, last=self._wall_clock(), under_way=True)
        )
        return self._attempt(reveal, coin)

    async def _attempt(self, reveal: Reveal, coin: Coin | None) -> None:
        """One attempt, to its outcome."""
        if coin is None:  # taken by something else meanwhile
            return
        release = await asyncio.to_thread(self._release, reveal)
        if release is None:
            self._outbox.pool.release((coin,))
        else:
            await self._send(reveal, release, coin)
        self._attempts[reveal] = replace(self._attempts_of(reveal), under_way=False)

    def _release(self, reveal: Reveal) -> Release | None:
        """What opens a commitment; without it there is nothing to do but to say so, and to look again later. There is
        no hope only once disk and bucket have answered, and neither has it.
        """
        reason = "its key is neither in the state folder nor in the bucket; restore either"
        try:
            release = self._vault.find(reveal.key)
        except UnreachableError as error:
            log.error("model %s is not revealed yet: %s", format_id(reveal.model_id), error)
            return None
        except StateError as error:
            release, reason = None, str(error)
        if release is None:
            self._keyless.add(reveal)
            log.error("model %s cannot be revealed: %s", format_id(reveal.model_id), reason)
        else:
            self._keyless.discard(reveal)
        return release

    async def _send(self, reveal: Reveal, release: Release, coin: Coin) -> None:
        assert self._epoch is not None  # what is due is so in an epoch
        try:
            outcome = await self._outbox.send(
                RevealModel(reveal.model_id, release.key, release.embedding),
                (coin,),
                1,
                purpose=IntentKind.REVEAL,
                subject=commitment_subject(reveal.model_id, reveal.commit_epoch),
                epoch=self._epoch.number,
                details={"model": reveal.model_id.hex(), "key_commitment": reveal.key.hex()},
            )
        except (ConflictError, UnknownVersionError) as error:
            # A live attempt of before settles by itself; in a network we do not know nothing is signed.
            self._outbox.pool.release((coin,))
            log.error("model %s is not revealed yet: %s", format_id(reveal.model_id), error)
            return
        if isinstance(outcome, Settled) and outcome.effects.failure is None:
            # Not read from the chain: its listings lag behind what has just landed.
            self._looked_at = clock.now()
            self.statuses = tuple(
                replace(one, phase=Phase.REVEALED, leads_to=Next.UPDATE) if one.reveal == reveal else one
                for one in self.statuses
            )
        else:
            self._looked_at = -LOOK_EVERY_SECONDS
            log.error("model %s is not revealed yet: %s", format_id(reveal.model_id), outcome)

    def _now(self, reveal: Reveal) -> bool:
        if self._epoch is None:
            return False
        attempts = self._attempts_of(reveal)
        now, ends = self._wall_clock(), self._epoch.end_ms / 1000
        decision = decide(Phase.REVEAL_DUE, attempts, now, ends)
        if decision.alarm:
            self._attempts[reveal] = replace(attempts, alarmed=True)
            hours = (ends - now) / 3600
            log.error("model %s must be revealed within %.1f hours", format_id(reveal.model_id), hours)
        return decision.attempt

    def _attempts_of(self, reveal: Reveal) -> Attempts:
        return self._attempts.get(reveal, Attempts())

    def statuses_of(self, models: tuple[OwnModel, ...], epoch: int) -> tuple[Status, ...]:
        """What the chain shows as pending, and what our own commits became that it no longer shows."""
        by_id = {model.model_id: model for model in models}
        pending = pending_reveals(models)
        seen = {(reveal.model_id, reveal.key) for reveal in pending}
        settled = [reveal for reveal in self._own_commits() if (reveal.model_id, reveal.key) not in seen]
        return tuple(status(reveal, by_id, epoch) for reveal in (*pending, *settled))

    def _own_commits(self) -> list[Reveal]:
        """The last commit of each of our models, by the ledger."""
        found: dict[Id32, Reveal] = {}
        for intent, executed_epoch in self._ledger.landed(IntentKind.COMMIT):
            model_id = bytes.fromhex(intent.details["model"])
            key = bytes.fromhex(intent.details["key_commitment"])
            found[model_id] = Reveal(model_id, key, executed_epoch, first=model_id not in found)
        return list(found.values())
