"""How a timeline looks: its colours, in light and in dark, and its legend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The colour of each class, for a light and a dark page. Shapes differ, too, for readers who can't
# tell the colours apart.
_FILLS = {
    "paper": ("#ffffff", "#0f141b"),
    "band-0": ("#f2f5f9", "#171f2a"),
    "band-1": ("#e4eaf3", "#212c3a"),
    "column": ("#178f68", "#35b98d"),
    "column-failed": ("#cf3a53", "#f0657b"),
    "request": ("#4f86d6", "#5b9bec"),
    "request-failed": ("#cf3a53", "#f0657b"),
    "resent": ("#1f2933", "#f2f5f8"),
    "wait": ("#e79a2b", "#f0ab45"),
    # Filled, because a request that was cancelled lies below it.
    "wait-cancelled": ("#fdf0dc", "#3d2f18"),
    "landed": ("#178f68", "#35b98d"),
    "adopted": ("#7a5bc7", "#a48bea"),
    "failed": ("#cf3a53", "#f0657b"),
    "airborne": ("#8793a3", "#8793a3"),
    "trouble": ("#cf3a53", "#f0657b"),
    "note": ("#8793a3", "#8793a3"),
    "text": ("#1f2933", "#dde4ec"),
    "text.quiet": ("#5d6977", "#93a1b1"),
    "text.out": ("#a8163f", "#ff7d9c"),
}
_STROKES = {
    "grid": ("#cbd3de", "#313d4b"),
    "request-cancelled": ("#8793a3", "#8793a3"),
    "wait-cancelled": ("#b9741a", "#f0ab45"),
    "logged-in": ("#178f68", "#35b98d"),
    "logged-out": ("#a8163f", "#ff7d9c"),
}
_SHAPES = (
    "{font:11px system-ui,-apple-system,'Segoe UI',sans-serif;max-width:100%;height:auto}",
    " .strong{font-weight:600}",
    " .middle{text-anchor:middle}",
    " .end{text-anchor:end}",
    " .out{font-weight:600}",
    " .column{fill-opacity:.13}",
    " .column-failed{fill-opacity:.13}",
    " .request-cancelled{fill:none}",
    " .logged-in{stroke-width:1.5;stroke-dasharray:2 3}",
    " .logged-out{stroke-width:2.5}",
)

LEGEND = (
    ("request", "request"),
    ("request-cancelled", "request, cancelled"),
    ("request-failed", "request, failed"),
    ("resent", "sent again"),
    ("wait", "waits for a refresh"),
    ("wait-cancelled", "wait, cancelled (the refresh goes on)"),
    ("landed", "refresh"),
    ("adopted", "refresh, found in the store"),
    ("failed", "refresh, failed"),
)
"""Class, and what it means."""


def _colours(shade: int) -> Iterator[str]:
    for name, fills in _FILLS.items():
        selector = name if name.startswith("text") else f".{name}"
        yield f".trioauth-timeline {selector}{{fill:{fills[shade]}}}"
    for name, strokes in _STROKES.items():
        yield f".trioauth-timeline .{name}{{stroke:{strokes[shade]}}}"


# In a notebook the style of one picture holds for the whole page: each rule names the picture.
STYLE = "".join(
    [
        *(f".trioauth-timeline{shape}" for shape in _SHAPES),
        *_colours(0),
        "@media (prefers-color-scheme:dark){",
        *_colours(1),
        "}",
    ]
)
"""The style sheet."""
