"""What commands print when they are done: text for people, one JSON document with `--json`."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quickstart.submission.loop import EXHAUSTED
from quickstart.units import SHANNONS_PER_SOMA, format_soma

if TYPE_CHECKING:
    from quickstart.devnet.config import DevnetUrls

EPOCH_COLUMNS = ("epoch", "threshold", "targets", "fillable", "filled", "lost", "missed", "ended by")

ORIGINS = {
    "own": "that our own fills spawned",
    "others": "that others' fills spawned",
    "listed": "found in a listing",
}


def print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, default=str), flush=True)


def print_result(result: dict[str, Any]) -> None:
    """The end of a run."""
    books = result["books"]
    _print_place(result)
    _print_windows(result["windows"])
    coverage = result["coverage"]
    _row("coverage", f"{coverage['share']:.0%} of random targets at distance {coverage['distance_threshold']:.3f}")
    for model_id, reason in result["excluded_models"].items():
        _row("excluded", f"model {model_id[:16]}…: {reason}")
    _print_epochs(result["epochs"])
    _print_targets(result)
    _print_feed(result["feed"])
    _print_money(result["money"])
    _row(
        "books",
        f"ledger {format_soma(books['ledger_shannons'])}, chain {format_soma(books['chain_shannons'])}, "
        f"difference {books['difference_shannons']} shannons",
    )


def print_dry_run(result: dict[str, Any]) -> None:
    _print_place(result)
    _print_windows(result["windows"])
    _row("targets", f"{result['would_submit']} of {result['open_targets']} open ones could be filled")
    _row("dry run", "nothing was published, signed or sent")


def print_claim(result: dict[str, Any]) -> None:
    """The end of a claim, made here or by whoever signs for the wallet."""
    if "asked" in result:
        _row("claims", f"made by {result['asked']}: {result['claims_landed']} landed so far")
        return
    _print_place(result)
    _row("claims", f"{result['claims_landed']} landed so far")
    _print_money(result["money"])


def print_status(document: dict[str, Any]) -> None:
    """Every wallet's books, from its ledger."""
    for number, wallet in enumerate(document["wallets"]):
        if number:
            print()
        _row("chain", f"{wallet['chain_id']}, epoch {wallet['epoch']} when last seen")
        _row("wallet", wallet["address"])
        if wallet["running"]:
            _row("running", wallet["running"])
        _print_epochs(wallet["epochs"])
        _print_targets(wallet)
        _print_money(wallet["money"])


def print_devnet(urls: "DevnetUrls") -> None:
    """Where a devnet serves."""
    _row("chain", urls.chain_id)
    for name in ("rpc", "faucet", "scoring", "admin"):
        _row(name, getattr(urls, name))
    print("Ctrl-C ends it", flush=True)


def _row(name: str, text: str) -> None:
    print(f"{name:<9} {text}", flush=True)


def _print_place(result: dict[str, Any]) -> None:
    _row("network", f"{result['network']}, epoch {result['epoch']}")
    _row("wallet", result["address"])


def _print_windows(windows: dict[str, Any]) -> None:
    _row("windows", f"{windows['new']} new, {windows['scored']} scores, {windows['in_bank']} in the bank")


def _print_epochs(epochs: list[dict[str, Any]]) -> None:
    """A table. `missed` counts only where nothing but us stopped the epoch: a cap leaves targets on purpose."""
    rows = [
        (
            str(epoch["epoch"]),
            f"{epoch['distance_threshold']:.3f}",
            str(epoch["targets_seen"]),
            str(epoch["fillable"]),
            str(epoch["filled"]),
            str(epoch["lost"]),
            str(epoch["missed"]) if epoch["ended_by"] == EXHAUSTED else "-",
            epoch["ended_by"],
        )
        for epoch in epochs
    ]
    if rows:
        _print_table(EPOCH_COLUMNS, rows)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Numbers to the right, the last column to the left."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for cells in (titles, *rows):
        right = "  ".join(cell.rjust(width) for cell, width in zip(cells[:-1], widths, strict=False))
        print(f"  {right}  {cells[-1]}", flush=True)


def _print_targets(result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    _row("filled", f"{result['filled']} targets, with {result['distinct_windows']} distinct windows")
    _row(
        "",
        f"{result['in_audit']} in audit, {result['claimable']} claimable, {result['claimed']} claimed, "
        f"{result['false_claims']} false claims",
    )
    _row("lost", f"{result['lost']} targets that somebody else got first")
    if result["pending"]:
        _row("pending", f"{result['pending']} transactions whose outcome the next run finds out")
    if latency["p50"] is not None:
        _row("latency", f"birth to submission p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms")
    for origin, meaning in ORIGINS.items():
        part = latency[origin]
        if part["count"]:
            _row("", f"{part['count']} {meaning}: p50 {part['p50']:.0f} ms, p95 {part['p95']:.0f} ms")


def _print_feed(feed: dict[str, Any]) -> None:
    """How new targets became known."""
    text = f"{feed['computed']} targets computed, {feed['listed']} listed, {feed['snapshots']} snapshots"
    if feed["interruptions"]:
        text += f", stream interrupted {feed['interruptions']} times"
    _row("feed", text)
    if feed["mismatch"]:
        _row("", f"nothing was computed after: {feed['mismatch']}")


def _print_money(money: dict[str, int]) -> None:
    """Amounts below each other, to the shannon."""
    lines = [
        ("earned", money["earned_shannons"]),
        ("fees", -money["fees_shannons"]),
        ("bond lost", -money["bond_lost_shannons"]),
        ("net", money["net_shannons"]),
        ("bond locked", money["bond_locked_shannons"]),
    ]
    amounts = [_soma(amount) for _, amount in lines]
    width = max(map(len, amounts))
    for number, ((name, _), amount) in enumerate(zip(lines, amounts, strict=True)):
        _row("" if number else "money", f"{name:<11}  {amount:>{width}} SOMA")


def _soma(shannons: int) -> str:
    """All nine decimals, so that amounts line up."""
    whole, fraction = divmod(abs(shannons), SHANNONS_PER_SOMA)
    return f"{'-' if shannons < 0 else ''}{whole:,}.{fraction:09d}"
