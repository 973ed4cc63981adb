"""A wallet's life of several epochs on a live devnet, with wins, losses and a false claim, watched at every change of
epoch: what the desk says beside what the chain's state says.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live_devnet import SOMA, LiveDevnet, new_wallet
from sessions import SOURCE, servers

from quickstart.chain.ids import Id32
from quickstart.chain.keys import Wallet
from quickstart.chain.objects import TargetContents, TargetStatus
from quickstart.chain.transactions import ReportSubmission
from quickstart.data.folder import FolderSource
from quickstart.desk.accounts import Accounts, Books, accounts
from quickstart.desk.asking import ask_chain
from quickstart.devnet.genesis import VALIDATOR
from quickstart.devnet.keys import devnet_key
from quickstart.executors.local import LocalExecutor, WorkerSettings
from quickstart.ledger.ledger import Ledger
from quickstart.submission.actions import Policy
from quickstart.submission.file_server import FileServer
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.premises import Network, Places, Plan
from quickstart.submission.progress import Progress
from quickstart.submission.session import open_session
from quickstart.submission.storage import Storage

HITS = 8
STOLEN = 3
FUNDS = 50 * SOMA


@dataclass(frozen=True)
class Moment:
    """What the desk said, and what was on the chain at that moment: our open fills, our coins' sum, its epoch."""

    said: Accounts
    epoch: int
    balance: int
    fills: dict[Id32, TargetContents]


@dataclass
class Life:
    live: LiveDevnet
    state: Path
    wallet: Wallet = field(default_factory=new_wallet)
    moments: list[Moment] = field(default_factory=list)
    filled: dict[Id32, TargetContents] = field(default_factory=dict)
    stolen: dict[Id32, TargetContents] = field(default_factory=dict)
    false_claim: Id32 | None = None

    @property
    def ledger_path(self) -> Path:
        (path,) = self.state.glob("networks/*/*/ledger.sqlite")
        return path

    def our_fills(self) -> dict[Id32, TargetContents]:
        mine = self.wallet.address
        targets = self.live.node.state.targets()
        return {i: t for i, t in targets if t.status is TargetStatus.FILLED and t.submitter == mine}

    def steal(self, progress: Progress) -> None:
        """A stranger fills targets, once in the first epoch, after our first fills."""
        if not self.stolen and progress.filled >= 2:
            for target_id in self.live.open_targets()[:STOLEN]:
                self.live.fill_by_stranger(target_id)
                self.stolen[target_id] = self.live.node.state.target(target_id)

    async def advance(self) -> int:
        """Ends the epoch; afterwards, once, the validator reports one of our fills. The desk is asked before that."""
        await self.note()
        epoch = await self.live.node.advance_epoch()
        if self.false_claim is None:
            self.false_claim = min(self.our_fills())
            validator = devnet_key(VALIDATOR)
            (gas,) = self.live.fund(validator.address, SOMA)
            self.live.act_as_key(validator, ReportSubmission(self.false_claim), gas)
        return epoch

    async def note(self) -> None:
        ledger = Ledger(self.ledger_path)
        try:
            asked = await ask_chain(self.live.endpoints.rpc, self.wallet.address)
            assert asked.trouble is None
            said = accounts(Books.of(ledger), asked.value, None)
        finally:
            ledger.close()
        state = self.live.node.state
        coins = self.live.chain_coins(self.wallet.address).values()
        self.filled |= self.our_fills()
        self.moments.append(Moment(said, state.epoch, sum(coin.balance for coin in coins), self.our_fills()))

    async def live_on(self) -> dict[str, Any]:
        """Two epochs of submitting, two of claiming."""

        def executor(places: Places) -> LocalExecutor:
            settings = WorkerSettings(places.bank, self.state / "weights", 10**9, "numpy", private_hosts=True)
            return LocalExecutor(settings, workers=1)

        def published(places: Places) -> Storage:
            servers.append(FileServer(places.root / "published").start())
            return FolderStorage(places.root / "published", servers[-1].base_url)

        plan = Plan(Policy(max_hits_per_epoch=HITS), 2, 8, (FolderSource(SOURCE),))
        network = Network("devnet", self.live.endpoints, self.advance)
        session = await open_session(network, self.wallet, self.state, plan, published, executor, self.steal)
        result = await session.run()
        await self.note()
        return result


def lived(live: LiveDevnet, state: Path) -> Life:
    life = Life(live, state)
    live.fund(life.wallet.address, FUNDS)

    async def limited() -> None:
        async with asyncio.timeout(60):
            await life.live_on()

    live.runner.run(limited())
    return life
