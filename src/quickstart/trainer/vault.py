"""What a commit binds and its reveal must open, kept where no crash and no lost disk reaches it.

The decryption key exists nowhere else, and half the stake hangs on it. So before a commit is signed, key and embedding
lie on the disk, synced, and in the bucket, both encrypted with a key that only the wallet's secret gives. A backup's
name follows from that secret and from the commitment on the chain: whoever has the wallet finds it without a list.
"""

import base64
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quickstart.chain import bcs
from quickstart.chain.ids import Id32, blake2b_256, format_id
from quickstart.chain.keys import Wallet
from quickstart.chain.transactions import FloatVector, Manifest
from quickstart.durable import write_durably
from quickstart.errors import StateError, UnreachableError
from quickstart.submission.storage import Storage, verify_public

log = logging.getLogger(__name__)

NONCE_BYTES = 12
LARGEST_SEALED = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """One set of weights on its way to the network. `key`: 32 bytes that decrypt what `manifest` names; `embedding`:
    the float32 (width,) to reveal, to the bit; `weights`: checksum of the decrypted file.
    """

    key: bytes = field(repr=False)
    embedding: FloatVector
    manifest: Manifest
    weights: Id32

    @property
    def key_commitment(self) -> Id32:
        return blake2b_256(self.key)

    @property
    def embedding_commitment(self) -> Id32:
        return blake2b_256(bcs.tensor(self.embedding))

    def is_like(self, other: "Release") -> bool:
        """Whether both are the same, to the bit."""
        same_embedding = self.embedding_commitment == other.embedding_commitment
        return same_embedding and (self.key, self.manifest, self.weights) == (other.key, other.manifest, other.weights)


class Vault:
    """The releases of one wallet, one sealed file each, in `folder`, and their backups in `storage`. `made_durable` is
    called when `folder` has changed: a volume is only kept once it is committed.

    Raises:
        StateError: (any method) the folder cannot be used, or a file in it is damaged or another wallet's.
    """

    def __init__(
        self,
        folder: Path,
        wallet: Wallet,
        storage: Storage,
        client: httpx.Client,
        made_durable: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._made_durable = made_durable
        self._secret = wallet.secret
        self._storage = storage
        self._client = client

    def keep(self, release: Release) -> None:
        """Makes a release durable here and in the bucket, each read back; also one that an earlier run kept.

        Raises:
            DataUnreadableError: the backup cannot be read back; nothing may be committed.
        """
        path = self._path(release.key_commitment)
        sealed = self._kept(release, path) or seal(release, self._secret)
        _write(path, sealed)
        self._made_durable()
        self._open(path, release.key_commitment)
        # The name does not follow from the content: what an earlier run put there may be of the same size.
        url = self._storage.put(sealed, backup_name(self._secret, release.key_commitment), again=True)
        verify_public(url, blake2b_256(sealed), len(sealed), client=self._client)

    def find(self, key_commitment: Id32) -> Release | None:
        """The release of a commitment: from the disk, else from its backup; None when neither has it.

        Raises:
            UnreachableError: the disk does not have it, and whether there is a backup cannot be told now.
        """
        path = self._path(key_commitment)
        with suppress(StateError):  # a damaged file is what the backup is for
            if path.exists():
                return self._open(path, key_commitment)
        sealed = self._fetch_backup(key_commitment)
        if sealed is None:
            return self._open(path, key_commitment) if path.exists() else None
        release = open_sealed(sealed, self._secret, key_commitment)
        try:
            _write(path, sealed)
            self._made_durable()
        except StateError as error:  # what was found is worth half a stake, also where it cannot be kept once more
            log.error("%s", error)
        return release

    def releases(self) -> Iterator[Release]:
        """All that this disk has; damaged ones are left out."""
        return releases_in(self._folder, self._secret)

    def _kept(self, release: Release, path: Path) -> bytes | None:
        """What lies at `path`, where it opens to this very release: caches on the way may show nothing else of it."""
        try:
            sealed = path.read_bytes()
            opened = open_sealed(sealed, self._secret, release.key_commitment)
        except (OSError, StateError):  # what cannot be used is sealed anew
            return None
        return sealed if opened.is_like(release) else None

    def _fetch_backup(self, key_commitment: Id32) -> bytes | None:
        url = self._storage.public_url(backup_name(self._secret, key_commitment))
        try:
            answer = self._client.get(url)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(f"the backup of a key cannot be asked for at {url}: {error}") from error
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.FORBIDDEN):  # buckets that may not be listed
            return None
        if answer.status_code != httpx.codes.OK or len(answer.content) > LARGEST_SEALED:
            raise UnreachableError(f"the backup of a key cannot be read at {url} (HTTP {answer.status_code})")
        return answer.content

    def _path(self, key_commitment: Id32) -> Path:
        return self._folder / f"{key_commitment.hex()}.sealed"

    def _open(self, path: Path, key_commitment: Id32) -> Release:
        return _open(path, self._secret, key_commitment)


def releases_in(folder: Path, wallet_secret: bytes) -> Iterator[Release]:
    """The releases that a vault's folder holds; damaged ones, and those of other wallets, are left out."""
    for path in sorted(folder.glob("*.sealed")):
        with suppress(StateError, ValueError):
            yield _open(path, wallet_secret, bytes.fromhex(path.stem))


def _open(path: Path, wallet_secret: bytes, key_commitment: Id32) -> Release:
    try:
        return open_sealed(path.read_bytes(), wallet_secret, key_commitment)
    except OSError as error:
        raise StateError(f"{path} cannot be read ({error.strerror}); mend its permissions") from error
    except StateError as error:
        raise StateError(f"{path}: {error}") from error


def new_key() -> bytes:
    """A decryption key from the operating system's randomness."""
    return secrets.token_bytes(32)


def seal(release: Release, wallet_secret: bytes) -> bytes:
    """Nonce and AES-256-GCM of a release; what it opens is bound to its commitment."""
    content = {
        "key": release.key.hex(),
        "embedding": base64.b64encode(release.embedding.astype("<f4").tobytes()).decode(),
        "url": release.manifest.url,
        "checksum": release.manifest.checksum.hex(),
        "size": release.manifest.size,
        "weights": release.weights.hex(),
    }
    nonce = secrets.token_bytes(NONCE_BYTES)
    cipher = AESGCM(_derive(wallet_secret, b"quickstart release vault"))
    return nonce + cipher.encrypt(nonce, json.dumps(content).encode(), release.key_commitment)


def open_sealed(sealed: bytes, wallet_secret: bytes, key_commitment: Id32) -> Release:
    """Inverse of `seal`.

    Raises:
        StateError: damaged, another wallet's, or of another commitment.
    """
    cipher = AESGCM(_derive(wallet_secret, b"quickstart release vault"))
    try:
        content = json.loads(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], key_commitment))
    except (InvalidTag, ValueError) as error:
        raise StateError(
            f"the sealed release {format_id(key_commitment)} is damaged or another wallet's; restore a copy of it"
        ) from error
    return Release(
        key=bytes.fromhex(content["key"]),
        embedding=np.frombuffer(base64.b64decode(content["embedding"]), "<f4").astype(np.float32),
        manifest=Manifest(content["url"], bytes.fromhex(content["checksum"]), int(content["size"])),
        weights=bytes.fromhex(content["weights"]),
    )


def backup_name(wallet_secret: bytes, key_commitment: Id32) -> Id32:
    """Name of a release's backup in the bucket; nobody without the wallet can tell whose or what it is."""
    return _derive(wallet_secret, b"quickstart release backup " + key_commitment)


def _derive(secret: bytes, purpose: bytes) -> bytes:
    """32 bytes that follow from the wallet's secret and tell nothing of it."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by its owner only, and on the disk before this returns."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written ({error.strerror}); free disk space, or name another folder with --state"
        ) from error
