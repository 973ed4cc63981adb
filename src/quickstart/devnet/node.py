"""The node: the one place that changes a chain. Journal first, then the state, then the index and the
checkpoint."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256, format_digest, format_id
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import ReportSubmission, SubmitData, TransactionData
from quickstart.devnet.audit import Auditor
from quickstart.devnet.checkpoints import Checkpoints
from quickstart.devnet.config import VALIDATOR_FUNDS, DevnetConfig
from quickstart.devnet.effects import Effects, Refusal, RefusalCode, UnknownObject, locked
from quickstart.devnet.execution import check
from quickstart.devnet.faults import Faults
from quickstart.devnet.genesis import RIVAL, VALIDATOR, genesis
from quickstart.devnet.index import Index
from quickstart.devnet.inputs import Applied, ChainInput, EpochEnd, FaucetRequest, SignedTransaction, apply
from quickstart.devnet.journal import Header, Journal
from quickstart.devnet.keys import DevnetKey, devnet_key
from quickstart.devnet.rivals import Rival, rival_addresses
from quickstart.devnet.scorer import Scorer
from quickstart.devnet.state import ChainState
from quickstart.errors import StateError

logger = logging.getLogger(__name__)

UNKNOWN_OBJECT_POLL_SECONDS = 0.25


class Node:
    """One chain in memory (and, with a state folder, on disk), and everything that may happen to it."""

    def __init__(self, config: DevnetConfig, faults: Faults | None = None) -> None:
        """Opens or starts the chain of `config`.

        Raises:
            StateError: the state folder cannot be used.
        """
        self.config = config
        self.faults = faults or Faults()
        self.base_url = ""
        self.state: ChainState
        self.index = Index(config.index_lag_seconds)
        self.checkpoints = Checkpoints(config.checkpoint_seconds, self.faults, time.monotonic)
        self.scorer = Scorer(config.state / "blobs" if config.state else None)
        self.auditor = Auditor(self.scorer, lambda: self.base_url, exempt=rival_addresses())
        self._journal: Journal | None = None
        self._locks: dict[tuple[Id32, int], Id32] = {}
        self._in_flight: dict[Id32, asyncio.Task[Effects]] = {}
        self._epoch_change = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._open(config.state)

    def _open(self, folder: Path | None) -> None:
        settings = self.config.chain_settings()
        header = Header(_chain_id(self.config.seed), now_ms(), settings)
        if folder is not None:
            fresh = header
            self._journal = Journal(folder, settings, lambda: fresh)
            header = self._journal.header
        self.state = genesis(self.config, header.chain_id, header.genesis_ms)
        for given in self._journal.replay() if self._journal else ():
            try:
                self.checkpoints.log.append(apply(self.state, given))
            except Refusal as error:
                raise StateError(
                    f"{folder} does not replay ({error}): remove the state folder to start anew"
                ) from error
        self.checkpoints.published = len(self.checkpoints.log)
        self.index.load(self.state, enumerate(self.checkpoints.log, start=1))
        if self.state.epoch == 0 and self.state.active_models():
            # Targets appear at the first boundary; a devnet with models in genesis starts behind it.
            self._apply(EpochEnd(now_ms()))
            self.index.load(self.state, ())

    def start(self) -> None:
        """Starts what runs by itself: checkpoints, epochs by the clock, audits left over from before a
        restart."""
        self._tasks = [asyncio.create_task(self.checkpoints.publish())]
        if self.config.epoch_seconds:
            self._tasks.append(asyncio.create_task(self._age()))
        number, poll_seconds = self.config.rivals, self.config.rival_poll_seconds
        for place in range(number):
            self._tasks.append(asyncio.create_task(Rival(self, place, number, poll_seconds).run()))
        if self.config.audit:
            self.auditor.watch_unaudited(self.state)

    async def stop(self) -> None:
        """Ends everything; what was applied is in the journal already."""
        for task in [*self._tasks, *self._in_flight.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._in_flight.values(), return_exceptions=True)
        await self.auditor.stop()
        await self.scorer.stop()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def submit(self, transaction: TransactionData, signature: bytes, public_key: bytes) -> Effects:
        """Executes a transaction whose signature is right. The same one again gives its first effects.

        Raises:
            Refusal: it was not executed.
            StateError: the disk is full; it was not executed.
        """
        digest = transaction.digest()
        done = self.state.effects.get(digest)
        if done is not None:
            return done
        task = self._in_flight.get(digest)
        if task is None:
            task = asyncio.create_task(self._sequence(transaction, digest, signature, public_key))
            self._in_flight[digest] = task
            task.add_done_callback(lambda _: self._in_flight.pop(digest, None))
        # A caller that goes away does not take its transaction with it, as on any node.
        return await asyncio.shield(task)

    async def _sequence(
        self, transaction: TransactionData, digest: Id32, signature: bytes, public_key: bytes
    ) -> Effects:
        await self._wait_for_inputs(transaction)
        coins = [(ref.object_id, ref.version) for ref in transaction.coins()]
        for ref, coin in zip(transaction.coins(), coins, strict=True):
            if coin in self._locks:
                raise locked(ref, self._locks[coin])
        self._locks.update(dict.fromkeys(coins, digest))
        try:
            latency = self.faults.latency_seconds
            await asyncio.sleep(self.config.latency_seconds if latency is None else latency)
            if isinstance(transaction.kind, SubmitData) and self.faults.take("target_stolen"):
                self._steal(transaction.kind)
            check(self.state, transaction)
            applied = self._apply(SignedTransaction(now_ms(), transaction, signature, public_key))
        finally:
            for coin in coins:
                self._locks.pop(coin, None)
        assert applied.effects is not None
        if isinstance(transaction.kind, SubmitData) and applied.effects.failure is None and self.config.audit:
            self.auditor.watch(self.state, transaction.kind.target_id)
        return applied.effects

    async def _wait_for_inputs(self, transaction: TransactionData) -> None:
        """A node waits long for an object it has never seen, and then does not know whether it ever comes."""
        waited = self.config.unknown_object_seconds
        deadline = time.monotonic() + waited
        while True:
            try:
                return check(self.state, transaction)
            except UnknownObject as unknown:
                left = deadline - time.monotonic()
                if left <= 0:
                    text = (
                        f"Transaction timed out before finality could be reached. Attempts: 17 & timeout: {waited:g}s."
                    )
                    text += f" {unknown.message}"
                    raise Refusal(RefusalCode.UNAVAILABLE, text) from None
            await asyncio.sleep(min(left, UNKNOWN_OBJECT_POLL_SECONDS))

    def open_targets(self) -> Iterator[tuple[Id32, TargetContents]]:
        """What a listing shows as open in this epoch, as of a moment ago."""
        for (_, epoch, target_id), target in self.index.targets(time.monotonic()):
            if target.status is TargetStatus.OPEN and epoch == self.index.epoch:
                yield target_id, target

    def give(self, address: Id32, amount: int, coins: int) -> Applied:
        """The faucet.

        Raises:
            StateError: the disk is full.
        """
        return self._apply(FaucetRequest(now_ms(), address, amount, coins))

    async def advance_epoch(self) -> int:
        """Finishes the audits that are due, files their reports, and goes to the next epoch.

        Raises:
            StateError: the disk is full.
        """
        async with self._epoch_change:
            if self.config.audit:
                await self._file_reports(self.state.epoch - 1)
            self._apply(EpochEnd(now_ms()))
            self.auditor.forget_before(self.state)
            logger.info("epoch %d: threshold %.4f", self.state.epoch, self.state.threshold)
            return self.state.epoch

    async def _file_reports(self, fill_epoch: int) -> None:
        forced = self.faults.audit_verdict
        for target_id, verdict in await self.auditor.verdicts(self.state, fill_epoch):
            fraud = verdict.fraud
            if forced:
                fraud = "forced by a fault" if forced == "fraud" else None
            if fraud:
                logger.warning("audit: fill of %s is false: %s", format_id(target_id), fraud)
                self._sign_and_apply(ReportSubmission(target_id), devnet_key(VALIDATOR))

    def _steal(self, kind: SubmitData) -> None:
        """Another key makes the same claim first."""
        rival = devnet_key(RIVAL)
        bond = self.state.parameters.bond(kind.manifest.size)
        target = self.state.target(kind.target_id)
        if target is None or target.status is not TargetStatus.OPEN:
            return
        if self.state.balance(rival.address) < bond + VALIDATOR_FUNDS // 2:
            self.give(rival.address, bond + VALIDATOR_FUNDS, 1)
        self._sign_and_apply(kind, rival)
        if self.config.audit:
            self.auditor.watch(self.state, kind.target_id)

    def _sign_and_apply(self, kind: SubmitData | ReportSubmission, key: DevnetKey) -> Applied:
        coin = self.state.coins(key.address)[-1].ref
        if isinstance(kind, SubmitData):
            kind = replace(kind, bond_coin=coin)
        transaction = TransactionData(kind, key.address, (coin,))
        return self._apply(SignedTransaction(now_ms(), transaction, key.sign(transaction), key.public))

    def _apply(self, given: ChainInput) -> Applied:
        """Journal, state, checkpoint, index: in this order, in one go."""
        if self._journal is None:
            applied = apply(self.state, given)
        else:
            with self._journal.appended(given):
                applied = apply(self.state, given)
        number = self.checkpoints.add(applied)
        self.index.record(time.monotonic(), self.state, number, applied)
        return applied

    async def _age(self) -> None:
        """Ends epochs by the clock."""
        while True:
            ends_at_ms = self.state.epoch_start_ms + self.state.parameters.epoch_duration_ms
            left = (ends_at_ms - now_ms()) / 1000
            if left <= 0:
                await self.advance_epoch()
            else:
                await asyncio.sleep(left)


def now_ms() -> int:
    return int(time.time() * 1000)


def _chain_id(seed: int | None) -> Id32:
    return blake2b_256(b"quickstart devnet chain" + (secrets.token_bytes(32) if seed is None else bcs.u64(seed)))


def chain_id_text(chain_id: Id32) -> str:
    """As `GetServiceInfo` shows it."""
    return format_digest(chain_id)
