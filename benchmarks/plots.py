"""Charts as SVG text, readable on white and on black."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, LEFT, RIGHT, ROW = 760, 190, 110, 26
HEIGHT, TOP, BOTTOM = 340, 46, 46
COLOURS = ("#d9480f", "#1971c2", "#2f9e44", "#9c36b5", "#868e96", "#e8590c")
TEXT = "#808080"
STYLE = f'font-family="sans-serif" font-size="13" fill="{TEXT}"'


@dataclass(frozen=True)
class Line:
    """A contestant's values over a growing size."""

    title: str
    points: Sequence[tuple[float, float]]


def bars(title: str, values: Mapping[str, float], unit: str) -> str:
    """A horizontal bar for each value, the first one in the colour that stands out."""
    longest = max(values.values()) or 1
    parts = [_text(10, 24, title, size=15)]
    for place, (name, value) in enumerate(values.items()):
        y = TOP + place * ROW
        width = max((WIDTH - LEFT - RIGHT) * value / longest, 1)
        colour = COLOURS[0] if place == 0 else COLOURS[4]
        parts += [
            _text(LEFT - 8, y + 15, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 7}" fill="{colour}"/>',
            _text(LEFT + width + 6, y + 15, f"{_number(value)} {unit}"),
        ]
    return _svg(TOP + len(values) * ROW + 10, parts)


def lines(title: str, drawn: Sequence[Line], across: str, unit: str) -> str:
    """Lines over a growing size; both axes are logarithmic."""
    xs = [x for line in drawn for x, _ in line.points]
    ys = [max(y, 1e-3) for line in drawn for _, y in line.points]
    low, high = 10.0 ** floor(log10(min(ys))), 10.0 ** ceil(log10(max(ys)) + 1e-9)
    plot = _Plot(min(xs), max(xs), low, high)
    parts = [_text(10, 24, f"{title} ({unit})", size=15), *plot.axes(sorted(set(xs)), across)]
    for place, line in enumerate(drawn):
        parts += plot.line(line, COLOURS[place])
    parts += _key(drawn)
    return _svg(HEIGHT + BOTTOM, parts)


@dataclass(frozen=True)
class _Plot:
    left: float
    right: float
    low: float
    high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = log10(x / self.left) / log10(self.right / self.left) if self.right > self.left else 0.5
        up = log10(max(y, self.low) / self.low) / log10(self.high / self.low)
        return 70 + across * (WIDTH - 290), HEIGHT - 20 - up * (HEIGHT - 20 - TOP)

    def axes(self, xs: Sequence[float], across: str) -> list[str]:
        parts = []
        value = self.low
        while value <= self.high * 1.001:
            _, y = self.place(self.left, value)
            parts.append(f'<path d="M70 {y:.1f}H{WIDTH - 220}" stroke="{TEXT}" stroke-opacity="0.3"/>')
            parts.append(_text(62, y + 4, _number(value), anchor="end"))
            value *= 10
        for x in xs:
            at, _ = self.place(x, self.low)
            parts.append(_text(at, HEIGHT, f"{x:,.0f}", anchor="middle"))
        return [*parts, _text((WIDTH - 150) / 2, HEIGHT + 24, across, anchor="middle")]

    def line(self, line: Line, colour: str) -> list[str]:
        places = [self.place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots]


def _key(drawn: Sequence[Line]) -> list[str]:
    parts = []
    for place, line in enumerate(drawn):
        y = TOP + 12 + place * 22
        parts.append(f'<rect x="{WIDTH - 200}" y="{y - 9}" width="12" height="12" fill="{COLOURS[place]}"/>')
        parts.append(_text(WIDTH - 182, y + 2, line.title))
    return parts


def _svg(height: float, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {STYLE}>\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - digits that say something
