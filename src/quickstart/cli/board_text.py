"""How `board` looks in a terminal."""

from collections.abc import Iterable

from quickstart.chain.ids import Id32, format_id
from quickstart.cli.rendering import print_row, print_table
from quickstart.desk.atlas import Atlas
from quickstart.desk.standing import Standing
from quickstart.units import format_soma

SHOWN = 8
BAR = 40
MAP_WIDTH, MAP_HEIGHT = 72, 18
MARKS = {"bank": ".", "targets": "o", "models": "#"}


def print_board(shown: Standing, picture: Atlas) -> None:
    """Numbers first, then the gaps, the curve and the map."""
    print_row("epoch", f"{shown.epoch}, new targets within {shown.distance_threshold:.3f}, the tightest ever "
              f"{shown.tightest_threshold:.3f}; {format_soma(shown.reward_per_target)} each")  # fmt: skip
    print_row("open", f"{len(shown.targets)} targets, {shown.fillable} of them within reach of the bank")
    _print_history(shown)
    _print_models(shown)
    _print_submitters(shown)
    _print_gaps(shown)
    _print_curve(shown.curve)
    _print_map(picture)


def _print_history(shown: Standing) -> None:
    if len(shown.history) > 1:
        rows = [
            (str(point.epoch), f"{point.distance_threshold:.3f}", _number(point.targets_seen), _number(point.filled))
            for point in shown.history[-SHOWN:]
        ]
        print_table(("epoch", "threshold", "targets seen", "filled by us"), rows)


def _print_models(shown: Standing) -> None:
    rows = [
        (
            _short(one.model_id),
            format_soma(one.stake),
            f"{one.expected:.0%}",
            str(one.open_targets),
            str(one.wins),
            format_soma(one.earned),
            _whose(one.owner, shown.owner) + ("" if one.known else ", not scored yet"),
        )
        for one in shown.models
    ]
    if rows:
        print_table(("model", "stake", "assigned", "open", "wins", "rewards won", "owner"), rows)


def _print_submitters(shown: Standing) -> None:
    rows = [
        (str(one.fills), format_soma(one.reward), _whose(one.address, shown.owner)) for one in shown.submitters[:SHOWN]
    ]
    if rows:
        print_table(("fills", "rewards", "submitter"), rows)
    if len(shown.submitters) > SHOWN:
        print_row("", f"and {len(shown.submitters) - SHOWN} more")


def _print_gaps(shown: Standing) -> None:
    """The targets that the bank does not reach, the nearest first."""
    out = [target for target in shown.targets if target.gap is not None and target.gap >= 0]
    unknown = sum(target.gap is None for target in shown.targets)
    rows = [
        (_short(target.target_id), f"{target.gap:.3f}", f"{target.distance:.3f}", _short(target.model))
        for target in out[:SHOWN]
    ]
    if rows:
        print_row("gaps", f"{len(out)} open targets are out of reach; the nearest:")
        print_table(("target", "short by", "distance", "best model"), rows)
    if unknown:
        print_row("unknown", f"{unknown} open targets have a model whose scores this bank has not")


def _print_curve(curve: Iterable[tuple[float, float]]) -> None:
    points = list(curve)[::3]
    if points:
        print_row("coverage", "share of random targets within reach, by distance threshold")
    for threshold, share in points:
        print(f"  {threshold:.3f}  {share:>4.0%}  {'#' * round(share * BAR)}")


def _print_map(picture: Atlas) -> None:
    """The plane in characters; what is drawn later covers what was drawn before."""
    points = [(name, x, y) for name in MARKS for x, y in picture.points.get(name, ())]
    if len(points) < 2:
        return
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    wide, high = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    grid = [[" "] * MAP_WIDTH for _ in range(MAP_HEIGHT)]
    for name, x, y in points:
        column = int((x - min(xs)) / wide * (MAP_WIDTH - 1))
        grid[int((max(ys) - y) / high * (MAP_HEIGHT - 1))][column] = MARKS[name]
    shares = sum(picture.shares)
    print_row("map", ", ".join(f"{mark} {name}" for name, mark in MARKS.items()) + f"; {shares:.0%} of all variance")
    for line in grid:
        print("  " + "".join(line).rstrip())


def _whose(address: Id32, ours: Id32 | None) -> str:
    return "ours" if address == ours else format_id(address)[:18] + "…"


def _short(name: Id32 | None) -> str:
    return "-" if name is None else format_id(name)[:18] + "…"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
