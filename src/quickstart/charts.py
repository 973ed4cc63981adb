"""Plots as SVG, written by hand: lines, bars, clouds of points. No library, no script, opens in any browser."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 44
COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#5c5f66")
TICKS = 5
FEW_POINTS = 20

Points = Sequence[tuple[float, float]]


def line_chart(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """An SVG document of several named lines; `across` and `up` name the axes."""
    points = [point for line in lines.values() for point in line]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    x_axis, y_axis = _Axis.over(xs, LEFT, WIDTH - RIGHT), _Axis.over(ys, HEIGHT - BOTTOM, TOP)
    parts = _frame(title, across, up)
    for tick in x_axis.ticks():
        label = f"{tick:.4g}" if abs(tick) < 1_000 else f"{tick:g}"
        parts.append(_text(x_axis.at(tick), HEIGHT - BOTTOM + 16, label, "middle"))
    for tick in y_axis.ticks():
        parts.append(_line(LEFT, y_axis.at(tick), WIDTH - RIGHT, y_axis.at(tick), "#e0e0e0"))
        parts.append(_text(LEFT - 6, y_axis.at(tick) + 4, f"{tick:.3g}", "end"))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(_text(WIDTH - RIGHT - 4, TOP + 16 + 16 * number, name, "end", colour))
    return _document(parts)


def bar_chart(title: str, up: str, bars: Mapping[str, Mapping[str, float]]) -> str:
    """An SVG document of grouped bars: group -> name -> height, from zero."""
    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    highest = max((height for group in bars.values() for height in group.values()), default=1.0) or 1.0
    y_axis = _Axis(0.0, highest, HEIGHT - BOTTOM, TOP)
    parts = _frame(title, "", up)
    for tick in y_axis.ticks():
        parts.append(_line(LEFT, y_axis.at(tick), WIDTH - RIGHT, y_axis.at(tick), "#e0e0e0"))
        parts.append(_text(LEFT - 6, y_axis.at(tick) + 4, f"{tick:.3g}", "end"))
    room = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    thick = room * 0.8 / max(1, len(names))
    for place, (group, heights) in enumerate(bars.items()):
        start = LEFT + room * (place + 0.1)
        parts.append(_text(start + room * 0.4, HEIGHT - BOTTOM + 16, group, "middle"))
        for number, name in enumerate(names):
            top = y_axis.at(heights.get(name, 0.0))
            parts.append(
                f'<rect x="{start + thick * number:.1f}" y="{top:.1f}" width="{thick:.1f}" '
                f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{COLOURS[number % len(COLOURS)]}"/>'
            )
    for number, name in enumerate(names):
        parts.append(_text(WIDTH - RIGHT - 4, 16 * number + 14, name, "end", COLOURS[number % len(COLOURS)]))
    return _document(parts)


def scatter_chart(title: str, across: str, up: str, groups: Mapping[str, Points]) -> str:
    """An SVG document of named clouds of points. The fewer points a group has, the larger they are drawn, on top."""
    points = [point for group in groups.values() for point in group]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    x_axis, y_axis = _Axis.over(xs, LEFT, WIDTH - RIGHT), _Axis.over(ys, HEIGHT - BOTTOM, TOP)
    parts = _frame(title, across, up)
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(groups)}
    for name, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        radius = 6.0 if len(group) <= FEW_POINTS else 2.2
        parts += [
            f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="{radius}" fill="{colours[name]}" '
            f'fill-opacity="0.6"/>'
            for x, y in group
        ]
    for number, name in enumerate(reversed(list(groups))):
        parts.append(_text(WIDTH - RIGHT - 4 - 90 * number, 20, name, "end", colours[name]))
    return _document(parts)


class _Axis:
    """Values from `low` to `high` on pixels from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1.0
        self._start, self._end = start, end

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        return cls(min(values), max(values), start, end)

    def at(self, value: float) -> float:
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        return [self.low + (self.high - self.low) * number / (TICKS - 1) for number in range(TICKS)]


def _frame(title: str, across: str, up: str) -> list[str]:
    return [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, title, "start", size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"),
        f'<g transform="rotate(-90 14 {HEIGHT / 2})">{_text(14, HEIGHT / 2, up, "middle")}</g>',
        _line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#333"),
    ]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _document(parts: list[str]) -> str:
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n' + "\n".join(parts) + "\n</svg>\n"
