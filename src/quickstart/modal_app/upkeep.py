"""`rebuild` and `cleanup` of the ledger that lies on the volume: `submission.upkeep`, where nothing else signs."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quickstart.bank.mirror import mirror
from quickstart.chain.client import Endpoints
from quickstart.chain.identity import service_info
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import Lease
from quickstart.errors import LeaseHeldError, SettingsError, UsageError
from quickstart.ledger.snapshots import restore, take_snapshot
from quickstart.modal_app.names import CLEANUP, REBUILD
from quickstart.modal_app.ownership import LeaseThenReload, leave, take_over
from quickstart.modal_app.workplace import TESTNET_RPC, Shared, Workplace
from quickstart.settings import Settings
from quickstart.submission.premises import Network, Places, Premises
from quickstart.submission.s3_lease import bucket_lease
from quickstart.submission.s3_storage import S3Storage
from quickstart.submission.upkeep import Upkeep


def run_upkeep(workplace: Workplace, settings: Settings, what: str, *, dry_run: bool) -> dict[str, Any]:
    """Does `what` (`names.REBUILD` or `names.CLEANUP`) in a copy of the volume's ledger, and keeps that copy.

    Raises:
        LeaseHeldError: a run is at work, here or on a laptop.
        UsageError: something else that a person can mend.
    """
    if dry_run:
        return asyncio.run(_do(workplace, settings, what, dry_run=True))
    other = take_over(workplace.store, workplace.call_id, workplace.is_at_work)
    if other is not None:
        raise LeaseHeldError(f"{other} is at work, and signs: run `uv run stop` first; nothing was changed")
    try:
        return asyncio.run(_do(workplace, settings, what, dry_run=False))
    finally:
        leave(workplace.store, workplace.call_id)


async def _do(workplace: Workplace, settings: Settings, what: str, *, dry_run: bool) -> dict[str, Any]:
    bucket = settings.s3
    if bucket is None or settings.secret_key is None:
        raise SettingsError("missing: the bucket or the key; run `uv run create-secrets`")
    wallet = Wallet.parse(settings.secret_key.get_secret_value())
    endpoints = Endpoints(settings.rpc_url or TESTNET_RPC)
    info = await service_info(endpoints.rpc)

    storage = S3Storage(bucket)
    try:
        with TemporaryDirectory(prefix="quickstart-", ignore_cleanup_errors=True) as state:
            places = Places.of(Path(state), info, wallet)
            books = _Books(workplace.ledgers, Path(state), places)
            others = await asyncio.to_thread(books.take_up)

            def lease(places: Places, command: str) -> Lease:
                """Whoever held it until now, a reveal say, may have written what is not in our copy."""
                return LeaseThenReload(bucket_lease(bucket, places, f"{command} on Modal"), books.take_up)

            await asyncio.to_thread(workplace.bank.reload)
            await asyncio.to_thread(mirror, workplace.bank.folder, places.bank)  # copies that are gone are put back
            upkeep = Upkeep(
                Network("testnet", endpoints), wallet, places, info, storage, Premises(lease), keep=books.keep
            )
            if what == REBUILD:
                return await upkeep.rebuild(dry_run=dry_run)
            if what == CLEANUP:
                return await upkeep.cleanup(others, dry_run=dry_run)
            raise UsageError(f"{what!r} is neither {REBUILD} nor {CLEANUP}")
    finally:
        storage.close()


@dataclass(frozen=True, slots=True)
class _Books:
    """The ledgers of a volume, copied below `state` and back: nothing may be open on the volume itself."""

    volume: Shared
    state: Path
    places: Places

    def take_up(self) -> list[Path]:
        """Brings all here, in place of what is; those of other wallets, which may publish in the same bucket."""
        self.volume.reload()
        self.places.ledger.unlink(missing_ok=True)  # gone from the volume, it is gone
        here = [self.state / path.relative_to(self.volume.folder) for path in self.volume.folder.glob("*/*/*/*.sqlite")]
        for path in here:
            restore(self._there(path), path)
        return sorted(path for path in here if path != self.places.ledger)

    def keep(self) -> None:
        """Makes the wallet's ledger durable on the volume, and what was set aside as damaged."""
        own = self.places.ledger
        for damaged in own.parent.glob(f"{own.name}.damaged-*"):
            there, number = self._there(damaged), 1
            while there.exists():
                number += 1
                there = there.with_name(f"{own.name}.damaged-{number}")
            shutil.copyfile(damaged, there)
            damaged.unlink()
        take_snapshot(own, self._there(own))
        self.volume.commit()

    def _there(self, path: Path) -> Path:
        return self.volume.folder / path.relative_to(self.state)
