"""`fetch`: windows of a source into a folder, to look at what it gives before any GPU is paid."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from quickstart.bank.filling import WindowShelf, add_new_windows
from quickstart.cli.rendering import print_json
from quickstart.data.filters import FilterCounts
from quickstart.data.sources import open_sources
from quickstart.data.window import Source, SourcePlan
from quickstart.errors import EXIT_DONE
from quickstart.settings import load_settings

SHARD_WINDOWS = 256
MOST_ROWS = 20
"""Lines of a table; `--json` has them all."""


def run_fetch(arguments: argparse.Namespace) -> int:
    """Adds windows to a folder of shards, as a bank has them; again into the same folder, it goes on.

    Raises:
        SourceError: a source is in trouble; what came before is told, and is in the folder.
    """
    settings = load_settings()
    sources = open_sources(arguments.source, settings)
    shelf = WindowShelf(arguments.out)
    progress = _progress(arguments.json)
    task = progress.add_task("", total=arguments.windows, rate=0.0)
    started = time.monotonic()
    counts = FilterCounts()

    def report(now: FilterCounts) -> None:
        nonlocal counts
        counts = now
        progress.update(task, completed=now.passed, rate=now.passed / max(1e-9, time.monotonic() - started))

    plan = SourcePlan(arguments.seed)
    try:
        with progress:
            counts = add_new_windows(
                shelf, sources, arguments.windows, plan, SHARD_WINDOWS, settings.filter_names, report=report
            )
    finally:
        document = _document(arguments, sources, counts, time.monotonic() - started)
        if arguments.json:
            print_json(document)
        else:
            _print(document)
    return EXIT_DONE


def _progress(quiet: bool) -> Progress:
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows  {task.fields[rate]:.0f}/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )


def _document(
    arguments: argparse.Namespace, sources: Sequence[Source], counts: FilterCounts, seconds: float
) -> dict[str, Any]:
    """What was fetched, in this run. Seconds of the whole, looking at what the folder had included."""
    skipped: Counter[str] = sum((source.skipped for source in sources), Counter())
    return {
        "sources": [source.name for source in sources],
        "out": str(arguments.out),
        "windows": counts.passed,
        "read": counts.read,
        "seconds": round(seconds, 3),
        "windows_per_second": round(counts.passed / max(1e-9, seconds), 1),
        "rejected_windows": dict(counts.rejected.most_common()),
        "skipped_files": dict(skipped.most_common()),
        "kinds": dict(counts.kinds.most_common()),
        "licences": dict(counts.licences.most_common()),
    }


def _print(document: dict[str, Any]) -> None:
    console = Console(width=100, highlight=False, markup=False)
    console.print(
        f"{document['windows']} windows of {', '.join(document['sources'])} in {document['seconds']:.1f} s "
        f"({document['windows_per_second']:.0f} a second), in {document['out']}"
    )
    for title in ("rejected windows", "skipped files", "kinds", "licences"):
        rows: dict[str, int] = document[title.replace(" ", "_")]
        if not rows:
            continue
        shown = Table("", title, box=None, pad_edge=False)
        shown.columns[0].justify = "right"
        for name, number in list(rows.items())[:MOST_ROWS]:
            shown.add_row(str(number), name)
        if len(rows) > MOST_ROWS:
            shown.add_row(str(sum(list(rows.values())[MOST_ROWS:])), f"({len(rows) - MOST_ROWS} more)")
        console.print(shown)
