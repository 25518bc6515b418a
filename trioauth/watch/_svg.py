"""A picture, drawn as SVG. Pure: a `Picture` in, a string out.

What comes from outside goes through `_text`. There is no script in it, and nothing is loaded.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import printable

from ._svg_style import LEGEND, STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._picture import Band, Lane, Mark, Picture, Row, Span

# In pixels; the picture shrinks as a whole where there is less room.
_WIDTH, _LEFT, _RIGHT = 1040, 172, 1016
_TITLE, _OUT, _BANDS, _FLIGHTS, _ROWS, _ROW = 20, 36, 40, 62, 92, 15
_LANE, _GAP = 22, 8
_FOOT, _AXIS, _LEGEND, _LINE = 16, 18, 46, 20
_REQUEST, _WAIT, _FLIGHT = 4.0, 9.0, 12.0
_CHARACTER, _NARROWEST = 5.8, 1.5
_LONGEST_NAME = 24
_MOST_TICKS = 10


@final
@attrs.frozen
class _Axis:
    """Turns times into pixels."""

    start: float
    length: float

    def x(self, time: float) -> float:
        return _LEFT + (time - self.start) / self.length * (_RIGHT - _LEFT)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Return the marks of the scale: round numbers of seconds since the start, with labels."""
        power = 10.0 ** math.floor(math.log10(self.length / _MOST_TICKS))
        step = next(power * n for n in (1, 2, 5, 10) if power * n * _MOST_TICKS >= self.length)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        for number in range(math.floor(self.length / step + 1e-9) + 1):
            yield self.start + number * step, f"{number * step:.{decimals}f} s"


def draw(picture: Picture, *, rows: int) -> str:
    """Draw a picture.

    Args:
      picture: What to draw.
      rows: How many rows to draw at most.
    """
    axis = _Axis(picture.start, max(picture.end - picture.start, 1e-3))
    lanes, more_lanes = picture.lanes[:rows], len(picture.lanes) - rows
    shown, hidden = picture.rows[:rows], len(picture.rows) - rows
    top = _BANDS + _LANE * (len(lanes) + (more_lanes > 0)) + _GAP if lanes else _ROWS
    bottom = top + _ROW * (len(shown) + (hidden > 0)) + 4
    legend, end = _legend(picture.all_flights, shown, bottom + _LEGEND)
    height = end + _FOOT
    title = _text(f"trioauth: {picture.summary}")
    return "\n".join(
        [
            (
                '<svg xmlns="http://www.w3.org/2000/svg" class="trioauth-timeline" role="img"'
                f' aria-label="{title}" width="{_WIDTH}" height="{height}"'
                f' viewBox="0 0 {_WIDTH} {height}">'
            ),
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
            _label(12, _TITLE, "trioauth", "strong"),
            _label(_LEFT, _TITLE, picture.summary, "quiet"),
            *([] if lanes else _bands(picture, axis, bottom)),
            *_grid(axis, bottom),
            *_lanes(lanes, axis),
            *_more(more_lanes, top - _GAP - 7),
            *_columns(picture.flights, axis, bottom),
            *_rows(shown, axis, top),
            *_more(hidden, bottom - 7),
            *([] if lanes else _flights(picture.flights, axis)),
            *_marks(picture.marks, axis, bottom),
            *legend,
            "</svg>",
            "",
        ]
    )


def _bands(picture: Picture, axis: _Axis, bottom: int) -> Iterator[str]:
    yield _label(12, _BANDS + 14, "generation", "quiet")
    for band in picture.bands:
        yield from _band(band, axis, _BANDS, bottom - _BANDS)


def _band(band: Band, axis: _Axis, y: float, height: float) -> Iterator[str]:
    text = f"generation {band.generation}: {_duration(band.start, band.end)}"
    yield _bar(f"band-{band.generation % 2}", axis, band.start, band.end, y, height, text)
    label = str(band.generation)
    if axis.x(band.end) - axis.x(band.start) > len(label) * _CHARACTER + 8:
        yield _label(axis.x(band.start) + 5, y + 14, label, "strong")


def _lanes(lanes: Sequence[Lane], axis: _Axis) -> Iterator[str]:
    """Draw one lane for each key: its generations, on them its refreshes, and what befell it."""
    for number, lane in enumerate(lanes):
        y = _BANDS + number * _LANE
        yield _name(lane.name, y + 14)
        for band in lane.bands:
            yield from _band(band, axis, y, _LANE - 4)
        for flight in lane.flights:
            text = f"{flight.text}; {_duration(flight.start, flight.end)}"
            yield _bar(flight.kind, axis, flight.start, flight.end, y + 3, _FLIGHT, text)
        for mark in lane.marks:
            yield _mark(mark, axis.x(mark.time), y, y + _LANE - 4, y + 9)


def _more(hidden: int, y: float) -> Iterator[str]:
    if hidden > 0:
        yield _label(12, y, f"and {hidden} more", "quiet")


def _name(name: str, y: float) -> str:
    name = printable(name)
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return f"<g>{_label(12, y, short)}<title>{_text(name)}</title></g>"


def _mark(mark: Mark, x: float, top: float, bottom: float, middle: float) -> str:
    if mark.kind in ("logged-in", "logged-out"):
        title = f"<title>{_text(mark.text)}</title>"
        return f'<path class="{mark.kind}" d="M{x:.1f} {top}V{bottom}">{title}</path>'
    return _diamond(mark, x, middle)


def _grid(axis: _Axis, bottom: int) -> Iterator[str]:
    for time, text in axis.ticks():
        x = axis.x(time)
        yield f'<path class="grid" d="M{x:.1f} {_FLIGHTS}V{bottom + 4}"/>'
        yield _label(x, bottom + _AXIS, text, "quiet middle")


def _columns(flights: Sequence[Span], axis: _Axis, bottom: int) -> Iterator[str]:
    """Draw each flight as a column behind the rows, so that one sees which tasks waited for it."""
    for flight in flights:
        kind = "column-failed" if flight.kind == "failed" else "column"
        yield _bar(kind, axis, flight.start, flight.end, _FLIGHTS, bottom - _FLIGHTS)


def _flights(flights: Sequence[Span], axis: _Axis) -> Iterator[str]:
    yield _label(12, _FLIGHTS + 14, "refresh", "quiet")
    starts = [axis.x(flight.start) for flight in flights[1:]]
    for flight, room in zip(flights, [*starts, float(_WIDTH)], strict=False):
        text = f"{flight.text}; {_duration(flight.start, flight.end)}"
        yield _bar(flight.kind, axis, flight.start, flight.end, _FLIGHTS + 4, _FLIGHT, text)
        x = max(axis.x(flight.end), axis.x(flight.start) + _NARROWEST) + 3
        if x + len(flight.label) * _CHARACTER < room:
            yield _label(x, _FLIGHTS + 14, flight.label, "quiet")


def _rows(rows: Sequence[Row], axis: _Axis, first: int) -> Iterator[str]:
    for number, row in enumerate(rows):
        top = first + number * _ROW
        yield _name(row.name, top + 11)
        # Requests first: a wait lies on top of the request that waits.
        for span in sorted(row.spans, key=lambda span: _height(span.kind)):
            height = _height(span.kind)
            text = f"{span.text}; {_duration(span.start, span.end)}"
            y = top + (_ROW - height) / 2
            yield _bar(span.kind, axis, span.start, span.end, y, height, text)
        for mark in row.marks:
            yield _diamond(mark, axis.x(mark.time), top + _ROW / 2)


def _marks(marks: Sequence[Mark], axis: _Axis, bottom: int) -> Iterator[str]:
    for mark in marks:
        x = axis.x(mark.time)
        yield _mark(mark, x, _BANDS, bottom, _FLIGHTS + 10)
        if mark.kind == "logged-out":
            # Where there is room for it.
            left = x - _LEFT > len(mark.text) * _CHARACTER
            yield _label(x, _OUT, mark.text, "out end" if left else "out")


def _height(kind: str) -> float:
    if kind.startswith("wait"):
        return _WAIT
    return _REQUEST if kind.startswith("request") else _FLIGHT


def _legend(flights: Sequence[Span], rows: Sequence[Row], y: int) -> tuple[list[str], int]:
    """Explain what is there, from a height on; return the height of the last line, too."""
    spans = [*flights, *(span for row in rows for span in row.spans)]
    kinds = {span.kind for span in spans} | {mark.kind for row in rows for mark in row.marks}
    parts: list[str] = []
    x = 12.0
    for kind, meaning in LEGEND:
        if kind not in kinds:
            continue
        width = 30 + len(meaning) * _CHARACTER
        if x + width > _RIGHT:
            x, y = 12.0, y + _LINE
        if kind == "resent":
            parts.append(f'<path class="resent" d="{_diamond_path(x + 7, y - 4)}"/>')
        else:
            height = _height(kind)
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y - 4 - height / 2:.1f}"'
                f' width="14" height="{height}"/>'
            )
        parts.append(_label(x + 19, y, meaning, "quiet"))
        x += width
    return parts, y


def _bar(  # noqa: PLR0917  # a rectangle has this many sides
    kind: str, axis: _Axis, start: float, end: float, y: float, height: float, text: str = ""
) -> str:
    x = axis.x(start)
    width = max(axis.x(end) - x, _NARROWEST)
    title = f"<title>{_text(text)}</title>" if text else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
        f' height="{height:.1f}">{title}</rect>'
    )


def _diamond(mark: Mark, x: float, y: float) -> str:
    path = _diamond_path(x, y)
    return f'<path class="{mark.kind}" d="{path}"><title>{_text(mark.text)}</title></path>'


def _diamond_path(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z"


def _label(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_text(text)}</text>'


def _duration(start: float, end: float) -> str:
    return f"{end - start:.3f} s"


def _text(text: str) -> str:
    """Make any text fit for XML: no control characters, no markup."""
    return escape(printable(text), quote=True)
