"""A wallet that owns a model on a devnet: vault, published copies served over HTTP, desks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from live_devnet import SOMA, LiveDevnet, Office, office

from quickstart.chain.ids import Id32
from quickstart.chain.own_models import OwnModel
from quickstart.chain.transactions import FloatVector
from quickstart.devnet.state import Model
from quickstart.ledger.writer import LedgerWriter
from quickstart.submission.file_server import FileServer
from quickstart.submission.folder_storage import FolderStorage
from quickstart.submission.premises import Network
from quickstart.submission.storage import Publisher
from quickstart.trainer.copies import ModelCopies
from quickstart.trainer.office import Office as SigningOffice
from quickstart.trainer.products import Product
from quickstart.trainer.publication import Create, PublicationDesk, next_step, prepare
from quickstart.trainer.reveal_desk import RevealDesk
from quickstart.trainer.vault import Release, Vault

WEIGHTS = Path(str(files("quickstart.devnet") / "weights" / "c64.safetensors"))
PLAIN = WEIGHTS.read_bytes()
EMBEDDING = np.linspace(-1, 2, 64, dtype=np.float32)
STAKE = 5 * SOMA
PRODUCT = Product(WEIGHTS, EMBEDDING)


class Owner:
    """What the owner of a model does; `reopen` of its office is a restart."""

    def __init__(self, own: Office, storage: FolderStorage, client: httpx.Client, folder: Path) -> None:
        self.own, self.live, self.folder = own, own.live, folder
        self.storage, self.client = storage, client
        self.publisher = Publisher(storage, client, sleep=lambda seconds: None)

    @property
    def vault(self) -> Vault:
        return Vault(self.folder / "vault", self.own.wallet, self.storage, self.client)

    def desk(self, copies: ModelCopies | None = None) -> RevealDesk:
        own = self.own
        return RevealDesk(own.wallet.address, own.reader, self.vault, own.outbox, own.ledger, copies=copies)

    def office(self) -> SigningOffice:
        """What commands sign with."""
        own = self.own
        network = Network("devnet", self.live.endpoints)
        writer = LedgerWriter(own.ledger)
        desks = (own.outbox, self.vault, self.publisher, self.desk(), self.folder / "scratch")
        return SigningOffice(own.wallet, network, own.reader, own.ledger, writer, *desks)

    def prepared(self, models: Sequence[OwnModel] = ()) -> Release:
        return self.prepare(WEIGHTS, EMBEDDING, 64, models)

    def prepare(
        self, weights: Path, embedding: FloatVector, width: int = 64, models: Sequence[OwnModel] = ()
    ) -> Release:
        return prepare(Product(weights, embedding), width, self.vault, self.publisher, self.folder / "scratch", models)

    async def publish(self, *, update: bool = False) -> Id32:
        """What `uv run publish` does once it was confirmed."""
        await self.own.outbox.recover()
        epoch, models = await self.own.reader.own_models(self.own.wallet.address)
        step = next_step(models, epoch.number, update=update)
        release, desk = self.prepared(models), PublicationDesk(self.own.outbox)
        if isinstance(step, Create):
            model_id = await desk.create(STAKE, 1_000, epoch, release)
        else:
            model_id = step.model_id
        await desk.commit(model_id, release, epoch)
        return model_id

    async def create(self) -> None:
        """Only the first half of `publish`."""
        epoch, models = await self.own.reader.own_models(self.own.wallet.address)
        await PublicationDesk(self.own.outbox).create(STAKE, 1_000, epoch, self.prepared(models))

    async def autopilot(self) -> RevealDesk:
        """One look, and an attempt at what is due."""
        desk = self.desk()
        await desk.look()
        for reveal in desk.due:
            await desk.begin(reveal)
        return desk

    def model(self) -> Model:
        (model,) = (m for m in self.live.node.state.models.values() if m.owner == self.own.wallet.address)
        return model

    def assert_books(self) -> None:
        self.own.assert_right()


@contextmanager
def model_owner(live: LiveDevnet, folder: Path, *amounts: int, **options: Any) -> Iterator[Owner]:
    with (
        office(live, folder, *(amounts or (20 * SOMA,)), **options) as own,
        FileServer(folder / "published") as server,
        httpx.Client() as client,
    ):
        yield Owner(own, FolderStorage(folder / "published", server.base_url), client, folder)
