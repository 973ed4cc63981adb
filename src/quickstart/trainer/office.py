"""What signing needs outside of a submitting run: lease, ledger, coins, outbox, and nothing left unsettled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.coins import CoinPool
from quickstart.chain.ids import format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.errors import FundsError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.board_watch import INDEX_LAG_SECONDS
from quickstart.submission.fills import record_settled
from quickstart.submission.outbox import Outbox
from quickstart.submission.premises import Network, Places, Premises
from quickstart.submission.reconcile import reconcile
from quickstart.submission.storage import Publisher, Storage, public_client
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.trainer.vault import Vault
from quickstart.units import format_soma


@dataclass(frozen=True, slots=True)
class Office:
    """One wallet's signing desk while its lease is held."""

    wallet: Wallet
    network: Network
    reader: NetworkReader
    ledger: Ledger
    writer: LedgerWriter
    outbox: Outbox
    vault: Vault
    publisher: Publisher
    reveals: RevealDesk

    async def fund(self, needed: int) -> None:
        """Sees that the coins hold `needed` shannons, with the faucet's help where there is one.

        Raises:
            FundsError: they do not.
        """
        if self.outbox.pool.balance < needed and self.network.faucet is not None:
            await self.network.faucet()
            await asyncio.sleep(INDEX_LAG_SECONDS)
            await self.count_coins()
        if (balance := self.outbox.pool.balance) < needed:
            raise FundsError(
                f"{format_id(self.wallet.address)} holds {format_soma(balance)}, {format_soma(needed)} are needed: "
                "send SOMA to that address, or stake less"
            )

    async def count_coins(self) -> None:
        """Takes the coins as the chain has them."""
        epoch, _ = await self.reader.own_models(self.wallet.address)
        self.outbox.pool = CoinPool(await reconcile(self.reader, self.writer, self.wallet.address, epoch.number))


@asynccontextmanager
async def open_office(
    network: Network, wallet: Wallet, places: Places, storage: Storage, premises: Premises, command: str
) -> AsyncIterator[Office]:
    """Takes the wallet's lease and settles what an earlier run left open.

    Raises:
        LeaseHeldError: somebody else signs for this wallet.
    """
    with ExitStack() as stack:
        lease = premises.lease(places, command)
        await asyncio.to_thread(stack.enter_context, lease)
        ledger = stack.enter_context(premises.ledger(places))
        reader = NetworkReader(await connect(network.endpoints), network.endpoints.rpc)
        writer = LedgerWriter(ledger)
        lanes = Lanes(network.endpoints, 2)
        outbox = Outbox(wallet, lease, writer, lanes, reader, CoinPool(ledger.coins()), record_settled)
        if await outbox.recover():
            await asyncio.sleep(INDEX_LAG_SECONDS)
        client = stack.enter_context(public_client())
        vault = Vault(places.vault, wallet, storage, client)
        office = Office(
            wallet=wallet,
            network=network,
            reader=reader,
            ledger=ledger,
            writer=writer,
            outbox=outbox,
            vault=vault,
            publisher=Publisher(storage, client),
            reveals=RevealDesk(wallet.address, reader, vault, outbox, ledger),
        )
        await office.count_coins()
        yield office
