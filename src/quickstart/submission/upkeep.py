"""Putting a wallet's place in order: the ledger made again from chain and bucket, and published bytes nobody needs.

Neither signs or sends anything. Both need the wallet's lease: whoever signs meanwhile would rest bonds on what goes.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.bank import Bank
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.identity import ServiceInfo
from quickstart.chain.ids import Id32, format_digest, format_id
from quickstart.chain.keys import Wallet
from quickstart.errors import StateError, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill, FillState, Published
from quickstart.ledger.snapshots import take_snapshot
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms
from quickstart.submission.custody import Custody, copies_of
from quickstart.submission.loop import CHECKERS
from quickstart.submission.premises import Network, Places, Premises
from quickstart.submission.publishing import PublishingDesk
from quickstart.submission.reconcile import reconcile
from quickstart.submission.storage import Publisher, Storage, public_client
from quickstart.submission.summary import summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One wallet on one network, and what is kept for it. Both methods return what to tell.

    `keep`: called when what the ledger says by now must be as durable as what is done next, and at the end: for a
    ledger that is a copy of one elsewhere.
    """

    network: Network
    wallet: Wallet
    places: Places
    info: ServiceInfo
    storage: Storage
    premises: Premises
    keep: Callable[[], None] = lambda: None

    async def rebuild(self, *, dry_run: bool) -> dict[str, Any]:
        """Brings the ledger up to the chain, fills of other clients with this key included, and reads the public copy
        of everything that a bond rests on. A damaged ledger is set aside and begun anew. A dry run works on a copy.

        Raises:
            LeaseHeldError: somebody signs for the wallet.
            UsageError: a transaction's outcome is not known yet: only sending its bytes again can tell.
        """
        with ExitStack() as stack:
            if not dry_run:
                await asyncio.to_thread(stack.enter_context, self.premises.lease(self.places, "rebuild"))
            damaged = _is_damaged(self.places.ledger)
            before = self._ledger_for(stack, dry_run=dry_run, damaged=damaged)
            ledger = stack.enter_context(closing(Ledger(before)))
            _refuse_pending(ledger)
            known = {fill.target_id for fill in ledger.fills()}
            writer = LedgerWriter(ledger)
            reader, epoch = await self._read_network()
            coins = await reconcile(reader, writer, self.wallet.address, epoch)
            open_fills = ledger.fills(FillState.FILLED)
            copies = copies_of(open_fills, ledger.published())
            if not dry_run:
                await self._check(stack, ledger, writer, copies)
                await asyncio.to_thread(self.keep)
            result = summary(ledger, current_epoch=epoch)
            balance = sum(coin.balance for coin in coins)
            result["books"] |= {
                "chain_shannons": balance,
                "difference_shannons": result["books"]["ledger_shannons"] - balance,
            }
            return self._about(epoch, dry_run) | {
                "ledger": "damaged, begun anew" if damaged else "brought up to the chain",
                "fills_restored": len([fill for fill in ledger.fills() if fill.target_id not in known]),
                "copies": len(copies),
                **result,
            }

    async def cleanup(self, others: Iterable[Path], *, dry_run: bool) -> dict[str, Any]:
        """Removes the public copies of windows all of whose targets are claimed. `others`: ledgers of other wallets
        that publish in the same place; what they need stays.

        Raises:
            LeaseHeldError: somebody signs for the wallet.
            UsageError: a transaction's outcome is not known yet.
        """
        with ExitStack() as stack:
            if not dry_run:
                await asyncio.to_thread(stack.enter_context, self.premises.lease(self.places, "cleanup"))
            path = self._ledger_for(stack, dry_run=dry_run, damaged=False)
            ledger = stack.enter_context(closing(Ledger(path)))
            _refuse_pending(ledger)
            reader, epoch = await self._read_network()
            await reconcile(reader, LedgerWriter(ledger), self.wallet.address, epoch)
            ours = [c for c in ledger.published() if c.url == self.storage.public_url(c.window)]
            on_chain = frozenset(await reader.fills_of(self.wallet.address))
            needed = {f.window for f in ledger.fills() if f.target_id in on_chain and f.window is not None}
            found = removable(ours, ledger.fills(), needed | needed_by(others))
            if not dry_run:
                await self._remove(ledger, found)
            return self._about(epoch, dry_run) | {
                "removed": [format_digest(copy.window) for copy in found],
                "bytes": sum(copy.size for copy in found),
                "kept": len(ours) - len(found),
            }

    async def _remove(self, ledger: Ledger, found: tuple[Published, ...]) -> None:
        """First nothing more may be signed for them, then they go, then they are forgotten: it may be killed within."""
        for copy in found:
            ledger.publish(replace(copy, verified_ms=0))
        await asyncio.to_thread(self.keep)
        windows = [copy.window for copy in found]
        await asyncio.to_thread(self.storage.remove, windows)
        ledger.forget_published(windows)
        await asyncio.to_thread(self.keep)

    def _ledger_for(self, stack: ExitStack, *, dry_run: bool, damaged: bool) -> Path:
        """The ledger to work on: the wallet's own, or for a dry run a copy of it."""
        path = self.places.ledger
        if dry_run:
            copy = Path(stack.enter_context(TemporaryDirectory())) / path.name
            if path.exists() and not damaged:
                take_snapshot(path, copy)
            return copy
        if damaged:
            _set_aside(path)
        return path

    async def _read_network(self) -> tuple[NetworkReader, int]:
        endpoints = self.network.endpoints
        reader = NetworkReader(await connect(endpoints), endpoints.rpc, lambda: connect(endpoints))
        return reader, (await reader.board()).epoch.number

    async def _check(
        self, stack: ExitStack, ledger: Ledger, writer: LedgerWriter, copies: tuple[Published, ...]
    ) -> None:
        client = stack.enter_context(public_client())
        publishing = PublishingDesk(Publisher(self.storage, client), writer)
        stack.callback(publishing.close)
        custody = Custody(publishing, writer, Alarms(writer), Bank(self.places.bank))
        slots = asyncio.Semaphore(CHECKERS)

        async def check(copy: Published) -> None:
            async with slots:
                await custody.check(copy)

        await asyncio.gather(*map(check, copies))

    def _about(self, epoch: int, dry_run: bool) -> dict[str, Any]:
        return {
            "network": self.network.name,
            "chain_id": self.info.chain_id,
            "address": format_id(self.wallet.address),
            "epoch": epoch,
            "dry_run": dry_run,
        }


def removable(published: Iterable[Published], fills: Iterable[Fill], needed: Set[Id32]) -> tuple[Published, ...]:
    """Copies of windows that filled something, all of which is claimed or lost, and that nobody else needs. Pure."""
    done: set[Id32] = set()
    open_ = set(needed)
    for fill in fills:
        if fill.window is not None:
            (open_ if fill.state is FillState.FILLED else done).add(fill.window)
    return tuple(copy for copy in published if copy.window in done - open_)


def needed_by(ledgers: Iterable[Path]) -> frozenset[Id32]:
    """Windows that fills in these ledgers still rest on, or transactions under way may."""
    needed: set[Id32] = set()
    for path in ledgers:
        with closing(Ledger(path)) as ledger:
            needed |= {fill.window for fill in ledger.fills(FillState.FILLED) if fill.window is not None}
            windows = (intent.details.get("window") for intent in ledger.pending())
            needed |= {bytes.fromhex(window) for window in windows if window}
    return frozenset(needed)


def _refuse_pending(ledger: Ledger) -> None:
    if pending := len(ledger.pending()):
        raise UsageError(
            f"{pending} transactions may have landed or not: run `uv run claim` with the same options, which settles "
            "them, then this again"
        )


def _is_damaged(path: Path) -> bool:
    """Whether SQLite cannot make sense of a ledger; one that is missing, or in use, is not damaged."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.OperationalError as error:
        raise StateError(f"the ledger {path} cannot be read ({error}); mend its permissions") from error
    except sqlite3.DatabaseError:
        return True


def _set_aside(path: Path) -> None:
    """Renames a ledger, with what belongs to it; nothing is ever deleted."""
    number = 1
    while path.with_name(f"{path.name}.damaged-{number}").exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.damaged-{number}{suffix}"))
    log.error("the ledger was damaged; it is kept as %s", f"{path}.damaged-{number}")
