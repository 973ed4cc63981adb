"""New windows for a bank, cut from sources in turn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from quickstart.bank.segments import disk_errors, list_folders, open_root
from quickstart.bank.shards import ShardId, checksum_list, read_shard, write_shard
from quickstart.chain.ids import Id32
from quickstart.data.filters import FilterCounts, usable_windows
from quickstart.data.window import Source, Window


class Shelf(Protocol):
    """Where windows are put: a `Bank`, or only the shelf with its windows."""

    def known_checksums(self) -> set[Id32]: ...

    def add_windows(self, windows: Sequence[Window]) -> ShardId: ...


class WindowShelf:
    """The windows of a bank's folder without its scores: what a machine needs that only cuts windows.

    Raises:
        StateError: (any method) the folder is of a newer version, damaged, not writable, or its disk is full.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        open_root(root)

    def known_checksums(self) -> set[Id32]:
        with disk_errors(self.root):
            shards = [read_shard(self.root, name) for name in list_folders(self.root / "windows")]
        return {checksum for shard in shards if shard is not None for checksum in checksum_list(shard)}

    def add_windows(self, windows: Sequence[Window]) -> ShardId:
        return write_shard(self.root, windows)


def add_new_windows(
    shelf: Shelf, sources: Sequence[Source], wanted: int, seed: int, shard_windows: int
) -> FilterCounts:
    """Adds up to `wanted` windows that the shelf does not have, in shards of `shard_windows`; what passed and what not.

    Raises:
        SourceError: no source has a usable window.
    """
    counts = FilterCounts()
    seen = shelf.known_checksums()
    streams = [usable_windows(source, seed, seen, counts) for source in sources]
    shard: list[Window] = []
    while streams and wanted > 0:
        for stream in list(streams):
            window = next(stream, None)
            if window is None:
                streams.remove(stream)
                continue
            shard.append(window)
            wanted -= 1
            if len(shard) == shard_windows or wanted == 0:
                shelf.add_windows(shard)
                shard = []
            if wanted == 0:
                break
    if shard:
        shelf.add_windows(shard)
    return counts
