"""Charts as SVG: bars and lines, in light and in dark, with nothing loaded and no script."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Kind: TypeAlias = Literal["floor", "ours", "own", "peer", "slow"]

# For each class, in light and in dark.
_COLOURS = {
    "paper": ("#ffffff", "#0f141b"),
    "floor": ("#8793a3", "#8793a3"),
    "ours": ("#178f68", "#35b98d"),
    "own": ("#2f6fc4", "#5b9bec"),
    "peer": ("#e79a2b", "#f0ab45"),
    "slow": ("#cf3a53", "#f0657b"),
    "text": ("#1f2933", "#dde4ec"),
    "quiet": ("#5d6977", "#93a1b1"),
    "grid": ("#cbd3de", "#313d4b"),
}
_DASHES = {"floor": "5 4", "slow": "2 3"}
_WIDTH, _TOP, _EDGE = 760, 52, 16
_LABEL, _BAR, _PITCH = 196, 14, 23
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_HEIGHT = 68, 560, 260


@attrs.frozen
class Bar:
    """A value, how it is written, and where it would lie next time."""

    label: str
    value: float
    text: str
    kind: Kind
    low: float | None = None
    high: float | None = None


@attrs.frozen
class Line:
    """A series of points."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: Kind


def bars(title: str, subtitle: str, rows: Sequence[Bar], *, reference: float | None = None) -> str:
    """Draw bars, one below the other; ``reference`` is a value to draw a line at."""
    most = max(max(row.value, row.high or 0.0) for row in rows) * 1.02
    room = _WIDTH - _LABEL - 150

    def x(value: float) -> float:
        return _LABEL + value / most * room

    height = _TOP + _PITCH * len(rows) + _EDGE
    return _picture(title, subtitle, height, _bar_parts(rows, x, reference, height))


def _bar_parts(
    rows: Sequence[Bar], x: Callable[[float], float], reference: float | None, height: int
) -> Iterator[str]:
    if reference is not None:
        at = x(reference)
        yield f'<path class="grid" d="M{at:.1f} {_TOP - 8}V{height - _EDGE}"/>'
    for number, row in enumerate(rows):
        y = _TOP + number * _PITCH
        yield _text(_LABEL - 8, y + 11, row.label, "text end")
        width = max(x(row.value) - _LABEL, 1.5)
        yield (
            f'<rect class="{row.kind}" x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}"'
            f' rx="2"><title>{escape(row.label)}: {escape(row.text)}</title></rect>'
        )
        end = x(row.value)
        if row.low is not None and row.high is not None:
            middle, end = y + _BAR / 2, max(end, x(row.high))
            yield f'<path class="whisker" d="M{x(row.low):.1f} {middle}H{x(row.high):.1f}"/>'
        yield _text(end + 6, y + 11, row.text, "quiet")


def lines(title: str, subtitle: str, x_name: str, series: Sequence[Line]) -> str:
    """Draw lines over logarithmic axes, with their names at their right ends."""
    points = [point for line in series for point in line.points]
    xs = _Scale.around([x for x, _ in points], _PLOT_LEFT, _PLOT_RIGHT)
    bottom = _TOP + _PLOT_HEIGHT
    ys = _Scale.around([y for _, y in points], bottom, _TOP)
    return _picture(title, subtitle, bottom + 48, _line_parts(series, xs, ys, x_name))


@attrs.frozen
class _Scale:
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> _Scale:
        low, high = math.log10(min(values)), math.log10(max(values))
        # At least a whole decade, or noise would look like a mountain.
        return cls(math.floor(low), max(math.ceil(high), math.floor(low) + 1), start, end)

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        for power in range(int(self.low), int(self.high) + 1):
            yield 10.0**power


def _line_parts(series: Sequence[Line], xs: _Scale, ys: _Scale, x_name: str) -> Iterator[str]:
    bottom = _TOP + _PLOT_HEIGHT
    for value in xs.ticks():
        yield f'<path class="grid" d="M{xs(value):.1f} {_TOP}V{bottom}"/>'
        yield _text(xs(value), bottom + 18, f"{value:,.0f}", "quiet middle")
    for value in ys.ticks():
        yield f'<path class="grid" d="M{_PLOT_LEFT} {ys(value):.1f}H{_PLOT_RIGHT}"/>'
        yield _text(_PLOT_LEFT - 8, ys(value) + 4, f"{value:,g}", "quiet end")
    yield _text((_PLOT_LEFT + _PLOT_RIGHT) / 2, bottom + 38, x_name, "quiet middle")
    names = sorted(series, key=lambda line: ys(line.points[-1][1]))
    taken = -math.inf
    for line in names:
        path = "L".join(f"{xs(x):.1f} {ys(y):.1f}" for x, y in line.points)
        dash = f' stroke-dasharray="{_DASHES[line.kind]}"' if line.kind in _DASHES else ""
        yield f'<path class="line {line.kind}-line"{dash} d="M{path}"/>'
        for x, y in line.points:
            text = f"{line.label}, {x:,.0f}: {y:,.3g}"
            yield (
                f'<circle class="{line.kind}" cx="{xs(x):.1f}" cy="{ys(y):.1f}" r="3.5">'
                f"<title>{escape(text)}</title></circle>"
            )
        taken = max(taken + 16, ys(line.points[-1][1]) + 4)
        yield _text(_PLOT_RIGHT + 12, taken, line.label, f"{line.kind} strong")


def _picture(title: str, subtitle: str, height: int, parts: Iterator[str]) -> str:
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}"'
                f' width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">'
            ),
            f"<style>{_style()}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
            _text(_EDGE, 22, title, "text strong"),
            _text(_EDGE, 38, subtitle, "quiet"),
            *parts,
            "</svg>",
            "",
        ]
    )


def _style() -> str:
    def colours(shade: int) -> str:
        rules = [f".{name}{{fill:{shades[shade]}}}" for name, shades in _COLOURS.items()]
        rules += [f".{name}-line{{stroke:{shades[shade]}}}" for name, shades in _COLOURS.items()]
        rules.append(f".grid{{stroke:{_COLOURS['grid'][shade]}}}")
        rules.append(f".whisker{{stroke:{_COLOURS['text'][shade]}}}")
        return "".join(rules)

    return (
        "svg{font:12px system-ui,-apple-system,'Segoe UI',sans-serif}"
        ".strong{font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}"
        ".line{fill:none;stroke-width:2}"
        f"{colours(0)}@media (prefers-color-scheme:dark){{{colours(1)}}}"
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
