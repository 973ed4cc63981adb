"""Hashes, identifiers and their text forms (`soma-protocol` §2).

Inside the program an id, address, digest or checksum is 32 raw bytes (`Id32`); text appears only at the
edges, because the network uses four text forms for them.
"""

import hashlib
import struct
from typing import TypeAlias

import base58

Id32: TypeAlias = bytes

ZERO_ID: Id32 = bytes(32)
SYSTEM_STATE_ID: Id32 = bytes(31) + b"\x05"


def blake2b_256(data: bytes | bytearray | memoryview) -> Id32:
    """BLAKE2b with a 32-byte digest, unkeyed: the network's only hash."""
    return hashlib.blake2b(data, digest_size=32).digest()


def address_of(public_key: bytes) -> Id32:
    """Address of an ed25519 public key: H(0x00 ‖ key)."""
    return blake2b_256(b"\x00" + public_key)


def derive_id(transaction_digest: Id32, index: int) -> Id32:
    """Id of the `index`-th object a transaction creates."""
    return blake2b_256(transaction_digest + struct.pack("<Q", index))


def target_seed(transaction_digest: Id32, index: int) -> int:
    """Seed (u64) of the embedding of the target a transaction spawns with creation number `index`."""
    return int.from_bytes(derive_id(transaction_digest, index)[:8], "little")


def parse_id(text: str) -> Id32:
    """Any text form of an id or address: with or without `0x`, leading zeros dropped or not.

    Raises:
        ValueError: not hexadecimal, or longer than 64 digits.
    """
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if not 0 < len(digits) <= 64:
        raise ValueError(f"not an id of up to 64 hexadecimal digits: {text[:80]!r}")
    return bytes.fromhex(digits.rjust(64, "0"))


def format_id(raw: Id32) -> str:
    """`0x` and 64 digits: the one form we show and send."""
    return "0x" + raw.hex()


def parse_digest(text: str) -> Id32:
    """Base58 (Bitcoin alphabet) of exactly 32 bytes.

    Raises:
        ValueError: not base58, or another length.
    """
    raw: bytes = base58.b58decode(text)
    if len(raw) != 32:
        raise ValueError(f"not base58 of 32 bytes: {text[:80]!r}")
    return raw


def format_digest(raw: Id32) -> str:
    """Base58 text of 32 bytes, as digests, checksums and commitments are shown."""
    return str(base58.b58encode(raw).decode("ascii"))
