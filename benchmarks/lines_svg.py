"""A small line chart as SVG: one panel per threshold, coverage by windows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, GAP, TOP = 210, 190, 46, 44
COLOURS = ("#0b6e4f", "#c77d0a", "#8a8a8a", "#3b5bdb")


@dataclass(frozen=True, slots=True)
class Panel:
    """Of each way to choose: coverage by the number of windows, once for each seed."""

    network_threshold: float
    threshold: float
    lines: Mapping[str, Mapping[int, Sequence[float]]]


def draw(panels: Sequence[Panel]) -> str:
    """The chart: windows on a logarithmic scale, each panel with a scale of coverage of its own. A threshold at which
    everything is covered from the start has no panel.
    """
    panels = [
        panel for panel in panels if len({v for one in panel.lines.values() for vs in one.values() for v in vs}) > 1
    ]
    width = GAP + len(panels) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{TOP + HEIGHT + 46}" '
        f'viewBox="0 0 {width} {TOP + HEIGHT + 46}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, GAP + number * (WIDTH + GAP))
    for number, name in enumerate(panels[0].lines):
        x, colour = GAP + 90 * number, COLOURS[number]
        parts.append(f'<line x1="{x}" y1="14" x2="{x + 20}" y2="14" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 25}" y="18">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: float) -> list[str]:
    means = {
        name: {size: statistics.mean(values) for size, values in points.items()} for name, points in panel.lines.items()
    }
    values = [value for points in means.values() for value in points.values()]
    sizes = sorted({size for points in means.values() for size in points})
    low, high = min(values), max(values)
    span = max(high - low, 1e-3)

    def x(size: int) -> float:
        return left + WIDTH * math.log(size / sizes[0]) / max(math.log(sizes[-1] / sizes[0]), 1e-9)

    def y(value: float) -> float:
        return TOP + HEIGHT * (1 - (value - low) / span)

    parts = [
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
        f'<text x="{left}" y="{TOP - 8}">distance {panel.network_threshold:g} ({panel.threshold:.3f} here)</text>',
    ]
    for part in range(5):
        value = low + span * part / 4
        parts.append(f'<text x="{left - 4}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#555">{value:.1%}</text>')
    below = TOP + HEIGHT + 14
    parts += [f'<text x="{x(n):.1f}" y="{below}" text-anchor="middle" fill="#555">{n}</text>' for n in sizes]
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 32}" text-anchor="middle">windows</text>')
    for number, points in enumerate(means.values()):
        line = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in sorted(points.items()))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
    return parts
