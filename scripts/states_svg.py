"""The picture of the states: where each box and each arrow lies. Which there are, the code says.

An arrow that nobody gave a place is an error, so that none can be missing from the picture.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH, _HEIGHT, _LINE = 1080, 596, 14

# For each class, in light and in dark.
_COLOURS = {
    "paper": ("#ffffff", "#0f141b"),
    "box": ("#e4eaf3", "#212c3a"),
    "over": ("#f8dfe3", "#3b1f2a"),
    "text": ("#1f2933", "#dde4ec"),
    "quiet": ("#4b5764", "#a9b6c4"),
    "arrow": ("#5d6977", "#93a1b1"),
}

# Left, top, right, bottom; how it is called; its colour.
_BOXES = {
    "LoggingIn": (165, 87, 315, 133, "LoggingIn", "box"),
    "Vacant": (165, 287, 315, 333, "Vacant", "box"),
    "Current": (465, 87, 615, 133, "Current", "box"),
    "Rejected": (465, 287, 615, 333, "Rejected", "box"),
    "Refreshing": (835, 87, 985, 133, "Refreshing", "box"),
    "RefreshingRejected": (815, 287, 1005, 333, "Refreshing, rejected", "box"),
    "LoggedOut": (120, 440, 1060, 480, "LoggedOut", "over"),
    "Closed": (465, 540, 615, 580, "Closed", "over"),
}

# Each arrow's path, and where its label stands: start, middle or end of its first line.
_ARROWS = {
    ("", "Vacant"): ("M40 310H163", "start", 16, 278),
    ("", "LoggedOut"): ("M40 460H118", "start", 16, 442),
    ("", "Current"): ("M540 50V85", "start", 554, 54),
    ("Vacant", "LoggingIn"): ("M270 287V135", "start", 277, 206),
    ("LoggingIn", "Vacant"): ("M210 133V285", "start", 217, 206),
    ("LoggingIn", "Current"): ("M315 110H463", "middle", 389, 88),
    ("LoggingIn", "Refreshing"): (
        "M240 87V40Q240 26 254 26H886Q900 26 900 40V85",
        "start",
        554,
        18,
    ),
    ("LoggingIn", "LoggedOut"): ("M165 110H149Q135 110 135 124V438", "start", 142, 383),
    ("Vacant", "LoggedOut"): ("M270 333V438", "start", 277, 390),
    ("Current", "LoggedOut"): ("M465 122H404Q390 122 390 136V438", "start", 397, 390),
    ("Current", "Refreshing"): ("M615 100H833", "middle", 724, 92),
    ("Refreshing", "Current"): ("M835 114H617", "middle", 730, 132),
    ("Current", "Rejected"): ("M500 133V285", "end", 494, 206),
    ("Rejected", "Current"): ("M545 287V135", "start", 552, 206),
    ("Rejected", "RefreshingRejected"): ("M615 300H813", "middle", 728, 292),
    ("RefreshingRejected", "Rejected"): ("M815 322H617", "middle", 728, 339),
    ("Rejected", "LoggedOut"): ("M540 333V438", "start", 547, 390),
    ("Refreshing", "RefreshingRejected"): ("M945 133V285", "start", 952, 206),
    ("RefreshingRejected", "Refreshing"): ("M890 287V135", "end", 884, 206),
    ("RefreshingRejected", "Current"): ("M840 287L606 135", "end", 752, 240),
    ("Refreshing", "LoggedOut"): ("M985 110H1031Q1045 110 1045 124V438", "end", 1038, 383),
    ("RefreshingRejected", "LoggedOut"): ("M910 333V438", "end", 904, 383),
    ("LoggedOut", "Current"): ("M648 440V140Q648 126 634 126H617", "start", 655, 390),
    ("LoggedOut", "Closed"): ("M540 480V538", "start", 547, 513),
}
# How many letters a line of a label has at most.
_ROOM = {"Current": 30, "Closed": 60, "RefreshingRejected": 20, "Refreshing": 28, "Rejected": 28}
_SHORT = 16
_NARROW = {
    ("LoggingIn", "Vacant"): 8,
    ("LoggingIn", "Current"): 16,
    ("Rejected", "Current"): 16,
    ("RefreshingRejected", "Current"): 16,
    ("Current", "Rejected"): 16,
    ("Refreshing", "RefreshingRejected"): 16,
    ("RefreshingRejected", "Refreshing"): 16,
}


def draw(edges: dict[tuple[str, str], list[str]]) -> str:
    """Draw the states, and what leads from one to another ("": from the start)."""
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="States of a session"',
            f' width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
            f"<style>{_style()}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"',
            ' orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker>',
            f'<rect class="paper" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>',
            *(_box(*box) for box in _BOXES.values()),
            *(f'<path class="arrow" d="{_ARROWS[edge][0]}"/>' for edge in edges),
            *(f'<circle class="tip" cx="{x}" cy="{y}" r="6"/>' for x, y in map(_start, edges) if x),
            *(line for edge, labels in edges.items() for line in _label(edge, labels)),
            "</svg>",
            "",
        ]
    )


def _style() -> str:
    rules = [
        "text{font:12.5px system-ui,-apple-system,'Segoe UI',sans-serif}",
        ".name{font-size:15px;font-weight:600;text-anchor:middle}",
        ".end{text-anchor:end}.middle{text-anchor:middle}",
        ".arrow{fill:none;stroke-width:1.5;marker-end:url(#tip)}",
        ".label{stroke-width:4;paint-order:stroke;stroke-linejoin:round}",
    ]
    for shade, (opens, closes) in enumerate(
        [("", ""), ("@media (prefers-color-scheme:dark){", "}")]
    ):
        colour = {name: shades[shade] for name, shades in _COLOURS.items()}
        fills = [f".{name}{{fill:{colour[name]}}}" for name in ("paper", "box", "over")]
        fills += [
            f".name{{fill:{colour['text']}}}",
            f".label{{fill:{colour['quiet']};stroke:{colour['paper']}}}",
            f".arrow{{stroke:{colour['arrow']}}}.tip{{fill:{colour['arrow']}}}",
        ]
        rules.append(f"{opens}{''.join(fills)}{closes}")
    return "".join(rules)


def _box(left: int, top: int, right: int, bottom: int, name: str, kind: str) -> str:  # noqa: PLR0917
    return (
        f'<rect class="{kind}" x="{left}" y="{top}" width="{right - left}"'
        f' height="{bottom - top}" rx="8"/>'
        f'<text class="name" x="{(left + right) // 2}" y="{(top + bottom) // 2 + 5}">{name}</text>'
    )


def _start(edge: tuple[str, str]) -> tuple[int, int]:
    """Return where the dot lies that an arrow from the start begins with."""
    if edge[0]:
        return 0, 0
    x, _, y = _ARROWS[edge][0][1:].replace("H", " ").replace("V", " ").partition(" ")
    return int(x), int(y.split()[0])


def _label(edge: tuple[str, str], labels: list[str]) -> Iterator[str]:
    _, anchor, x, y = _ARROWS[edge]
    for number, line in enumerate(_lines(labels, _NARROW.get(edge, _ROOM.get(edge[1], _SHORT)))):
        yield (
            f'<text class="label {anchor}" x="{x}" y="{y + number * _LINE}">{escape(line)}</text>'
        )


def _lines(labels: list[str], room: int) -> Iterator[str]:
    for number, label in enumerate(labels):
        line = ""
        for word in label.split():
            if line and len(line) + 1 + len(word) > room:
                yield line
                line = ""
            line = f"{line} {word}".lstrip()
        yield line if number == len(labels) - 1 else f"{line},"
