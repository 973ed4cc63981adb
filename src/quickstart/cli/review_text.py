"""A review as Markdown. Pure."""

from collections.abc import Iterator, Sequence

from quickstart.chain.ids import Id32, format_id
from quickstart.desk.review import Review, shortfall
from quickstart.ledger.records import Fate, FillState, Unfilled
from quickstart.units import format_soma

SHOWN = 10
"""Rows of a table; `--json` has all."""


def markdown(one: Review, address: str) -> str:
    """The review of one wallet."""
    return "\n".join((*_head(one, address), *_won(one), *_not_got(one), *_next(one)))


def _head(one: Review, address: str) -> Iterator[str]:
    yield f"# Epoch {one.epoch}"
    yield ""
    yield f"Wallet {address}."
    report = one.report
    if report is not None:
        yield (
            f"Distance threshold {report.distance_threshold:.3f}; {report.targets_seen} targets seen, "
            f"{report.fillable} within reach of the bank, {report.filled} filled, {report.lost} lost, "
            f"{report.missed} missed; ended by {report.ended_by}."
        )
    yield ""


def _won(one: Review) -> Iterator[str]:
    pays = sum(win.pays for win in one.wins)
    lost = sum(win.bond for win in one.wins if win.state is FillState.SLASHED)
    yield "## What won"
    yield ""
    yield f"{len(one.wins)} fills that pay {format_soma(pays)}" + (
        f"; bonds of {format_soma(lost)} lost." if lost else "."
    )
    if one.latency_ms is not None:
        yield f"Half of them landed within {one.latency_ms:.0f} ms of the target's birth."
    yield ""
    yield from _table(
        ("source", "kind", "fills", "windows", "paid", "to come", "false claims"),
        [
            (
                source.source or "(not noted)", source.kind, source.fills, source.windows,
                format_soma(source.paid), format_soma(source.to_come), source.false_claims,
            )
            for source in one.sources
        ],
    )  # fmt: skip
    yield from _table(
        ("target", "from", "model", "distance", "margin", "known by", "ms", "pays", "state"),
        [
            (
                _short(win.target_id), win.kind or win.source or "", _short(win.model), _number(win.distance),
                _number(win.margin), win.origin or "", win.latency_ms, format_soma(win.pays), win.state,
            )
            for win in one.wins[:SHOWN]
        ],
        len(one.wins),
    )  # fmt: skip


def _not_got(one: Review) -> Iterator[str]:
    yield "## What was not got"
    yield ""
    for fate, meaning in (
        (Fate.LOST, "lost: somebody else was faster"),
        (Fate.MISSED, "missed: within reach, and open to the end"),
        (Fate.FAR, "out of reach of the bank"),
    ):
        group = one.of_fate(fate)
        yield f"{one.count(fate)} {meaning}."
        yield ""
        yield from _table(
            ("target", "short by", "best model", "open ms", "taken by", "with"),
            [_unfilled(target) for target in group[:SHOWN]],
            one.count(fate),
        )
    if one.takers:
        yield "Who was faster, of those that were asked for:"
        yield ""
        takers = [(format_id(taker.address), taker.targets, _whole(taker.open_ms)) for taker in one.takers[:SHOWN]]
        yield from _table(("submitter", "targets", "median ms open"), takers, len(one.takers))
    models = [(format_id(m.model), m.won, m.lost, m.missed, m.far) for m in one.models]
    if models:
        yield "By the model that wins our nearest window, of the targets that are kept:"
        yield ""
    yield from _table(("model", "won", "lost", "missed", "out of reach"), models)


def _next(one: Review) -> Iterator[str]:
    yield "## What one more dollar would bring"
    yield ""
    dollar = one.next_dollar
    if dollar is None:
        yield "Not known: this wallet has seen no network's models yet."
    elif not dollar.pieces:
        yield f"Nothing: all windows worth it are scored ({dollar.coverage:.1%} of new targets are within reach)."
    else:
        yield (
            f"{dollar.gpu_seconds:.0f} GPU seconds of scoring raise the share of targets within reach from "
            f"{dollar.coverage:.1%} by {dollar.gain:.2%} at most: {dollar.targets:.1f} more targets in an epoch like "
            f"this one, {format_soma(dollar.shannons)}. `uv run plan` shows which windows."
        )
    yield ""


def _unfilled(target: Unfilled) -> tuple[object, ...]:
    short = shortfall(target)
    return (
        _short(target.target_id),
        "no safe window" if short is None else "fits" if short < 0 else f"{short:.3f}",
        _short(target.model),
        target.open_ms,
        _short(target.taker),
        _short(target.taker_model),
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]], of: int = 0) -> Iterator[str]:
    """Nothing for no rows. `of`: how many there are in all."""
    if not rows:
        return
    yield "| " + " | ".join(titles) + " |"
    yield "|" + " --- |" * len(titles)
    for row in rows:
        yield "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in row) + " |"
    if of > len(rows):
        yield ""
        yield f"and {of - len(rows)} more."
    yield ""


def _short(name: Id32 | None) -> str:
    return "" if name is None else format_id(name)[:10] + "…"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
