"""Signing outside of a submitting run: lease, ledger, coins, outbox, nothing left unsettled; and publishing with it."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from quickstart import clock
from quickstart.chain.board import Board
from quickstart.chain.client import NetworkReader, connect
from quickstart.chain.coins import CoinPool
from quickstart.chain.ids import Id32, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.lanes import Lanes
from quickstart.chain.own_models import OwnModel
from quickstart.chain.versions import SigningPermit
from quickstart.errors import FundsError, UsageError
from quickstart.ledger.ledger import Ledger
from quickstart.ledger.records import IntentKind
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.alarms import Alarms, watch_versions
from quickstart.submission.board_watch import INDEX_LAG_SECONDS
from quickstart.submission.fills import record_settled
from quickstart.submission.outbox import Outbox
from quickstart.submission.premises import Network, Places, Premises
from quickstart.submission.reconcile import reconcile
from quickstart.submission.storage import Publisher, Storage, public_client
from quickstart.trainer.copies import ModelCopies
from quickstart.trainer.evaluation import assigned_share
from quickstart.trainer.products import Product
from quickstart.trainer.publication import (
    Commit,
    Costs,
    Create,
    PublicationDesk,
    Step,
    costs,
    next_step,
    prepare,
    to_compound,
)
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.trainer.reveals import RETRY_SECONDS, Phase, Status
from quickstart.trainer.vault import Release, Vault
from quickstart.units import format_soma

FAUCET_REQUESTS = 3

POLL_SECONDS = 1.0
"""Between two looks at a reveal that is due."""


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
    scratch: Path

    async def fund(self, needed: int) -> None:
        """Sees that the coins hold `needed` shannons, with the faucet's help where there is one.

        Raises:
            FundsError: they do not.
        """
        for _ in range(FAUCET_REQUESTS):
            if self.outbox.pool.balance >= needed or self.network.faucet is None:
                break
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


@dataclass(frozen=True, slots=True)
class Quote:
    """What is about to be signed, for a person to say yes to. `assigned`: share of random targets at this stake."""

    step: Step
    costs: Costs
    balance: int
    assigned: float


@dataclass(frozen=True, slots=True)
class Committed:
    """Weights on the chain, not in play yet: revealed in `epoch` + 1, in no other."""

    model_id: Id32
    epoch: int
    release: Release


async def quote(
    reader: NetworkReader, owner: Id32, product: Product, stake: int, *, update: bool
) -> tuple[Quote, Board, tuple[OwnModel, ...]]:
    """What publishing would do and cost now; signs and sends nothing.

    Raises:
        UsageError: our models do not allow it.
    """
    board = await reader.board()
    epoch, models = await reader.own_models(owner)
    parameters = epoch.parameters
    step = next_step(models, epoch.number, update=update)
    if isinstance(step, Commit):
        stake = next(model.stake for model in models if model.model_id == step.model_id)
    others = {
        model.model_id: (model.stake, model.embedding)
        for model in board.models.values()
        if not (isinstance(step, Commit) and model.model_id == step.model_id)
    }
    fits = len(product.embedding) == board.width
    share = assigned_share(stake, product.embedding, others, parameters.target_models_per_target) if fits else 0.0
    balance = sum(coin.balance for coin in await reader.coins(owner))
    return Quote(step, costs(step, stake, parameters, update=update), balance, share), board, models


async def publish(
    office: Office,
    product: Product,
    *,
    stake: int,
    commission_bps: int,
    update: bool,
    keep: int,
    confirm: Callable[[Quote], None],
) -> Committed:
    """Asks, then encrypts, uploads and keeps a model, stakes if need be, and commits. Interrupted, it is run again.

    `keep`: shannons that must be left for gas and bonds. `confirm` raises to stop; nothing was uploaded or signed then.

    Raises:
        UsageError: our models, our coins or the product do not allow it, or do not any more; nothing was signed.
        DataUnreadableError: a public copy cannot be read back; nothing was signed.
    """
    owner = office.wallet.address
    offered, board, models = await quote(office.reader, owner, product, stake, update=update)
    await office.fund(offered.costs.total + keep)
    confirm(offered)
    release = await asyncio.to_thread(
        prepare, product, board.width, office.vault, office.publisher, office.scratch, models
    )
    # An upload takes minutes, in which an epoch may have ended.
    now, board, _ = await quote(office.reader, owner, product, stake, update=update)
    if now.step != offered.step or now.costs.at_risk > offered.costs.at_risk:
        raise UsageError("the network changed while the weights were uploaded: run this again; nothing was signed")
    desk = PublicationDesk(office.outbox)
    if isinstance(offered.step, Create):
        model_id = await desk.create(stake, commission_bps, board.epoch, release)
    else:
        model_id = offered.step.model_id
    return Committed(model_id, await desk.commit(model_id, release, board.epoch), release)


async def compound(office: Office, model_id: Id32, share_percent: int, keep: int) -> int:
    """Adds a share of what models of ours have earned to a model's stake, and leaves `keep`; shannons added.

    Raises:
        NetworkError: it was refused or failed.
    """
    epoch, _ = await office.reader.own_models(office.wallet.address)
    earned = office.ledger.totals().get("reward_model", 0)
    before = sum(int(intent.details["stake"]) for intent, _ in office.ledger.landed(IntentKind.ADD_STAKE))
    amount = to_compound(earned, before, share_percent, office.outbox.pool.balance, keep, epoch.parameters)
    if amount:
        await PublicationDesk(office.outbox).stake(model_id, amount, epoch)
    return amount


async def reveal_due(office: Office, *, wait: bool, seconds: float = math.inf) -> tuple[Status, ...]:
    """Reveals what is due, trying until it is done, its epoch is over, or `seconds` have passed; where every commitment
    then stands. `wait`: also for the epoch in which one becomes due.
    """
    deadline = clock.now() + seconds
    while True:
        await office.reveals.look()
        for reveal in office.reveals.due:
            await office.reveals.begin(reveal)
        phases = {one.phase for one in office.reveals.statuses}
        if Phase.REVEAL_DUE in phases and office.reveals.open:
            pause = POLL_SECONDS
        elif Phase.COMMITTED in phases and wait:
            pause = RETRY_SECONDS
        else:
            break
        if clock.now() + pause > deadline:
            break
        await asyncio.sleep(pause)
    await office.reveals.read_copies()
    return office.reveals.statuses


@asynccontextmanager
async def open_office(
    network: Network,
    wallet: Wallet,
    places: Places,
    storage: Storage,
    premises: Premises,
    command: str,
    permit: SigningPermit,
) -> AsyncIterator[Office]:
    """Takes the wallet's lease and settles what an earlier run left open.

    Raises:
        LeaseHeldError: somebody else signs for this wallet.
        UnknownVersionError: the network has become one that this program does not know.
    """
    with ExitStack() as stack:
        lease = premises.lease(places, command)
        await asyncio.to_thread(stack.enter_context, lease)
        ledger = stack.enter_context(premises.ledger(places))
        reader = NetworkReader(await connect(network.endpoints), network.endpoints.rpc)
        writer = LedgerWriter(ledger)
        lanes = Lanes(network.endpoints, 2)
        await watch_versions(permit, (await reader.board()).epoch, Alarms(writer))
        permit.check()
        outbox = Outbox(wallet, lease, writer, lanes, reader, CoinPool(ledger.coins()), record_settled, permit)
        if await outbox.recover():
            await asyncio.sleep(INDEX_LAG_SECONDS)
        client = stack.enter_context(public_client())
        vault = premises.vault(places, wallet, storage, client)
        office = Office(
            wallet=wallet,
            network=network,
            reader=reader,
            ledger=ledger,
            writer=writer,
            outbox=outbox,
            vault=vault,
            publisher=Publisher(storage, client),
            reveals=RevealDesk(wallet.address, reader, vault, outbox, ledger, copies=ModelCopies(client, writer)),
            scratch=places.root,
        )
        await office.count_coins()
        try:
            yield office
        finally:
            await office.reveals.close()
