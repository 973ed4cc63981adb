"""New windows for a bank, cut from sources in turn; where each source goes on is kept with them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from quickstart.bank.segments import disk_errors, list_folders, open_root
from quickstart.bank.shards import NO_MARKS, Mark, ShardId, checksum_list, read_shard, write_shard
from quickstart.data.filter_names import DEFAULT_FILTERS, DUPLICATE
from quickstart.data.filters import FilterCounts, Filters, usable_windows
from quickstart.data.window import Source, SourcePlan, Window, WindowStream
from quickstart.errors import SourceError

SHARDS_AT_ONCE = 16


class Shelf(Protocol):
    """Where windows are put: a `Bank`, or only the shelf with its windows."""

    @property
    def root(self) -> Path: ...

    def add_windows(self, windows: Sequence[Window], marks: Mapping[str, Mark] = ...) -> ShardId: ...


class WindowShelf:
    """The windows of a bank's folder without its scores: what a machine needs that only cuts windows.

    Raises:
        StateError: (any method) the folder is of a newer version, damaged, not writable, or its disk is full.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        open_root(root)

    def add_windows(self, windows: Sequence[Window], marks: Mapping[str, Mark] = NO_MARKS) -> ShardId:
        return write_shard(self.root, windows, marks)


def add_new_windows(
    shelf: Shelf,
    sources: Sequence[Source],
    wanted: int,
    plan: SourcePlan,
    shard_windows: int,
    chosen_filters: Collection[str] = DEFAULT_FILTERS,
    stopped: Callable[[], bool] = lambda: False,
    report: Callable[[FilterCounts], None] = lambda counts: None,
) -> FilterCounts:
    """Adds up to `wanted` windows that the shelf does not have, in shards of `shard_windows`; what passed and what not.

    `SHARDS_AT_ONCE` shards are put on the shelf together, each of as few kinds as may be: what to score next is chosen
    by kind. Sources go on where the shelf's last such batch of this plan left them: marks are written in one step with
    the last windows that they cover. So whenever this ends, killed or in trouble, no window is lost, and what is read
    again is known by its checksum.

    Raises:
        SourceError: no source has a usable window; or one is in trouble, and what came before is on the shelf.
    """
    filters, marks = _known(shelf.root, chosen_filters)
    counts = FilterCounts()
    streams: dict[str, tuple[WindowStream, Iterator[Window]]] = {}
    for source in sources:
        key = f"{source.name} seed={plan.seed} worker={plan.worker}/{plan.workers}"
        stream = source.windows(plan, marks[key]["cursor"] if key in marks else None)
        streams[key] = (stream, usable_windows(stream, filters, counts, stopped))
    begun = not marks.keys().isdisjoint(streams)
    batch: list[Window] = []

    def put() -> None:
        batch.sort(key=_kind)
        for start in range(0, len(batch), shard_windows):
            is_last = start + shard_windows >= len(batch)
            shelf.add_windows(batch[start : start + shard_windows], marks if is_last else {})
        batch.clear()

    try:
        while streams and wanted > 0:
            for key, (stream, windows) in list(streams.items()):
                window = next(windows, None)
                if window is None:
                    del streams[key]
                    continue
                batch.append(window)
                marks[key] = {"given": marks.get(key, {}).get("given", 0) + 1, "cursor": stream.cursor}
                wanted -= 1
                if len(batch) == shard_windows * SHARDS_AT_ONCE:
                    put()
                report(counts)
                if wanted == 0:
                    break
    finally:
        put()
    if sources and not (begun or counts.passed or counts.rejected[DUPLICATE] or stopped()):
        reasons = ", ".join(f"{number} {reason}" for reason, number in counts.rejected.most_common())
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{names} has no usable window ({reasons or 'nothing read'}): name a source of text or code")
    return counts


def _kind(window: Window) -> tuple[str, str]:
    return window.provenance.source, window.provenance.kind


def _known(root: Path, chosen_filters: Collection[str]) -> tuple[Filters, dict[str, Mark]]:
    """The filters, which know all windows on the shelf; and each stream's furthest mark."""
    filters = Filters(set(), chosen_filters)
    marks: dict[str, Mark] = {}
    with disk_errors(root):
        for name in list_folders(root / "windows"):
            shard = read_shard(root, name)
            if shard is None:
                continue
            filters.take_in(checksum_list(shard), shard.data())
            for key, mark in shard.marks.items():
                if mark["given"] > marks.get(key, {"given": -1})["given"]:
                    marks[key] = mark
    return filters, marks
