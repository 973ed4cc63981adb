"""What a run stands on: the network, the plan, and where wallet's books, bank, lease and requests lie.

Everything that differs between a laptop, a devnet and Modal is one of these values.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx

from quickstart.chain.client import Endpoints
from quickstart.chain.identity import ServiceInfo
from quickstart.chain.keys import Wallet
from quickstart.chain.lease import FileLease, Lease
from quickstart.data.filter_names import DEFAULT_FILTERS
from quickstart.data.window import Source
from quickstart.ledger.ledger import Ledger
from quickstart.submission.actions import Policy
from quickstart.submission.requests import RequestBox, Requests
from quickstart.submission.storage import Storage
from quickstart.trainer.vault import Vault

AdvanceEpoch: TypeAlias = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Network:
    """Where to run. `advance_epoch` and `faucet` exist on networks of our own; None elsewhere."""

    name: str
    endpoints: Endpoints
    advance_epoch: AdvanceEpoch | None = None
    faucet: Callable[[], Awaitable[int]] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `windows`: new windows to score in this run; `epochs`: epochs of submitting, 0 to claim only.

    `seed`: the order in which sources are read; `filters`: kinds of window left out. `accepted_versions`: unknown ones
    under which a person lets us sign (`chain.versions`).
    """

    policy: Policy
    epochs: int
    windows: int
    sources: tuple[Source, ...]
    seed: int = 0
    filters: tuple[str, ...] = DEFAULT_FILTERS
    command: str = "submit"
    dry_run: bool = False
    accepted_versions: tuple[str, ...] = ()


def chain_folder(info: ServiceInfo) -> str:
    """The name under which what belongs to a chain is filed."""
    return "".join(c for c in info.chain_id if c.isalnum())[:32] or "unknown"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one wallet on one chain."""

    root: Path

    @classmethod
    def of(cls, state: Path, info: ServiceInfo, wallet: Wallet) -> "Places":
        return cls(state / "networks" / chain_folder(info) / wallet.address.hex())

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite"

    @property
    def bank(self) -> Path:
        return self.root / "bank"

    @property
    def lease(self) -> Path:
        return self.root / "lease"

    @property
    def vault(self) -> Path:
        return self.root / "vault"

    @property
    def requests(self) -> RequestBox:
        return RequestBox(self.root / "requests")


def _file_lease(places: Places, command: str) -> Lease:
    return FileLease(places.lease, command)


def _ledger_file(places: Places) -> AbstractContextManager[Ledger]:
    return closing(Ledger(places.ledger))


def _vault_folder(places: Places, wallet: Wallet, storage: Storage, client: httpx.Client) -> Vault:
    return Vault(places.vault, wallet, storage, client)


def _request_folder(places: Places) -> Requests:
    return places.requests


@dataclass(frozen=True, slots=True)
class Premises:
    """What stands where, by default all in the wallet's folder on this machine.

    `lease`: made for a command, entered before anything else. `ledger`: opens the books, and closes them at the end of
    the run. `requests`: where other commands leave what they want done. `vault`: keeps the keys of our own models.
    """

    lease: Callable[[Places, str], Lease] = _file_lease
    ledger: Callable[[Places], AbstractContextManager[Ledger]] = _ledger_file
    requests: Callable[[Places], Requests] = _request_folder
    vault: Callable[[Places, Wallet, Storage, httpx.Client], Vault] = _vault_folder
