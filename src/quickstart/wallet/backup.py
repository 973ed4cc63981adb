"""An encrypted copy of the key: scrypt of a passphrase, AES-256-GCM of the key, bound to the address.

The cost of scrypt is fixed by the format's version and not read from the file: a damaged or hostile file could ask for
any amount of memory.
"""

import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from quickstart.chain.ids import format_id, parse_id
from quickstart.chain.keys import Wallet
from quickstart.errors import KeyFormatError, UsageError

FORMAT = "quickstart wallet backup 1"
SALT_BYTES, NONCE_BYTES = 16, 12
SHORTEST_PASSPHRASE = 10

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**17, 8, 1
"""128 MiB and about half a second for each guess."""

_LARGEST = 4096


def seal(wallet: Wallet, passphrase: str) -> bytes:
    """The backup's text, one JSON document; each call gives another.

    Raises:
        UsageError: the passphrase is too short.
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise UsageError(f"the passphrase has fewer than {SHORTEST_PASSPHRASE} characters: take a longer one")
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    address = format_id(wallet.address)
    sealed = AESGCM(_derive(passphrase, salt)).encrypt(nonce, wallet.secret, _bound(address))
    document = {"format": FORMAT, "address": address, "salt": salt.hex(), "nonce": nonce.hex(), "sealed": sealed.hex()}
    return (json.dumps(document, indent=2) + "\n").encode()


def open_backup(text: bytes, passphrase: str) -> Wallet:
    """Inverse of `seal`.

    Raises:
        UsageError: no backup, a damaged one, or another passphrase's.
    """
    address, salt, nonce, sealed = _parts(text)
    try:
        secret = AESGCM(_derive(passphrase, salt)).decrypt(nonce, sealed, _bound(address))
        wallet = Wallet(secret)
    except (InvalidTag, KeyFormatError):
        raise UsageError("the backup does not open: the passphrase is another, or the file is damaged") from None
    if format_id(wallet.address) != address:
        raise UsageError("the backup is damaged: its key is not that of its address")
    return wallet


def address_in(text: bytes) -> str:
    """Whose backup it says it is; proven only by opening it.

    Raises:
        UsageError: no backup.
    """
    return _parts(text)[0]


def _parts(text: bytes) -> tuple[str, bytes, bytes, bytes]:
    try:
        document: Any = json.loads(text) if len(text) <= _LARGEST else None
        if document["format"] != FORMAT:
            raise ValueError
        salt, nonce, sealed = (bytes.fromhex(document[name]) for name in ("salt", "nonce", "sealed"))
        if (len(salt), len(nonce)) != (SALT_BYTES, NONCE_BYTES):
            raise ValueError
        return format_id(parse_id(document["address"])), salt, nonce, sealed
    except (ValueError, TypeError, KeyError):
        raise UsageError(f"this is no `{FORMAT}`: name the file that `uv run wallet backup FILE` made") from None


def _derive(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase.encode())


def _bound(address: str) -> bytes:
    return f"{FORMAT} {address}".encode()
