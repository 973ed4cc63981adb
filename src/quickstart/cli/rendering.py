"""What a person sees: live progress on a terminal, plain lines elsewhere, one JSON document with `--json`."""

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from quickstart.units import SHANNONS_PER_SOMA, format_soma

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from quickstart.submission.driver import Progress

PLAIN_EVERY_SECONDS = 5.0


class ProgressView:
    """Shows progress in the way that suits where the output goes. `quiet` shows nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live: Live | None = None
        self._shown_at = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> "ProgressView":
        if not self._quiet and sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: "Progress") -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(_table(progress, time.monotonic() - self._started))
        elif time.monotonic() - self._shown_at >= PLAIN_EVERY_SECONDS:
            self._shown_at = time.monotonic()
            print(_line(progress, time.monotonic() - self._started), flush=True)


def _facts(progress: "Progress") -> list[tuple[str, str]]:
    return [
        ("epoch", f"{progress.epoch}, threshold {progress.distance_threshold:.3f}"),
        ("scored", f"{progress.scored} of {progress.to_score} windows x models"),
        ("bank", f"{progress.windows} windows, coverage {progress.coverage:.0%}"),
        ("open targets", str(progress.open_targets)),
        ("in flight", str(progress.in_flight)),
        ("filled", str(progress.filled)),
        ("lost", str(progress.lost)),
        ("claimed", str(progress.claimed)),
    ]


def _line(progress: "Progress", seconds: float) -> str:
    return f"{seconds:5.0f} s  " + "  ".join(f"{name} {value}" for name, value in _facts(progress))


def _table(progress: "Progress", seconds: float) -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in _facts(progress):
        table.add_row(f"[bold]{name}", value)
    table.add_row("[bold]running", f"{seconds:.0f} s")
    return table


def print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, default=str), flush=True)


def print_result(result: dict[str, Any]) -> None:
    """The end of a run, as text."""
    windows, money, books = result["windows"], result["money"], result["books"]
    print(f"network   {result['network']}, epoch {result['epoch']}, wallet {result['address']}")
    print(
        f"windows   {windows['new']} new, {windows['scored']} scores, {windows['in_bank']} in the bank, "
        f"coverage {result['coverage']['share']:.0%} at distance {result['coverage']['distance_threshold']:.3f}"
    )
    print_epochs(result["epochs"])
    print_counts(result)
    print_money(money)
    print(
        f"books     ledger {format_soma(books['ledger_shannons'])}, chain {format_soma(books['chain_shannons'])}, "
        f"difference {books['difference_shannons']} shannons"
    )
    for model, reason in result["excluded_models"].items():
        print(f"excluded  model with weights {model[:16]}…: {reason}")


def print_epochs(epochs: list[dict[str, Any]]) -> None:
    if not epochs:
        return
    print("epoch     threshold  targets  fillable  filled  missed  ended by")
    for epoch in epochs:
        print(
            f"  {epoch['epoch']:<7} {epoch['distance_threshold']:>9.3f}  {epoch['targets_seen']:>7}  "
            f"{epoch['fillable']:>8}  {epoch['filled']:>6}  {epoch['missed']:>6}  {epoch['ended_by']}"
        )


def print_counts(result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    speed = ""
    if latency["p50"] is not None:
        speed = f"; birth to submission p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms"
    print(
        f"targets   {result['filled']} filled with {result['distinct_windows']} windows, {result['in_audit']} in audit, "
        f"{result['claimable']} claimable, {result['claimed']} claimed, {result['lost']} lost, "
        f"{result['false_claims']} false claims{speed}"
    )


def print_money(money: dict[str, int]) -> None:
    print(
        f"money     earned {format_soma(money['earned_shannons'])}, fees {format_soma(money['fees_shannons'])}, "
        f"bond locked {format_soma(money['bond_locked_shannons'])}, lost {format_soma(money['bond_lost_shannons'])}, "
        f"net {money['net_shannons'] / SHANNONS_PER_SOMA:+.9f} SOMA"
    )


def print_dry_run(result: dict[str, Any]) -> None:
    windows = result["windows"]
    print(f"network   {result['network']}, epoch {result['epoch']}, wallet {result['address']}")
    print(f"windows   {windows['new']} new, {windows['scored']} scores, {windows['in_bank']} in the bank")
    print(
        f"dry run   {result['would_submit']} of {result['open_targets']} open targets could be filled; nothing was sent"
    )
