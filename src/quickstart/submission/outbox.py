"""The one way to send anything: build, sign, write bytes, digest and coins to the ledger, send, effects, ledger.

Exactly once: after any doubt the same bytes are sent again, which the chain answers with the first effects. Nothing
is built anew while its predecessor may have landed, and a coin version is named by one transaction only.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from quickstart import clock
from quickstart.chain.backoff import Backoff
from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import Coin, CoinChanges, CoinPool
from quickstart.chain.effects import Effects, effects_from_sdk
from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.lease import Lease
from quickstart.chain.outcomes import Outcome, Refusal, RefusalReason, Unknown, UnknownCause, classify
from quickstart.chain.replies import reply_of
from quickstart.chain.transactions import Kind, TransactionData
from quickstart.chain.versions import SigningPermit
from quickstart.errors import LeaseHeldError, NetworkError, UnreachableError
from quickstart.ledger.accounts import Account, account
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Intent, IntentKind, IntentStatus
from quickstart.ledger.writer import LedgerWriter

T = TypeVar("T")

log = logging.getLogger(__name__)

RESEND_BACKOFF = Backoff(first=0.25, longest=10.0)
"""Pauses between sending the same bytes again."""

INDEX_LAG_SECONDS = 3.0
"""A digest unknown to the node for this long, ten times its usual lag, was not executed, if its coins say so too."""

TELL_SECONDS = 60.0
"""How often it is told that a transaction may have landed, and cannot be found."""

REST_SECONDS = 10.0
"""How long coins are left alone whose transaction was refused for what may be so again at once, as a lock is."""

_AT_ONCE = frozenset({RefusalReason.STALE_COIN, RefusalReason.NOTHING_SENT})
"""Refusals whose cause is gone once the coins can be read again."""


@dataclass(frozen=True, slots=True)
class Settled:
    """An executed transaction, in the ledger: its effects and what they did to our books."""

    intent: Intent
    effects: Effects
    account: Account


@dataclass(frozen=True, slots=True)
class NotSent:
    """A transaction that was refused before execution: nothing happened, its coins are free again."""

    intent: Intent
    refusal: Refusal


OnSigned = Callable[[Id32], None]
"""Hears a transaction's digest once its bytes are durable, before they are sent."""

OnExecuted = Callable[[Effects], None]
"""Hears what a transaction did as soon as the node tells, before it is in the books."""

AlsoRecord = Callable[[Ledger, Settled], None]
"""More to write in the same commit as the outcome of an intent."""


class Outbox:
    """Signs and sends for one wallet, as long as the lease is held."""

    def __init__(
        self,
        wallet: Wallet,
        lease: Lease,
        writer: LedgerWriter,
        lanes: Lanes,
        reader: NetworkReader,
        pool: CoinPool,
        also_record: AlsoRecord,
        permit: SigningPermit | None = None,
    ) -> None:
        self._wallet = wallet
        self._lease = lease
        self._writer = writer
        self._lanes = lanes
        self._reader = reader
        self._also_record = also_record
        self.pool = pool
        self.resting = 0
        """Refused transactions whose coins are left alone still (`REST_SECONDS`)."""
        self.permit = permit or SigningPermit()

    async def send(
        self,
        kind: Kind,
        coins: tuple[Coin, ...],
        gas: int,
        *,
        purpose: IntentKind,
        subject: Id32 | None,
        epoch: int,
        details: Mapping[str, Any],
        on_signed: OnSigned | None = None,
        on_executed: OnExecuted | None = None,
    ) -> Settled | NotSent:
        """Sends one transaction and returns when its outcome is known and in the ledger.

        `coins`: every coin `kind` names, already reserved in the pool; the first `gas` of them pay the fees.

        Raises:
            LeaseHeldError: the lease was lost; nothing was signed, or what was is in the ledger for its next holder.
            UnknownVersionError: the network has become one that this program does not know; nothing was signed.
            ConflictError: a live intent already names the target or a coin; nothing was recorded or sent.
        """
        transaction = TransactionData(kind, self._wallet.address, tuple(coin.ref for coin in coins[:gas]))
        data = transaction.encode()
        self.permit.check()
        self._require_lease()
        intent = Intent(
            digest=transaction.digest(),
            kind=purpose,
            subject=subject,
            epoch=epoch,
            created_ms=_now_ms(),
            signed=self._wallet.sign(data),
            coins=coins,
            details=details,
        )
        await self._writer.write(lambda ledger: ledger.record(intent))
        if on_signed is not None:
            on_signed(intent.digest)
        return await self._deliver(intent, on_executed, sent_before=False)

    async def recover(self) -> tuple[Settled | NotSent, ...]:
        """Settles what an earlier run left open, by sending the same bytes again."""
        intents = self._writer.ledger.pending()
        for intent in intents:
            self.pool.hold(intent.coins)
        return tuple(await asyncio.gather(*(self._deliver(intent, None, sent_before=True) for intent in intents)))

    async def _deliver(self, intent: Intent, on_executed: OnExecuted | None, *, sent_before: bool) -> Settled | NotSent:
        """Sends the intent's bytes until its outcome is known. `sent_before`: they may already have landed."""
        attempt = 0
        while True:
            outcome = await self._attempt(intent)
            if isinstance(outcome, Effects):
                if on_executed is not None:
                    on_executed(outcome)
                return await self._settle(intent, outcome)
            if isinstance(outcome, Refusal) and outcome.holder_digest != intent.digest:
                if not sent_before:
                    return await self._refuse(intent, outcome)
                if outcome.reason.settles_earlier_attempts:
                    effects = await self._find(intent, outcome)
                    return await (self._settle(intent, effects) if effects else self._refuse(intent, outcome))
            sent_before = True
            asked = outcome.retry_after_seconds if isinstance(outcome, Unknown) else None
            pause = RESEND_BACKOFF.pause(attempt + 1, asked)
            log.warning("%s: outcome unknown, same bytes again: %s", format_digest(intent.digest), outcome)
            await asyncio.sleep(pause)
            attempt += 1

    def _require_lease(self) -> None:
        if not self._lease.held():
            raise LeaseHeldError("the wallet's lease was lost; nothing more is signed or sent here")

    async def _attempt(self, intent: Intent) -> Effects | Outcome:
        """Sends once: effects when it was executed, else what the failure means.

        The lease is asked again right before: a machine that slept meanwhile must not send what its successor, who
        may have used the same coins, knows nothing of.
        """
        try:
            async with self._lanes.client() as client:
                self._require_lease()
                response = await client.execute_transaction(intent.signed)
            with reply_of(self._lanes.endpoints.rpc):
                effects = effects_from_sdk(response)
        except (RuntimeError, ValueError, NetworkError, UnreachableError) as error:
            return classify(error)
        if effects.digest != intent.digest:
            return Unknown(UnknownCause.UNREADABLE_REPLY, "the node tells of another transaction")
        return effects

    async def _find(self, intent: Intent, refusal: Refusal) -> Effects | None:
        """Effects of a transaction that may have landed; None once the node has not known it for long enough."""
        tell = deadline = clock.now() + INDEX_LAG_SECONDS
        for tries in itertools.count(1):
            effects = await _answered(lambda: self._reader.transaction(intent.digest))
            if effects is not None:
                return effects
            if clock.now() > deadline:
                if not await self._may_have_landed(intent, refusal):
                    return None
                if clock.now() > tell:
                    tell = clock.now() + TELL_SECONDS
                    log.warning(
                        "%s: it may have landed, and the node does not show it; waiting until it does, or another "
                        "node is named: %s",
                        format_digest(intent.digest),
                        refusal,
                    )
            await asyncio.sleep(min(0.3 * tries, RESEND_BACKOFF.longest))
        raise AssertionError("the tries never end")

    async def _may_have_landed(self, intent: Intent, refusal: Refusal) -> bool:
        """Whether a coin was last written by these very bytes; or the node shows as it was what it calls stale, and so
        lags behind what made it so.
        """
        for coin in intent.coins:
            if await _answered(partial(self._reader.previous_transaction, coin.coin_id)) == intent.digest:
                return True
        if refusal.reason is not RefusalReason.STALE_COIN:
            return False
        shown = [await self._read_coin(coin.coin_id) for coin in intent.coins]
        return all(now is not None and now.ref == coin.ref for now, coin in zip(shown, intent.coins, strict=True))

    async def _settle(self, intent: Intent, effects: Effects) -> Settled:
        books = account(intent, effects, self._wallet.address)
        changes = await self._read_unproven(books.changes, effects)
        settled = Settled(intent, effects, Account(changes, books.movements, books.fill_state))

        def write(ledger: Ledger) -> None:
            ledger.settle(
                intent.digest,
                IntentStatus.FAILED if effects.failure else IntentStatus.LANDED,
                outcome=str(effects.failure) if effects.failure else None,
                executed_epoch=effects.epoch,
                settled_ms=_now_ms(),
                changes=changes,
                movements=books.movements,
            )
            self._also_record(ledger, settled)

        await self._writer.write(write)
        self.pool.settle([coin.coin_id for coin in intent.coins], changes)
        return settled

    async def _read_unproven(self, changes: CoinChanges, effects: Effects) -> CoinChanges:
        """Reads coins whose balance no rule explains, so that the pool stays right; the books show the difference."""
        if not changes.unproven:
            return changes
        read: list[Coin] = []
        for object_id in changes.unproven:
            log.warning("coin %s: its balance is not as the rules predict", format_id(object_id))
            coin = await self._read_coin(object_id, effects.version)
            if coin is not None:
                read.append(coin)
        return CoinChanges((*changes.written, *read), changes.gone, frozenset())

    async def _refuse(self, intent: Intent, refusal: Refusal) -> NotSent:
        """Takes the intent back. What others did to its coins, with this very key, goes into the books with that: later
        the coins will be as the ledger knows them, and nothing will be left to tell it by.
        """
        log.warning("%s: refused, nothing happened: %s", format_digest(intent.digest), refusal)
        current = {coin.coin_id: await self._read_coin(coin.coin_id) for coin in intent.coins}

        def write(ledger: Ledger) -> None:
            ledger.refuse(intent.digest, str(refusal), _now_ms())
            for coin in ledger.coins():
                if coin.coin_id in current:
                    ledger.replace_coin(coin, current[coin.coin_id], intent.epoch)

        await self._writer.write(write)
        pool = self.pool

        def give_back() -> None:
            for coin_id, coin in current.items():
                pool.drop(coin_id)
                if coin is not None:
                    pool.adopt(coin)

        def end_rest() -> None:
            self.resting -= 1
            give_back()

        if refusal.reason in _AT_ONCE:
            give_back()
        else:
            self.resting += 1
            asyncio.get_running_loop().call_later(REST_SECONDS, end_rest)
        return NotSent(intent, refusal)

    async def _read_coin(self, coin_id: Id32, at_least_version: int = 0) -> Coin | None:
        return await _answered(lambda: self._reader.coin(coin_id, self._wallet.address, at_least_version))


async def _answered(read: Callable[[], Awaitable[T]]) -> T:
    """The answer to a read that the outcome of something sent hangs on, however long the node is out of reach."""
    for failures in itertools.count(1):
        try:
            return await read()
        except (NetworkError, UnreachableError) as error:
            log.warning("waiting for the network: %s", error)
            await asyncio.sleep(RESEND_BACKOFF.pause(failures))
    raise AssertionError("the tries never end")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
