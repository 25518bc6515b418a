"""The page docs/speed.md and its charts, made from the JSON of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _chart
from ._prose import INTRODUCTION, growth, in_short, item, method, not_fastest, wrapped
from ._report import Figure, load, plain, with_unit
from ._sides import FLOOR, FLOOR_OF, LOCK, OURS, OWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ._chart import Kind

_KINDS: dict[str, Kind] = {
    FLOOR["httpx"]: "slow",
    FLOOR["httpx2"]: "floor",
    OURS["httpx"]: "own",
    OURS["httpx2"]: "ours",
    OWN: "own",
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
    "import": "Importing",
    "store": "FileStore",
}


class _Figures:
    """The figures of a run, to be quoted."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.all = figures
        self._found = {each.key: each for each in figures}

    def get(self, case: str, side: str, what: str) -> Figure | None:
        figure = self._found.get((case, side, what))
        return None if figure is None or figure.value is None else figure

    def say(self, case: str, side: str, what: str) -> str:
        figure = self.get(case, side, what)
        if figure is None or figure.value is None:
            return "(not measured)"
        if figure.unit == "times":
            return f"{figure.value:.2f}"
        return with_unit(figure.value, figure.unit)

    def of(self, case: str) -> list[Figure]:
        return [figure for figure in self.all if figure.case == case]


def write(source: Path, docs: Path) -> None:
    """Write the page and its charts."""
    content = load(source)
    figures = _Figures(content["figures"])
    folder = docs / "speed"
    folder.mkdir(exist_ok=True)
    pictures = dict(_charts(figures, content["series"]))
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture)
    (docs / "speed.md").write_text("\n".join(_page(content, figures, set(pictures))) + "\n")


# --- the page ------------------------------------------------------------------------------


def _page(content: dict[str, Any], figures: _Figures, pictures: set[str]) -> Iterator[str]:
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield "# How fast, and compared with what"
    yield ""
    yield wrapped(INTRODUCTION)
    yield ""
    if content["quick"]:
        yield "**From a quick run: a tenth of the rounds.**"
        yield ""
    yield "In short:"
    yield ""
    yield from map(item, in_short(figures.say))
    yield ""
    yield "## The machine, the command, the versions"
    yield ""
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['python']}."
    yield ""
    yield _COMMANDS
    yield ""
    yield wrapped(f"{versions}.")
    yield ""
    yield "## How it is measured"
    yield ""
    yield from map(item, method())
    yield ""
    yield from _aims(figures)
    yield ""
    yield "## Where we are not the fastest, and why"
    yield ""
    yield from map(item, not_fastest(figures.say))
    yield ""
    yield "## How the cost grows"
    yield ""
    yield from map(item, growth(content["series"]))
    yield ""
    yield "## Case by case"
    for case, heading in _CASES.items():
        found = figures.of(case)
        if found:
            yield from _case(
                heading,
                found,
                [_picture(*each) for each in _PICTURES.get(case, ()) if each[0] in pictures],
            )


def _aims(figures: _Figures) -> Iterator[str]:
    yield "## The aims"
    yield ""
    yield "| case | what | measured | aim | |"
    yield "| --- | --- | --- | --- | --- |"
    for figure in figures.all:
        if figure.met is not None:
            yield (
                f"| {_CASES.get(figure.case, figure.case)} | {figure.side}: {figure.what}"
                f" | {figure.shown()} | {figure.shown_aim()} | {figure.verdict} |"
            )


def _case(heading: str, found: list[Figure], pictures: list[str]) -> Iterator[str]:
    yield ""
    yield f"### {heading}"
    yield ""
    for picture in pictures:
        yield picture
        yield ""
    yield "| side | what | measured | |"
    yield "| --- | --- | --- | --- |"
    for figure in found:
        if figure.value is None:
            yield f"| {figure.side} | | | can't: {figure.note} |"
        else:
            yield f"| {figure.side} | {figure.what} | {figure.shown()} | {figure.note} |"


def _picture(name: str, caption: str) -> str:
    return f"![{caption}](speed/{name}.svg)"


_COMMANDS = """\
```console
$ make bench                       # all of it, some minutes
$ make bench ARGS="--quick fresh"  # one case, a tenth of the rounds
$ make bench ARGS=--write-page     # all of it, and this page
$ python benchmarks/check.py       # what got worse since the figures on this page
```"""

_PICTURES = {
    "fresh": [("fresh", "Time of one request over that with a fixed header, for each side")],
    "401 storm": [("storm-401", "Microseconds for each task of a 401 storm, over their number")],
    "expiry storm": [
        ("storm-expiry", "Microseconds for each task of an expiry storm, over their number")
    ],
    "rotation": [("rotation", "Latencies in seconds with a rotation and without")],
    "crowd": [("crowd", "Seconds that a crowd of requests takes, over its size")],
    "waiters": [
        ("waiters", "Microseconds for each task that waits, over their number"),
        ("waiters-bytes", "Bytes for each task that waits, over their number"),
    ],
    "session": [("sessions", "Microseconds to open and leave a session, over their number")],
}

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
