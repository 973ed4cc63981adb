"""What commands print when they are done, text for people or one JSON document with `--json`, and their exit codes."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quickstart.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from quickstart.ledger.records import AlarmKind
from quickstart.submission.loop import EXHAUSTED
from quickstart.units import SHANNONS_PER_SOMA, format_soma

if TYPE_CHECKING:
    from quickstart.devnet.config import DevnetUrls

NOTHING_SENT = "nothing was published, signed or sent"
SHOWN = 10
"""Lines of a kind that a dry run prints."""

MOST_SOURCES = 5
PLAN_COLUMNS = ("kind", "windows", "scored", "gain/100", "wins", "GPU s", "filled", "next", "cut", "why")
EPOCH_COLUMNS = ("epoch", "threshold", "targets", "fillable", "filled", "lost", "missed", "ended by")

ORIGINS = {
    "own": "that our own fills spawned",
    "others": "that others' fills spawned",
    "listed": "found in a listing",
}


def result_code(result: Mapping[str, Any]) -> int:
    """The exit code of what a run or a claim returned, here or on Modal."""
    if "error" in result:
        return int(result.get("exit_code", EXIT_USAGE))
    read_only = any(alarm["kind"] == AlarmKind.UNKNOWN_VERSION for alarm in result.get("alarms", ()))
    return EXIT_FAILED if read_only or result.get("interrupted") else EXIT_DONE


def print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, default=str), flush=True)


def print_result(result: dict[str, Any]) -> None:
    """The end of a run."""
    books = result["books"]
    _print_place(result)
    _print_windows(result["windows"])
    coverage = result["coverage"]
    print_row("coverage", f"{coverage['share']:.0%} of random targets at distance {coverage['distance_threshold']:.3f}")
    for model_id, reason in result["excluded_models"].items():
        print_row("excluded", f"model {model_id[:16]}…: {reason}")
    print_epochs(result["epochs"])
    print_targets(result)
    _print_feed(result["feed"])
    print_money(result["money"])
    print_row(
        "books",
        f"ledger {format_soma(books['ledger_shannons'])}, chain {format_soma(books['chain_shannons'])}, "
        f"difference {books['difference_shannons']} shannons",
    )
    print_alarms(result["alarms"])


def print_dry_run(result: dict[str, Any]) -> None:
    _print_place(result)
    _print_windows(result["windows"])
    print_row("targets", f"{result['would_submit']} of {result['open_targets']} open ones would be filled")
    _print_planned("submit", result["submissions"])
    _print_planned("claim", result["claims"])
    sums = result["totals"]
    print_row(
        "in all",
        f"bond {format_soma(sums['bond_shannons'])}, fees {format_soma(sums['fee_shannons'])}, "
        f"expected reward {format_soma(sums['expected_reward_shannons'])}, "
        f"bond returned {format_soma(sums['bond_returned_shannons'])}",
    )
    for line in result["withheld"]:
        print_row("but", line)
    print_row("dry run", NOTHING_SENT)


def print_rebuild(result: dict[str, Any]) -> None:
    _print_place(result)
    books = result["books"]
    print_row("ledger", f"{result['ledger']}; {result['fills_restored']} fills restored")
    print_row("copies", f"{result['copies']} public copies that bonds rest on" + (", not read" * result["dry_run"]))
    print_row("books", f"difference to the chain {books['difference_shannons']} shannons")
    print_alarms(result["alarms"])
    if result["dry_run"]:
        print_row("dry run", "nothing was changed")


def print_cleanup(result: dict[str, Any]) -> None:
    _print_place(result)
    would = "would be removed" if result["dry_run"] else "removed"
    print_row("windows", f"{len(result['removed'])} {would} ({result['bytes']} bytes), {result['kept']} kept")
    if result["dry_run"]:
        print_row("dry run", "nothing was removed")


def print_dry_action(document: dict[str, Any], said: str, *, as_json: bool) -> None:
    """What a command on Modal would do."""
    if as_json:
        print_json({"dry_run": True, **document})
    else:
        print(said)
        print_row("dry run", NOTHING_SENT)


def _print_planned(what: str, planned: list[dict[str, Any]]) -> None:
    """The first few of what would be sent; `--json` has all."""
    for row in planned[:SHOWN]:
        bond = f"bond {format_soma(row['bond_shannons'])}, " if "bond_shannons" in row else ""
        print_row(
            what,
            f"{row['target'][:18]}…  {bond}fee {format_soma(row['fee_shannons'])}, "
            f"expected reward {format_soma(row['expected_reward_shannons'])}",
        )
    if len(planned) > SHOWN:
        print_row("", f"and {len(planned) - SHOWN} more")


def print_claim(result: dict[str, Any]) -> None:
    """The end of a claim, made here or by whoever signs for the wallet."""
    if "asked" in result:
        print_row("claims", f"made by {result['asked']}: {result['claims_landed']} landed so far")
        return
    _print_place(result)
    print_row("claims", f"{result['claims_landed']} landed so far")
    print_money(result["money"])


def print_plan(document: dict[str, Any]) -> None:
    """Every wallet's kinds of data: what they did, what comes next, and why."""
    for number, wallet in enumerate(document["wallets"]):
        if number:
            print()
        print_row("chain", f"{wallet['chain_id']}, epoch {wallet['epoch']} when last seen")
        print_row("wallet", wallet["address"])
        print_row(
            "coverage",
            f"{wallet['coverage']:.1%} of targets at distance {wallet['distance_threshold']:.3f}, "
            f"{wallet['coverage_tightest']:.1%} at the tightest, {wallet['tightest_threshold']:.3f}",
        )
        rows = [
            (
                f"{kind['source']} {kind['kind']}".strip(),
                str(kind["windows"]),
                f"{kind['scored']:.0f}",
                f"{kind['gain_per_100']:.2%}",
                f"{kind['wins']:.0%}",
                f"{kind['gpu_seconds']:.1f}",
                str(kind["filled"]),
                str(kind["next_windows"]),
                f"{kind['cut_share']:.0%}",
                kind["why"],
            )
            for kind in wallet["kinds"]
        ]
        print_table(PLAN_COLUMNS, rows)
        print_row("next", f"{len(wallet['pieces'])} pieces, {wallet['seconds']:.1f} GPU seconds")


def print_devnet(urls: "DevnetUrls") -> None:
    """Where a devnet serves."""
    print_row("chain", urls.chain_id)
    for name in ("rpc", "faucet", "scoring", "admin"):
        print_row(name, getattr(urls, name))
    print("Ctrl-C ends it", flush=True)


def print_row(name: str, text: str) -> None:
    print(f"{name:<9} {text}", flush=True)


def _print_place(result: dict[str, Any]) -> None:
    print_row("network", f"{result['network']}, epoch {result['epoch']}")
    print_row("wallet", result["address"])


def _print_windows(windows: dict[str, Any]) -> None:
    print_row("windows", f"{windows['new']} new, {windows['scored']} scores, {windows['in_bank']} in the bank")


def print_epochs(epochs: list[dict[str, Any]]) -> None:
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
        print_table(EPOCH_COLUMNS, rows)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Numbers to the right, the last column to the left."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for cells in (titles, *rows):
        right = "  ".join(cell.rjust(width) for cell, width in zip(cells[:-1], widths, strict=False))
        print(f"  {right}  {cells[-1]}", flush=True)


def print_targets(result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    print_row("filled", f"{result['filled']} targets, with {result['distinct_windows']} distinct windows")
    print_row(
        "",
        f"{result['in_audit']} in audit, {result['claimable']} claimable, {result['claimed']} claimed, "
        f"{result['false_claims']} false claims",
    )
    for name, number in list(result["data"]["sources"].items())[:MOST_SOURCES]:
        print_row("from", f"{name}: {number} submissions")
    print_row("lost", f"{result['lost']} targets that somebody else got first")
    if result["pending"]:
        print_row("pending", f"{result['pending']} transactions whose outcome the next run finds out")
    if latency["p50"] is not None:
        print_row("latency", f"birth to submission p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms")
    for origin, meaning in ORIGINS.items():
        part = latency[origin]
        if part["count"]:
            print_row("", f"{part['count']} {meaning}: p50 {part['p50']:.0f} ms, p95 {part['p95']:.0f} ms")


def _print_feed(feed: dict[str, Any]) -> None:
    """How new targets became known."""
    text = f"{feed['computed']} targets computed, {feed['listed']} listed, {feed['snapshots']} snapshots"
    if feed["interruptions"]:
        text += f", stream interrupted {feed['interruptions']} times"
    print_row("feed", text)
    if feed["mismatch"]:
        print_row("", f"nothing was computed after: {feed['mismatch']}")


def print_alarms(alarms: list[dict[str, Any]]) -> None:
    for alarm in alarms:
        print_row("alarm", alarm["message"])


def print_money(money: dict[str, int]) -> None:
    """Amounts below each other, to the shannon."""
    lines = [
        ("earned", money["earned_shannons"]),
        ("fees", -money["fees_shannons"]),
        ("bond lost", -money["bond_lost_shannons"]),
        ("net", money["net_shannons"]),
        ("bond locked", money["bond_locked_shannons"]),
    ]
    amounts = [soma(amount) for _, amount in lines]
    width = max(map(len, amounts))
    for number, ((name, _), amount) in enumerate(zip(lines, amounts, strict=True)):
        print_row("" if number else "money", f"{name:<11}  {amount:>{width}} SOMA")


def soma(shannons: int) -> str:
    """All nine decimals, so that amounts line up."""
    whole, fraction = divmod(abs(shannons), SHANNONS_PER_SOMA)
    return f"{'-' if shannons < 0 else ''}{whole:,}.{fraction:09d}"
