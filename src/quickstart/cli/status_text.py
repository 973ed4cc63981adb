"""How `status` looks in a terminal: health first, then money, each with its age."""

from collections.abc import Iterator, Mapping
from typing import Any

from quickstart.cli.rendering import print_epochs, print_money, print_row, print_table, print_targets, soma
from quickstart.units import age, format_soma, span

ACCOUNT_COLUMNS = ("epoch", "fills", "earned", "fees", "net", "to come", "GPU", "SOMA/$")


def print_status(document: Mapping[str, Any]) -> None:
    """Every wallet's health and books, from whatever answered."""
    for number, wallet in enumerate(document["wallets"]):
        if number:
            print()
        _print_head(wallet)
        _print_health(wallet["health"], running=wallet.get("running"))
        if "trouble" in wallet:
            print_row("ledger", f"unknown: {wallet['trouble']}")
            continue
        print_epochs(wallet["epochs"])
        print_targets(wallet)
        _print_accounts(wallet["accounts"])
        print_money(wallet["money"])
        _print_books(wallet["accounts"])
        _print_alarms(wallet["health"])
    for profile, trouble in document.get("troubles", {}).items():
        print()
        print_row("profile", profile or "(the plain one)")
        print_row("", f"unknown: {trouble}")


def _print_head(wallet: Mapping[str, Any]) -> None:
    if profile := wallet.get("profile"):
        print_row("profile", profile)
    clock = wallet["health"]["chain"]
    if clock["known"]:
        ends = clock["value"]["ends_ms"] - wallet["health"]["now_ms"]
        said = f"epoch {clock['value']['epoch']}" + (f", ends in {span(ends)}" if ends > 0 else "")
    else:
        said = f"epoch {wallet['epoch']} when last seen" if "epoch" in wallet else "of an unknown epoch"
    print_row("chain", f"{wallet['chain_id']}, {said}")
    if not clock["known"]:
        print_row("", _unknown(clock))
    print_row("wallet", f"{wallet['address']}, {wallet['place']}")


def _unknown(reading: Mapping[str, Any]) -> str:
    since = "" if reading["at_ms"] is None else f" since {span(reading['age_ms'])}"
    return f"unknown{since}: {reading['trouble']}"


def _print_health(health: Mapping[str, Any], *, running: str | None) -> None:
    if running:
        print_row("running", running)
    place = health["here"]["value"]
    if not place["at_work"] and place["last_ms"] is not None:
        print_row("last run", age(max(0, health["now_ms"] - place["last_ms"])))
    if "modal" in health:
        modal = health["modal"]
        print_row("Modal", " ".join(_modal(modal["value"], health["now_ms"])) if modal["known"] else _unknown(modal))
    if "bucket" in health:
        print_row("bucket", _bucket(health["bucket"], health["now_ms"]))
    if health["queue"]["known"]:
        queue, text = health["queue"]["value"], ""
        if queue["oldest_ms"] is not None:
            text = f", the oldest signed {age(max(0, health['now_ms'] - queue['oldest_ms']))}"
        print_row("queue", f"{queue['pending']} outcomes to find out{text}; {queue['open_fills']} fills to claim")


def _bucket(reading: Mapping[str, Any], now_ms: int) -> str:
    signer = reading["value"]
    if signer is None:
        return "its lease on this wallet is free" if reading["known"] else _unknown(reading)
    return f"its lease is held by {signer['who']}, renewed {age(max(0, now_ms - signer['renewed_ms']))}"


def _modal(place: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    yield f"{place['at_work']} at work;" if place["at_work"] else "at rest;"
    yield f"ledger changed {age(None if place['last_ms'] is None else max(0, now_ms - place['last_ms']))};"
    if place["stopped"]:
        yield f"the schedule is stopped {place['stopped']}"
    elif place["next_ms"] is not None:
        yield f"next run in {span(place['next_ms'] - now_ms)}"
    if place["gpu_calls"]:
        yield f"; {place['gpu_calls']} GPU calls"


def _print_accounts(money: Mapping[str, Any]) -> None:
    """Money by epoch."""
    rows = [
        (
            str(one["epoch"]),
            str(one["fills"]),
            *(soma(one[name]) for name in ("earned", "fees", "net")),
            soma(one["in_audit"] + one["claimable"]),
            "-" if one["gpu_dollars"] is None else f"${one['gpu_dollars']:.2f}",
            "-" if one["net_per_dollar"] is None else f"{one['net_per_dollar'] / 1e9:.3f}",
        )
        for one in money["epochs"]
    ]
    if rows:
        print_table(ACCOUNT_COLUMNS, rows)


def _print_books(money: Mapping[str, Any]) -> None:
    """What is still to come, what it cost, and whether ledger and chain agree."""
    print_row("to come", f"{format_soma(money['claimable'])} claimable, {format_soma(money['in_audit'])} in audit")
    cost = "GPUs -" if money["gpu_dollars"] is None else f"GPUs ${money['gpu_dollars']:.2f} as far as known"
    print_row("cost", f"{cost}, public copies ${money['storage_dollars_per_month']:.4f} a month")
    if money["net_per_dollar"] is not None:
        print_row("", f"net {format_soma(round(money['net_per_dollar']))} for each dollar of GPUs")
    if money["difference"] is None:
        print_row("books", f"ledger {format_soma(money['balance'])}, chain not asked")
        return
    print_row(
        "books",
        f"ledger {format_soma(money['balance'])}, chain {format_soma(money['chain_balance'])}, "
        f"difference {money['difference']} shannons",
    )


def _print_alarms(health: Mapping[str, Any]) -> None:
    for alarm in health["alarms"]["value"] or ():
        print_row("alarm", f"{alarm['message']} ({age(max(0, health['now_ms'] - alarm['raised_ms']))})")
