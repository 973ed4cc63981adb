"""Window shards: the bytes of some windows, their checksums, and where each came from.

`data.bin`: n x 1,024 bytes; `checksums.bin`: n x 32 bytes; `provenance.json`: sources, paths, licences, revisions and
kinds once each, and per window its offset and an index into each. The marker holds, for every stream that windows were
taken from, where it goes on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quickstart.bank.segments import read_marker, read_verified, write_segment
from quickstart.chain.ids import Id32, blake2b_256
from quickstart.data.window import WINDOW_BYTES, Provenance, Window
from quickstart.errors import StateError

ShardId: TypeAlias = str
"""32 hexadecimal digits: BLAKE2b-128 over the windows' checksums and their provenance."""

Mark: TypeAlias = dict[str, Any]
"""How many windows a stream has given (`given`), and what goes on behind them (`cursor`). The largest counts."""

NO_MARKS: Mapping[str, Mark] = {}

_DATA, _CHECKSUMS, _PROVENANCE = "data.bin", "checksums.bin", "provenance.json"


@dataclass(frozen=True, slots=True, eq=False)
class ShardFiles:
    """A complete shard on disk. `checksums`: uint8 (n, 32). `marks`: where the streams go on, by stream; whoever
    removes a shard must keep those that no other shard has passed.
    """

    id: ShardId
    folder: Path
    checksums: NDArray[np.uint8]
    marks: Mapping[str, Mark]

    def __len__(self) -> int:
        return len(self.checksums)

    def provenance(self) -> list[Provenance]:
        """Where each window came from, in the shard's order."""
        table = json.loads((self.folder / _PROVENANCE).read_bytes())
        sources, paths, licences = table["sources"], table["paths"], table["licences"]
        revisions, kinds = table["revisions"], table["kinds"]
        return [
            Provenance(sources[source], paths[path], offset, licences[licence], revisions[revision], kinds[kind])
            for source, path, licence, offset, revision, kind in table["windows"]
        ]

    def data(self) -> bytes:
        """All windows' bytes, not compared with their checksums."""
        return (self.folder / _DATA).read_bytes()

    def windows(self, first: int = 0, count: int | None = None) -> list[Window]:
        """Windows `first` to `first + count` with their bytes, each compared with its checksum.

        Raises:
            StateError: bytes on disk are not those that were written.
        """
        end = len(self) if count is None else first + count
        with (self.folder / _DATA).open("rb") as file:
            file.seek(first * WINDOW_BYTES)
            data = file.read((end - first) * WINDOW_BYTES)
        provenance = self.provenance()
        windows = []
        for row in range(first, end):
            content = data[(row - first) * WINDOW_BYTES : (row - first + 1) * WINDOW_BYTES]
            window = Window.cut(content, provenance[row])
            if window.checksum != self.checksums[row].tobytes():
                raise StateError(f"{self.folder / _DATA} is damaged: remove that folder, its windows are scored anew")
            windows.append(window)
        return windows


def write_shard(root: Path, windows: Sequence[Window], marks: Mapping[str, Mark] = NO_MARKS) -> ShardId:
    """Writes a shard (again, if a torn one is there) and returns its name.

    Raises:
        ValueError: no window, or one that is not 1,024 bytes long.
        StateError: the disk is full or refuses.
    """
    if not windows:
        raise ValueError("a shard needs at least one window")
    if any(len(window.data) != WINDOW_BYTES for window in windows):
        raise ValueError(f"every window of a shard has {WINDOW_BYTES} bytes")
    checksums = b"".join(window.checksum for window in windows)
    provenance = _encode_provenance([window.provenance for window in windows])
    shard_id = blake2b(checksums + blake2b_256(provenance), digest_size=16).hexdigest()
    files = {
        _DATA: b"".join(window.data for window in windows),
        _CHECKSUMS: checksums,
        _PROVENANCE: provenance,
    }
    write_segment(root, shard_folder(root, shard_id), files, {"windows": len(windows), "marks": dict(marks)})
    return shard_id


def read_shard(root: Path, shard_id: ShardId) -> ShardFiles | None:
    """A complete shard, or None if it is torn or damaged."""
    folder = shard_folder(root, shard_id)
    marker = read_marker(folder)
    if marker is None:
        return None
    checksums = read_verified(folder, _CHECKSUMS, marker)
    if checksums is None or read_verified(folder, _PROVENANCE, marker) is None:
        return None
    return ShardFiles(shard_id, folder, np.frombuffer(checksums, np.uint8).reshape(-1, 32), marker.get("marks", {}))


def shard_folder(root: Path, shard_id: ShardId) -> Path:
    return root / "windows" / shard_id


def checksum_list(shard: ShardFiles) -> list[Id32]:
    """The shard's checksums as 32-byte strings, in order."""
    raw = shard.checksums.tobytes()
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def _encode_provenance(rows: Sequence[Provenance]) -> bytes:
    sources: dict[str, int] = {}
    paths: dict[str, int] = {}
    licences: dict[str | None, int] = {}
    revisions: dict[str | None, int] = {}
    kinds: dict[str, int] = {}
    windows = [
        (
            sources.setdefault(row.source, len(sources)),
            paths.setdefault(row.path, len(paths)),
            licences.setdefault(row.licence, len(licences)),
            row.offset,
            revisions.setdefault(row.revision, len(revisions)),
            kinds.setdefault(row.kind, len(kinds)),
        )
        for row in rows
    ]
    # ASCII escapes keep file names that are not UTF-8 (surrogate escapes) as they are.
    table = {
        "sources": list(sources),
        "paths": list(paths),
        "licences": list(licences),
        "revisions": list(revisions),
        "kinds": list(kinds),
        "windows": windows,
    }
    return json.dumps(table, separators=(",", ":")).encode("ascii")
