"""Where wallet's books, keys and lease lie in a container: on the ledger volume, and in the bucket."""

from pathlib import Path

import httpx

from quickstart.chain.keys import Wallet
from quickstart.chain.lease import Lease
from quickstart.ledger.snapshots import KeptLedger
from quickstart.modal_app.ownership import LeaseThenReload
from quickstart.modal_app.workplace import Shared
from quickstart.settings import S3Settings
from quickstart.submission.premises import Places, Premises
from quickstart.submission.s3_lease import bucket_lease
from quickstart.submission.storage import Storage
from quickstart.trainer.vault import Vault


def volume_premises(bucket: S3Settings, ledgers: Shared, state: Path) -> Premises:
    """What lies below `state`, a folder of this container, at the same place on the volume.

    The lease is in the bucket, where a laptop that runs the same wallet looks too; once it is ours, the volume is as
    its last holder left it.
    """

    def there(path: Path) -> Path:
        return ledgers.folder / path.relative_to(state)

    def lease(places: Places, command: str) -> Lease:
        return LeaseThenReload(bucket_lease(bucket, places, command), ledgers.reload)

    def ledger(places: Places) -> KeptLedger:
        return KeptLedger(places.ledger, there(places.ledger), ledgers.commit)

    def vault(places: Places, wallet: Wallet, storage: Storage, client: httpx.Client) -> Vault:
        return Vault(there(places.vault), wallet, storage, client, ledgers.commit)

    return Premises(lease=lease, ledger=ledger, vault=vault)
