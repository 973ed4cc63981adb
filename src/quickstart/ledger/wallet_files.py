"""Which wallets a folder has ledgers of; the folder's names tell, nothing is opened."""

from dataclasses import dataclass
from pathlib import Path

from quickstart.chain.ids import Id32


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
    found = [path for path in (state / "networks").glob("*/*/ledger.sqlite") if _is_address(path.parent.name)]
    found.sort(key=_written, reverse=True)
    return tuple(WalletFile(path, path.parent.parent.name, path.parent.name) for path in found)


def _is_address(name: str) -> bool:
    return len(name) == 64 and all(digit in "0123456789abcdef" for digit in name)


def _written(path: Path) -> float:
    times = [0.0]
    for one in (path, path.with_name(path.name + "-wal")):
        try:
            times.append(one.stat().st_mtime)
        except OSError:  # the log is gone as soon as nobody has the ledger open
            continue
    return max(times)
