"""QR codes, if segno (the extra ``login``) is installed; otherwise there are none."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

# ISO/IEC 18004 wants four light modules around a code. Two are enough for the readers of
# telephones, and fit into narrower terminals.
_BORDER: Final = 2
# The upper and the lower half of a character are a module each: dark ones are drawn, in black on
# white, whatever the colours of the terminal are.
_HALVES: Final = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
_BLACK_ON_WHITE: Final = "\x1b[30;107m"
_RESET: Final = "\x1b[0m"


def _make(text: str) -> Any:
    """Return segno's code; None if there is no segno, or the text is too long for a code."""
    try:
        segno: Any = import_module("segno")
    except ImportError:
        return None
    try:
        return segno.make(text, micro=False)
    except ValueError:
        return None


def terminal_lines(text: str, *, columns: int, rows: int) -> list[str]:
    """Return the lines that draw a text as a code in a terminal; none if it does not fit."""
    code = _make(text)
    if code is None:
        return []
    modules = [list(row) for row in code.matrix_iter(border=_BORDER)]
    # A code is a square with an odd side.
    modules.append([0] * len(modules[0]))
    if len(modules[0]) > columns or len(modules) // 2 > rows:
        return []
    return [
        _BLACK_ON_WHITE + "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True)) + _RESET
        for upper, lower in zip(modules[::2], modules[1::2], strict=True)
    ]


def svg(text: str) -> str:
    """Return a text as a code in SVG, for a page; "" if there can be none."""
    code = _make(text)
    if code is None:
        return ""
    drawn: str = code.svg_inline(scale=4, border=4, dark="#000", light="#fff")
    return drawn
