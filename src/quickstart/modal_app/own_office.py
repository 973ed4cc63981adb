"""The wallet's office in a container: lease in the bucket, ledger and vault on the volume, while it is open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from quickstart.chain.client import Endpoints
from quickstart.chain.identity import service_info
from quickstart.chain.keys import Wallet
from quickstart.chain.versions import SigningPermit
from quickstart.errors import SettingsError
from quickstart.modal_app.premises import volume_premises
from quickstart.modal_app.workplace import TESTNET_RPC, Shared
from quickstart.settings import S3Settings, Settings
from quickstart.submission.premises import Network, Places
from quickstart.submission.s3_storage import S3Storage
from quickstart.trainer.office import Office, open_office


@dataclass(frozen=True, slots=True)
class Owner:
    """The wallet on its network, and its bucket."""

    wallet: Wallet
    bucket: S3Settings
    endpoints: Endpoints
    settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> "Owner":
        """Raises SettingsError: the key or the bucket is missing."""
        bucket = settings.s3
        if bucket is None or settings.secret_key is None:
            raise SettingsError("missing: the bucket or the key; run `uv run create-secrets`")
        wallet = Wallet.parse(settings.secret_key.get_secret_value())
        return cls(wallet, bucket, Endpoints(settings.rpc_url or TESTNET_RPC), settings)

    async def places(self, state: Path) -> Places:
        return Places.of(state, await service_info(self.endpoints.rpc), self.wallet)


@asynccontextmanager
async def own_office(owner: Owner, ledgers: Shared, command: str) -> AsyncIterator[Office]:
    """Takes the wallet's lease; raises what `open_office` does."""
    with (
        TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as folder,
        closing(S3Storage(owner.bucket)) as storage,
    ):
        state = Path(folder)
        places = await owner.places(state)
        premises = volume_premises(owner.bucket, ledgers, state)
        permit = SigningPermit(owner.settings.accepted_versions)
        network = Network("testnet", owner.endpoints)
        async with open_office(network, owner.wallet, places, storage, premises, command, permit) as office:
            yield office
