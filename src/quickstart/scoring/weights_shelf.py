"""Decrypted weights on a volume: put there by the one function that knows keys, read by every scorer.

`<checksum>.safetensors` is named by what is in it; `names/<weights id>.json` comes after it and says which file a
model's published file and key lead to.
"""

import contextlib
import json
import os
from pathlib import Path

from quickstart.bank.segments import disk_errors, open_root, write_file, written_aside
from quickstart.chain.board import sealed_weights_id
from quickstart.chain.ids import Id32
from quickstart.chain.transactions import Manifest
from quickstart.durable import put_in_place
from quickstart.errors import StateError, WeightsError
from quickstart.scoring.engine import Weights
from quickstart.scoring.tensor_file import FileAt
from quickstart.scoring.weights import open_weights
from quickstart.scoring.weights_store import WeightsStore


class WeightsShelf:
    """The folder `root`, which holds at most `max_bytes` of weights, besides those that are just being fetched; the
    longest unused go first.

    Raises:
        StateError: (any method that writes) the disk is full or refuses.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    def checksum_of(self, weights_id: Id32) -> Id32 | None:
        """Checksum of the decrypted weights, if they are here."""
        try:
            named = json.loads(self._name(weights_id).read_bytes())
            checksum = bytes.fromhex(named["weights"])
            return checksum if self._file(checksum).stat().st_size == named["size"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def add(self, manifest: Manifest, key: bytes, store: WeightsStore) -> Id32:
        """Fetches, checks and decrypts a model's weights, unless they are here; their checksum.

        Raises:
            WeightsError: the model's weights cannot be had or trusted.
        """
        weights_id = sealed_weights_id(manifest, key)
        checksum = self.checksum_of(weights_id)
        if checksum is None:
            open_root(self._root)
            with disk_errors(self._root):
                with written_aside(self._root) as plain:
                    checksum = store.fetch_into(plain, manifest, key).checksum
                    if not self.has(checksum):
                        # Not before: a model that only claims to be so large takes no other's place.
                        self._make_room(manifest.size)
                        put_in_place(plain, self._file(checksum))
                self._name(weights_id).parent.mkdir(exist_ok=True)
                named = {"weights": checksum.hex(), "size": manifest.size}
                write_file(self._root, self._name(weights_id), [json.dumps(named).encode()])
        with contextlib.suppress(OSError):  # only tells which are used
            os.utime(self._file(checksum))
        return checksum

    def has(self, checksum: Id32) -> bool:
        return self._file(checksum).exists()

    def load(self, checksum: Id32) -> Weights:
        """Weights that are here, checked again; their file is open only while it is read.

        Raises:
            StateError: they are not here, or not what was put here.
        """
        path = self._file(checksum)
        try:
            weights = open_weights(FileAt(path))
        except OSError as error:
            raise StateError(f"the weights {path} cannot be read ({error.strerror or error})") from error
        except WeightsError as error:
            raise _damaged(path) from error
        if weights.checksum != checksum:
            raise _damaged(path)
        return weights

    def _make_room(self, size: int) -> None:
        """Drops the longest unused files until `size` bytes more fit."""
        files = sorted(self._root.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total + size <= self._max_bytes:
                return
            total -= path.stat().st_size
            path.unlink()

    def _file(self, checksum: Id32) -> Path:
        return self._root / f"{checksum.hex()}.safetensors"

    def _name(self, weights_id: Id32) -> Path:
        return self._root / "names" / f"{weights_id.hex()}.json"


def _damaged(path: Path) -> StateError:
    return StateError(f"the weights {path} are damaged: remove the file, it is fetched anew")
