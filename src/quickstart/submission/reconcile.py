"""Ledger against chain: coins that came or went without us, fills the ledger does not know, fills others claimed.

For submissions the chain is the truth and the ledger our memory of it: an empty ledger is rebuilt from here.
Only called with nothing in flight, since listings lag behind execution.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass

from quickstart.chain.client import NetworkReader
from quickstart.chain.coins import Coin
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import Fill, FillState, Movement, Published
from quickstart.ledger.writer import LedgerWriter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """How the chain's coins differ from the ledger's."""

    appeared: tuple[Coin, ...]
    changed: tuple[tuple[Coin, Coin], ...]
    vanished: tuple[Coin, ...]


def compare(known: tuple[Coin, ...], listed: tuple[Coin, ...]) -> Discrepancy:
    """Pure: `known` to the ledger against `listed` on the chain. Pairs in `changed` are (known, listed)."""
    before = {coin.coin_id: coin for coin in known}
    after = {coin.coin_id: coin for coin in listed}
    return Discrepancy(
        appeared=tuple(coin for coin_id, coin in after.items() if coin_id not in before),
        changed=tuple(
            (before[coin_id], coin)
            for coin_id, coin in after.items()
            if coin_id in before and coin.ref.version > before[coin_id].ref.version
        ),
        vanished=tuple(coin for coin_id, coin in before.items() if coin_id not in after),
    )


async def reconcile(reader: NetworkReader, writer: LedgerWriter, owner: Id32, epoch: int) -> tuple[Coin, ...]:
    """Brings the ledger up to the chain and returns our coins."""
    on_chain = frozenset(await reader.fills_of(owner))
    await _restore_fills(reader, writer, on_chain)
    listed = await reader.coins(owner)
    known = writer.ledger.coins()
    found = compare(known, listed)
    vanished = [coin for coin in found.vanished if await reader.coin(coin.coin_id, owner) is None]
    movements: dict[Id32, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    claimed: list[Id32] = []
    appeared = [coin for stale in found.appeared if (coin := await reader.coin(stale.coin_id, owner)) is not None]
    for coin in appeared:
        transaction = await reader.previous_transaction(coin.coin_id) or coin.coin_id
        target = await _claimed_by_other(reader, writer.ledger, transaction)
        if target is None:
            movements[transaction]["received"] += coin.balance
            continue
        claimed.append(target.target_id)
        item = "bond_returned" if coin.balance == target.bond else "reward_submitter"
        movements[transaction][item] += coin.balance
    for _, after in found.changed:
        log.warning("coin %s was used by somebody else", format_id(after.coin_id))
    for coin in vanished:
        log.warning("coin %s is gone", format_id(coin.coin_id))

    slashed = _slashed_by_others(writer.ledger.fills(FillState.FILLED), on_chain | set(claimed), epoch)
    for target_id in slashed:
        log.error("the fill of %s was judged false: its bond is lost", format_id(target_id))

    def write(ledger: Ledger) -> None:
        for before, after in (*found.changed, *((coin, None) for coin in vanished)):
            ledger.replace_coin(before, after, epoch)
        ledger.keep_coins(appeared)
        for transaction, items in movements.items():
            ledger.move(transaction, [Movement(item, amount) for item, amount in items.items()], epoch)
        for target_id in claimed:
            ledger.mark_fill(target_id, FillState.CLAIMED)
        for target_id in slashed:
            ledger.mark_fill(target_id, FillState.SLASHED)

    await writer.write(write)
    return writer.ledger.coins()


async def _claimed_by_other(reader: NetworkReader, ledger: Ledger, transaction: Id32) -> Fill | None:
    """The fill of ours that `transaction` claimed, if it did."""
    open_fills = {fill.target_id: fill for fill in ledger.fills(FillState.FILLED)}
    effects = await reader.transaction(transaction) if open_fills else None
    if effects is None:
        return None
    return next((open_fills[target_id] for target_id in effects.deleted() if target_id in open_fills), None)


def _slashed_by_others(fills: Iterable[Fill], accounted: Set[Id32], epoch: int) -> list[Id32]:
    """Fills that somebody claimed and that paid us nothing: a quorum had reported them. Pure.

    `accounted`: fills that are still on the chain, or whose coins have reached us.
    """
    return [f.target_id for f in fills if f.epoch + 1 < epoch and f.target_id not in accounted]


async def _restore_fills(reader: NetworkReader, writer: LedgerWriter, on_chain: Set[Id32]) -> None:
    """Adds fills the chain has under our address and the ledger has not, and the public copies they rest on, unread."""
    known = {fill.target_id for fill in writer.ledger.fills()}
    missing = [target_id for target_id in on_chain if target_id not in known]
    restored: list[Fill] = []
    known_copies = {(copy.window, copy.url) for copy in writer.ledger.published()}
    copies: list[Published] = []
    for target_id in missing:
        contents = await reader.target(target_id)
        if contents is not None and contents.status is TargetStatus.FILLED:
            restored.append(_restored(target_id, contents))
            manifest = contents.manifest
            if manifest is not None and (manifest.checksum, manifest.url) not in known_copies:
                copies.append(Published(manifest.checksum, manifest.url, manifest.size, 0))
    if restored:
        log.warning("%d fills restored from the chain", len(restored))

        def write(ledger: Ledger) -> None:
            ledger.add_fills(restored)
            for copy in copies:
                ledger.publish(copy)

        await writer.write(write)


def _restored(target_id: Id32, contents: TargetContents) -> Fill:
    return Fill(
        target_id=target_id,
        digest=None,
        epoch=contents.fill_epoch,
        reward=contents.reward,
        bond=contents.bond,
        window=contents.manifest.checksum if contents.manifest else None,
        url=contents.manifest.url if contents.manifest else None,
    )
