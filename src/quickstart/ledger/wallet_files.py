"""How a state folder is laid out: which wallets it has ledgers of. Its names tell, nothing is opened."""

from dataclasses import dataclass
from pathlib import Path

from quickstart.chain.ids import Id32

STATE_VERSION = 1
"""Of how a state folder is laid out; its file `version` tells it."""

LEDGER = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class WalletFile:
    """A wallet's ledger: `STATE/networks/CHAIN/ADDRESS/ledger.sqlite`. `address`: 64 hexadecimal digits."""

    path: Path
    chain: str
    address: str

    @property
    def owner(self) -> Id32:
        return bytes.fromhex(self.address)


def wallet_files(state: Path) -> tuple[WalletFile, ...]:
    """The ledgers of a state folder, the one that was written last first."""
    found = [file for path in (state / "networks").glob(f"*/*/{LEDGER}") if (file := wallet_file(path)) is not None]
    return tuple(sorted(found, key=lambda one: _written(one.path), reverse=True))


def wallet_file(path: Path) -> WalletFile | None:
    """The wallet whose ledger a path is; None for any other path, a copy that somebody put aside among them."""
    address = path.parent.name
    if path.name != LEDGER or len(address) != 64 or not set(address) <= set("0123456789abcdef"):
        return None
    return WalletFile(path, path.parent.parent.name, address)


def _written(path: Path) -> float:
    times = [0.0]
    for one in (path, path.with_name(path.name + "-wal")):
        try:
            times.append(one.stat().st_mtime)
        except OSError:  # the log is gone as soon as nobody has the ledger open
            continue
    return max(times)
