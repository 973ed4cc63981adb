"""The devnet's own keys: everybody can know them, they hold nothing of worth."""

from dataclasses import dataclass
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quickstart.chain.ids import Id32, address_of, blake2b_256
from quickstart.chain.transactions import TransactionData


@dataclass(frozen=True, slots=True)
class DevnetKey:
    """An ed25519 key of the devnet itself: a validator, a model's owner, the rival of the `target_stolen`
    fault."""

    private: Ed25519PrivateKey
    public: bytes
    address: Id32

    def sign(self, transaction: TransactionData) -> bytes:
        """64-byte signature over the transaction's signing hash."""
        return self.private.sign(transaction.signing_hash())


@cache
def devnet_key(name: str) -> DevnetKey:
    """The key called `name`, the same on every devnet."""
    private = Ed25519PrivateKey.from_private_bytes(blake2b_256(f"quickstart devnet key {name}".encode()))
    public = private.public_key().public_bytes_raw()
    return DevnetKey(private, public, address_of(public))


def signature_is_valid(transaction: TransactionData, signature: bytes, public_key: bytes) -> bool:
    """Whether `signature` is the key's over this transaction; says nothing about the sender."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, transaction.signing_hash())
    except (InvalidSignature, ValueError):
        return False
    return True
