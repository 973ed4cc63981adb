"""Progress of a run: a live table on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from quickstart.submission.progress import Progress

PLAIN_EVERY_SECONDS = 5.0
REFRESHES_PER_SECOND = 8


class ProgressView:
    """Shows progress in the way that suits where the output goes. `quiet` shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._due = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> "ProgressView":
        if not self._quiet and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=REFRESHES_PER_SECOND, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the terminal back as it was; safe to call twice."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def show(self, progress: "Progress") -> None:
        if self._quiet:
            return
        now = time.monotonic()
        if self._live is not None:
            self._live.update(_table(progress, now - self._started))
        elif now >= self._due and not sys.stdout.isatty():
            self._due = now + PLAIN_EVERY_SECONDS
            from quickstart.submission.progress import progress_line

            print(progress_line(progress, now - self._started), flush=True)


def _table(progress: "Progress", seconds: float) -> "Table":
    from rich.table import Table

    left, right = _work(progress, seconds), _targets(progress)
    table = Table.grid(padding=(0, 2))
    for (name, value), (other_name, other_value) in zip(left, right, strict=True):
        table.add_row(f"[bold]{name}", value, f"[bold]{other_name}", other_value)
    return table


def _work(progress: "Progress", seconds: float) -> list[tuple[str, str]]:
    return [
        ("epoch", f"{progress.epoch}, threshold {progress.distance_threshold:.3f}"),
        ("scored", f"{progress.scored} of {progress.to_score} windows x models"),
        ("bank", f"{progress.windows} windows"),
        ("coverage", f"{progress.coverage:.0%} of random targets"),
        ("running", f"{seconds:.0f} s"),
    ]


def _targets(progress: "Progress") -> list[tuple[str, str]]:
    return [
        ("open targets", f"{progress.open_targets:>6}"),
        ("in flight", f"{progress.in_flight:>6}"),
        ("filled", f"{progress.filled:>6}"),
        ("lost", f"{progress.lost:>6}"),
        ("claimed", f"{progress.claimed:>6}"),
    ]
