"""The state folder: its version, and the key of networks of our own."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from quickstart.durable import write_durably
from quickstart.errors import KeyFormatError, StateError, UsageError
from quickstart.ledger.wallet_files import STATE_VERSION, WalletFile, wallet_files

if TYPE_CHECKING:
    from quickstart.chain.keys import Wallet

_REMEDY = "free disk space, mend its permissions, or name another folder with --state"


def open_state(folder: Path) -> Path:
    """The state folder, made if needed.

    Raises:
        StateError: it is of a newer version, or cannot be written.
    """
    marker = folder / "version"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            write_durably(marker, f"{STATE_VERSION}\n".encode())
        version = int(marker.read_text())
    except ValueError as error:
        raise StateError(f"{marker} does not hold a version; name another folder with --state") from error
    except OSError as error:
        raise StateError(f"the state folder {folder} cannot be used ({error.strerror}); {_REMEDY}") from error
    if version > STATE_VERSION:
        raise StateError(
            f"the state folder {folder} is of version {version}, this program knows {STATE_VERSION}; "
            "update the program, or name another folder with --state"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StateError(f"the state folder {folder} cannot be used (it is read-only); {_REMEDY}")
    return folder


def ledgers_of(folder: Path) -> tuple[WalletFile, ...]:
    """The ledgers of all wallets in a state folder, by chain and address.

    Raises:
        UsageError: there is none.
        StateError: as `open_state`.
    """
    ledgers = tuple(sorted(wallet_files(folder), key=lambda one: one.path))
    if not ledgers:
        raise UsageError(f"no ledger in {folder} yet: run `uv run submit --network devnet` first, or name --state DIR")
    open_state(folder)
    return ledgers


def throw_away_wallet(path: Path) -> "Wallet":
    """A key for a network whose coins are worth nothing; readable by its owner only, durable before it is used.

    Raises:
        StateError: the file cannot be written, or holds something else.
    """
    from quickstart.chain.keys import Wallet

    try:
        if path.exists():
            return Wallet.parse(path.read_text())
        wallet = Wallet.generate()
        write_durably(path, f"{wallet.secret.hex()}\n".encode())
    except OSError as error:
        raise StateError(f"the key {path} cannot be used ({error.strerror}); {_REMEDY}") from error
    except (KeyFormatError, UnicodeDecodeError):
        raise StateError(f"{path} holds no key; restore it, or name another folder with --state") from None
    return wallet
