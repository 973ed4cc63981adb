"""The secret key: its text forms, and the one object that signs (`soma-protocol` §2).

The SDK takes fewer forms of a key than people paste, and refuses surrounding blanks; here every form that is
safe to tell from the others is taken. No message, repr or log ever holds any part of a key.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import base58
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from quickstart.chain.ids import Id32, address_of
from quickstart.errors import KeyFormatError

if TYPE_CHECKING:
    from soma_sdk import Keypair

KEY_BYTES = 32
KNOWN_FORMATS = (
    "64 hexadecimal digits (with or without 0x), bech32 (somaprivkey1...), or base58 or padded base64 of 32 bytes"
)

_BECH32_PREFIX = "somaprivkey"
_BECH32_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_ED25519_FLAG = 0x00
_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)")
_BASE58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]+")
_BASE64 = re.compile(r"[0-9A-Za-z+/_-]+=")


def parse_secret_key(text: str) -> bytes:
    """The 32 bytes of an ed25519 secret key from any known text form.

    White space and matching quotes around the text are dropped. Base64 must keep its padding: without it, 43
    characters may mean one key in base58 and another in base64.

    Raises:
        KeyFormatError: no known form; says what was seen (length, alphabet), never any part of the key.
    """
    bare = _unquoted(text)
    hexadecimal = _HEX.fullmatch(bare)
    if hexadecimal:
        # Never on to base58: a key in hexadecimal with digits missing could pass for another key there.
        if len(hexadecimal[1]) == 2 * KEY_BYTES:
            return bytes.fromhex(hexadecimal[1])
        raise _unknown(_seen(bare))
    if bare.lower().startswith(_BECH32_PREFIX + "1"):
        return _bech32_key(bare)
    # 32 bytes are 32 to 44 characters of base58 and 44 of base64; the bound keeps long pastes cheap.
    if len(bare) <= 44:
        if _BASE58.fullmatch(bare):
            decoded = base58.b58decode(bare)
            if len(decoded) == KEY_BYTES:
                return bytes(decoded)
        elif _BASE64.fullmatch(bare):
            key = _base64_key(bare)
            if key is not None:
                return key
    raise _unknown(_seen(bare))


@dataclass(frozen=True, slots=True)
class Wallet:
    """A key that can sign, and its address. `secret`: 32 bytes, never shown."""

    secret: bytes = field(repr=False)
    address: Id32 = field(init=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise KeyFormatError(f"a secret key has {KEY_BYTES} bytes, not {len(self.secret)}")
        public_key = Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        object.__setattr__(self, "address", address_of(public_key))

    @classmethod
    def parse(cls, text: str) -> "Wallet":
        """See `parse_secret_key`."""
        return cls(parse_secret_key(text))

    @classmethod
    def generate(cls) -> "Wallet":
        """A new key from the operating system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def keypair(self) -> "Keypair":
        """The SDK's view of this key, for its own calls."""
        from soma_sdk import Keypair

        return Keypair.from_secret_key(self.secret)

    def encoded(self) -> str:
        """The key itself, as `somaprivkey1...`, whose checksum finds typing errors. For its owner's eyes only."""
        keypair: Any = self.keypair()
        return str(keypair.to_encoded())

    def sign(self, transaction_bytes: bytes) -> bytes:
        """Signed transaction (§3 "signed tx") of encoded `TransactionData`. Nothing else here signs.

        Raises:
            ValueError: the bytes are not a transaction.
        """
        return bytes(self.keypair().sign(transaction_bytes))


def _unquoted(text: str) -> str:
    bare = text.strip()
    while len(bare) >= 2 and bare[0] == bare[-1] and bare[0] in "\"'`":
        bare = bare[1:-1].strip()
    return bare


def _base64_key(text: str) -> bytes | None:
    standard = text.translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(standard, validate=True)
    except binascii.Error:
        return None
    # A text whose last character carries stray bits is a typing error, not a key.
    canonical = base64.b64encode(decoded).decode("ascii") == standard
    return decoded if len(decoded) == KEY_BYTES and canonical else None


def _bech32_key(text: str) -> bytes:
    if text != text.lower() and text != text.upper():
        raise _unknown("a bech32 text in mixed case")
    symbols = [_BECH32_ALPHABET.find(character) for character in text.lower()[len(_BECH32_PREFIX) + 1 :]]
    if -1 in symbols:
        raise _unknown("a bech32 text with a character outside its alphabet")
    prefix = [ord(character) >> 5 for character in _BECH32_PREFIX]
    prefix += [0, *(ord(character) & 31 for character in _BECH32_PREFIX)]
    if len(symbols) < 6 or _bech32_polymod([*prefix, *symbols]) != 1:
        raise _unknown("a bech32 text with a wrong checksum (a character is missing or mistyped)")
    payload = _regroup(symbols[:-6])
    if payload is None or len(payload) != 1 + KEY_BYTES:
        raise _unknown("a bech32 text of another length than a key's")
    if payload[0] != _ED25519_FLAG:
        raise _unknown("a bech32 key of another signature scheme than ed25519")
    return payload[1:]


def _bech32_polymod(symbols: Iterable[int]) -> int:
    """Checksum register of BIP 173; 1 after all symbols of a correct text."""
    register = 1
    for symbol in symbols:
        top = register >> 25
        register = (register & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate(_BECH32_GENERATORS):
            if top >> bit & 1:
                register ^= generator
    return register


def _regroup(symbols: Sequence[int]) -> bytes | None:
    """Five-bit groups to bytes; None if the padding is not what the encoder writes."""
    bits = "".join(f"{symbol:05b}" for symbol in symbols)
    whole = len(bits) // 8 * 8
    padding = bits[whole:]
    if len(padding) > 4 or "1" in padding:
        return None
    return bytes(int(bits[start : start + 8], 2) for start in range(0, whole, 8))


def _seen(text: str) -> str:
    words = len(text.split())
    if not text:
        return "an empty text"
    if words > 1:
        return f"{words} words (a mnemonic phrase is not taken: export the key itself)"
    hexadecimal = _HEX.fullmatch(text)
    if hexadecimal:
        return f"{len(hexadecimal[1])} hexadecimal digits"
    if _BASE58.fullmatch(text):
        return f"{len(text)} characters of base58"
    if _BASE64.fullmatch(text.rstrip("=") + "="):
        return f"{len(text)} characters of base64"
    return f"{len(text)} characters, some of no known alphabet"


def _unknown(seen: str) -> KeyFormatError:
    return KeyFormatError(f"the secret key is in no known format: expected {KNOWN_FORMATS}; seen {seen}")
