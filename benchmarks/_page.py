"""The pages that quote figures: README.md, docs/speed.md and its charts.

Prose is written by hand. What a run has found out stands between two marks, where `write` puts it:

    <!-- speed: fresh httpx -->1.03<!-- -->     one figure; `_QUOTED` says which
    <!-- speed: table fresh -->                 all figures of a case, up to the next mark
    <!-- -->

A test compares the pages with results.json: a figure that is not in it is found there.
"""

from __future__ import annotations

import math
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _chart
from ._report import Figure, load, plain
from ._sides import AUTHLIB, FLOOR, FLOOR_OF, HTTPX_AUTH, LOCK, MCP, OURS, OWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ._chart import Kind

_ROOT = Path(__file__).parent.parent
RESULTS = _ROOT / "benchmarks" / "results.json"
"""The run that the pages quote."""
PAGES = (_ROOT / "README.md", _ROOT / "docs" / "speed.md")
_CHARTS = _ROOT / "docs" / "speed"
_MARKED = re.compile(r"(<!-- speed: ([^<>]+?) -->).*?(<!-- -->)", re.DOTALL)

_FIXED = "time over a fixed header"
_QUOTED = {
    "fresh httpx": ("fresh", OURS["httpx"], _FIXED),
    "fresh httpx2": ("fresh", OURS["httpx2"], _FIXED),
    "fresh own": ("fresh", OWN, _FIXED),
    "fresh lock httpx": ("fresh", LOCK["httpx"], _FIXED),
    "fresh lock httpx2": ("fresh", LOCK["httpx2"], _FIXED),
    "fresh Authlib": ("fresh", AUTHLIB, _FIXED),
    "fresh MCP": ("fresh", MCP, _FIXED),
    "401 refreshes": ("401 storm", OURS["httpx2"], "refreshes, N = 1,000"),
    "401 time": ("401 storm", OURS["httpx2"], "time over 2N bare requests, N = 1,000"),
    "expiry httpx": ("expiry storm", OURS["httpx"], "time over N + 1 requests, N = 1,000"),
    "expiry httpx2": ("expiry storm", OURS["httpx2"], "time over N + 1 requests, N = 1,000"),
    "expiry httpx-auth": ("expiry storm", HTTPX_AUTH, "time over N + 1 requests, N = 1,000"),
    "down calls": ("down", OURS["httpx2"], "calls to it"),
    "down calls lock": ("down", LOCK["httpx2"], "calls to it"),
    "down calls MCP": ("down", MCP, "calls to it"),
    "crowd own": ("crowd", OWN, "1,000 at once"),
    "crowd own over httpx2": ("crowd", OWN, "time over bare httpx2, 1,000 at once"),
    "crowd httpx": ("crowd", FLOOR["httpx"], "1,000 at once"),
    "crowd httpx errors": ("crowd", FLOOR["httpx"], "errors, 1,000 at once"),
    "import": ("import", "trioauth", "import trioauth over import trio, httpx"),
}
_CASES = {
    "fresh": "One request with a fresh token, in memory",
    "flow": "The flow alone, without a client",
    "token": "The token without a request",
    "401 storm": "N tasks meet a 401 at once",
    "expiry storm": "N tasks meet an expired token at once",
    "down": "10,000 tasks need a token and the server is down",
    "rotation": "A rotation under a steady 200 requests a second, real sockets",
    "stream": "20 concurrent requests of 20 ms, one of them a long stream, real sockets",
    "crowd": "A crowd of requests of 20 ms, real sockets",
    "cancelled": "A nursery of 1,000 cancelled while connecting",
    "waiters": "Waiters on one flight",
    "session": "Opening, leaving and keeping a session",
    "sessions": "200 sessions in one program, one request each, real sockets",
    "use": "Using a login of many",
    "many memory": "The memory of many logins",
    "many at once": "1,000 logins in use at once, real sockets",
    "many expiring": "1,000 logins that expire in one second",
    "import": "Importing",
    "store": "FileStore",
}
_GROWTH = {
    "storm-401": "A task in a 401 storm",
    "storm-expiry": "A task in an expiry storm",
    "waiters": "A task that waits for a flight",
    "waiters-bytes": "The memory of a task that waits",
    "sessions": "A session, opened and left beside others",
    "use-memory": "A use of a login in memory, beside other known ones",
    "use-sqlite": "A use of a login in SQLite, beside other known ones",
}
_KINDS: dict[str, Kind] = {
    FLOOR["httpx"]: "slow",
    FLOOR["httpx2"]: "floor",
    OURS["httpx"]: "own",
    OURS["httpx2"]: "ours",
    OWN: "own",
}


class _Figures:
    """The figures of a run, to be quoted."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.all = figures
        self._found = {each.key: each for each in figures}

    def get(self, case: str, side: str, what: str) -> Figure | None:
        figure = self._found.get((case, side, what))
        return None if figure is None or figure.value is None else figure

    def quoted(self, name: str) -> str:
        """Write one as prose has it: with the digits that mean something."""
        figure = self.get(*_QUOTED[name])
        if figure is None or figure.value is None:
            raise LookupError(
                f"{RESULTS.name} has no figure {name!r}: make bench ARGS=--write-page"
            )
        match figure.unit:
            case "times":
                return f"{figure.value:.2f}"
            case "":
                return plain(figure.value)
            case unit:
                digits = f"{figure.value:.2g}" if figure.value < 99.5 else plain(figure.value)
                return f"{digits} {unit}"


def write() -> list[Path]:
    """Put the figures of the committed run into the pages, and draw the charts."""
    changed = pages()
    _CHARTS.mkdir(exist_ok=True)
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    return list(changed)


def pages() -> dict[Path, str]:
    """Return what each page and each chart should say."""
    content = load(RESULTS)
    done = {path: fill(path.read_text(encoding="utf-8"), content) for path in PAGES}
    charts = _charts(_Figures(content["figures"]), content["series"])
    return done | {_CHARTS / f"{name}.svg": picture for name, picture in charts}


def fill(text: str, content: Mapping[str, Any]) -> str:
    """Replace what stands between marks by what a run has found out."""
    figures = _Figures(content["figures"])

    def marked(found: re.Match[str]) -> str:
        name: str = found[2]
        if name.startswith("table "):
            rows = "\n".join(_table(name.removeprefix("table "), content, figures))
            return f"{found[1]}\n\n{rows}\n\n{found[3]}"
        if name in content["machine"]:
            return f"{found[1]}{content['machine'][name]}{found[3]}"
        return f"{found[1]}{figures.quoted(name)}{found[3]}"

    return _MARKED.sub(marked, text)


# --- tables --------------------------------------------------------------------------------


def _table(name: str, content: Mapping[str, Any], figures: _Figures) -> Iterator[str]:
    match name:
        case "machine":
            yield from _machine(content)
        case "aims":
            yield from _aims(figures)
        case "growth":
            yield from _growth(content["series"])
        case case:
            yield from _case([figure for figure in figures.all if figure.case == case], case)


def _machine(content: Mapping[str, Any]) -> Iterator[str]:
    machine = content["machine"]
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['python']}."
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield ""
    yield textwrap.fill(f"{versions}.", 100, break_long_words=False, break_on_hyphens=False)


def _aims(figures: _Figures) -> Iterator[str]:
    yield "| case | what | measured | aim | |"
    yield "| --- | --- | --- | --- | --- |"
    for figure in figures.all:
        if figure.met is not None:
            yield (
                f"| {_CASES[figure.case]} | {figure.side}: {figure.what}"
                f" | {figure.shown()} | {figure.shown_aim()} | {figure.verdict} |"
            )


def _growth(series: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Iterator[str]:
    yield "| what | from, to | each one's share | the whole grows with |"
    yield "| --- | --- | --- | --- |"
    for chart, what in _GROWTH.items():
        for side, points in series.get(chart, {}).items():
            if side.startswith(("trioauth", "await")) and len(points) > 1:
                yield f"| {what} ({side}) | {_slope(points)} |"


def _slope(points: Sequence[tuple[float, float]]) -> str:
    """Say how the total grows, of which the points have each one's share."""
    # The smallest has what is there once, whatever the number: it says nothing about growth.
    (first_n, first), (last_n, last) = points[1] if len(points) > 2 else points[0], points[-1]
    power = 1 + math.log(last / first) / math.log(last_n / first_n)
    sizes = f"{plain(first_n)}, {plain(last_n)}"
    return f"{sizes} | {plain(first)}, {plain(last)} | N to the power of {power:.2f}"


def _case(found: list[Figure], case: str) -> Iterator[str]:
    if case not in _CASES:
        raise LookupError(f"there is no case {case!r}")
    if not found:
        yield "Not measured yet."
        return
    yield "| side | what | measured | |"
    yield "| --- | --- | --- | --- |"
    for figure in found:
        if figure.value is None:
            yield f"| {figure.side} | | | can't: {figure.note} |"
        else:
            yield f"| {figure.side} | {figure.what} | {figure.shown()} | {figure.note} |"


# --- charts --------------------------------------------------------------------------------


def _kind(side: str) -> Kind:
    return _KINDS.get(side, "peer")


def _charts(
    figures: _Figures, series: dict[str, dict[str, list[tuple[float, float]]]]
) -> Iterator[tuple[str, str]]:
    fresh = [
        figure
        for side in FLOOR_OF
        if (figure := figures.get("fresh", side, "time over a fixed header")) is not None
    ]
    if fresh:
        yield (
            "fresh",
            _chart.bars(
                "One request with a fresh token",
                "time over the same request with a fixed header (the line); in memory",
                [
                    _chart.Bar(
                        each.side,
                        each.value or 0.0,
                        f"{each.value:.2f}",
                        _kind(each.side),
                        each.low,
                        each.high,
                    )
                    for each in sorted(fresh, key=lambda figure: figure.value or 0.0)
                ],
                reference=1.0,
            ),
        )
    rotation = list(_rotation_bars(figures))
    if rotation:
        yield (
            "rotation",
            _chart.bars(
                "A rotation under steady load",
                "milliseconds, in the seconds of a rotation and in those without one",
                rotation,
            ),
        )
    titles = {
        "storm-401": ("A 401 storm", "microseconds of CPU for each task", "tasks"),
        "storm-expiry": ("An expiry storm", "microseconds of CPU for each task", "tasks"),
        "crowd": ("A crowd of requests of 20 ms", "seconds until all are answered", "requests"),
        "waiters": ("Tasks that wait for one flight", "microseconds of CPU for each", "tasks"),
        "waiters-bytes": ("Tasks that wait for one flight", "bytes for each", "tasks"),
        "sessions": ("Sessions, opened and left", "microseconds of CPU for each", "sessions"),
    }
    for name, (title, subtitle, x_name) in titles.items():
        found = [
            _chart.Line(side, points, "ours" if side in _STARS else _line_kind(side))
            for side, points in series.get(name, {}).items()
        ]
        if found:
            yield name, _chart.lines(title, subtitle, x_name, found)


_STARS = {"await token()", "trioauth"}


def _line_kind(side: str) -> Kind:
    return "floor" if side == "a bare trio.Event" else _kind(side)


def _rotation_bars(figures: _Figures) -> Iterator[_chart.Bar]:
    for percent in ("p50", "p99", "p99.9"):
        for name, side in (("trioauth", OURS["httpx2"]), ("pasted lock", LOCK["httpx2"])):
            for when in ("without", "with one"):
                figure = figures.get("rotation", side, f"{percent} in a second {when}")
                if figure is not None and figure.value is not None:
                    kind = "floor" if when == "without" else _kind(side)
                    text = f"{plain(figure.value)} ms"
                    yield _chart.Bar(f"{percent}, {name}, {when}", figure.value, text, kind)
