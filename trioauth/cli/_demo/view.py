"""What one sees of the demo: a live picture in a terminal, elsewhere a line each second."""

from __future__ import annotations

import math
import textwrap
from collections import deque
from typing import TYPE_CHECKING

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .crowd import Doing
    from .show import Show

_FRAME = 0.1
_WIDEST, _MOST_DOTS = 88, 400
_DOTS: dict[Doing, tuple[str, str, str]] = {
    "rests": ("·", "bright_black", "rests"),
    "asks": ("●", "blue", "asks"),
    "waits": ("●", "yellow", "waits for the refresh"),
    "new": ("✗", "red", "cancelled, replaced"),
    "told": ("■", "magenta", "told"),
}
_BARS = " ▁▂▃▄▅▆▇█"
_FORGIVEN = """
One answer was lost after the server had rotated the token. This server forgives the
same token again for a while (AuthServer's reuse_grace), as some do for that reason.
"""


async def watch(show: Show) -> None:
    """Show what goes on, until cancelled.

    Cancellation:
      Safe. The terminal is left as it was.
    """
    console = Console()
    if console.is_terminal:
        await _watch_live(show, console)
    else:
        await _watch_lines(show)


def tell(show: Show) -> None:
    """Print what came of it."""
    console = Console(highlight=False, soft_wrap=True)
    for name, number in show.numbers():
        console.print(f"{name:>36}  {number}")
    console.print(_FORGIVEN if show.counts.dropped else "")
    for check in show.checks():
        verdict = "kept" if check.kept else "BROKEN"
        line = f"{verdict:>6}  {check.promise:<3}  {check.sentence}"
        text = Text(textwrap.fill(line, _WIDEST, subsequent_indent=" " * 13))
        text.highlight_words([verdict], style="green" if check.kept else "bold red")
        console.print(text)
    # Without the history: that has just been seen.
    now = show.explanation.partition("\nWhat happened lately")[0]
    console.print("\nsession.explain() says:", textwrap.indent(now, "  "), sep="\n", markup=False)


# --- in a terminal -----------------------------------------------------------------------------


async def _watch_live(show: Show, console: Console) -> None:
    pulse = deque[int](maxlen=50)
    seen = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            requests = show.counts.requests
            pulse.append(requests - seen)
            seen = requests
            live.update(_frame(show, pulse, console.width), refresh=True)
            await trio.sleep(_FRAME)


def _frame(show: Show, pulse: deque[int], width: int) -> Panel:
    return Panel(
        Group(
            Text(show.phase, style="bold"),
            ProgressBar(total=1, completed=show.share, complete_style="cyan"),
            Text(),
            _numbers(show),
            Text(),
            _crowd(show),
            _legend(),
            Text(),
            Text.assemble(("requests  ", "bright_black"), (_sparkline(pulse), "blue")),
            Text(),
            _news(show),
        ),
        title="trioauth",
        subtitle=show.subtitle,
        padding=(1, 2),
        width=min(width, _WIDEST),
    )


def _numbers(show: Show) -> Table:
    """Lay the counters out side by side."""
    counts, waiting = show.counts, len(show.crowd.waiting)
    shown = (
        ("generation", show.crowd.generation, "bold green"),
        ("waiting", waiting, "bold yellow" if waiting else ""),
        ("requests", counts.requests, "bold blue"),
        ("401s", show.unauthorized, ""),
        ("sent again", counts.resent, ""),
        ("refreshes", counts.refreshes, "green"),
        ("cancelled", counts.cancelled, "red"),
    )
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_row(*(Text(f"{number:,}", style=style) for _, number, style in shown))
    table.add_row(*(Text(name, style="bright_black") for name, _, _ in shown))
    return table


def _crowd(show: Show) -> Text:
    """Draw a dot for each task."""
    text, slots = Text(), show.crowd.slots
    for slot in sorted(slots)[:_MOST_DOTS]:
        dot, style, _ = _DOTS[slots[slot].doing]
        text.append(dot, style=style)
    hidden = len(slots) - _MOST_DOTS
    return text.append(f" and {hidden} more" if hidden > 0 else "")


def _legend() -> Text:
    text = Text()
    for dot, style, meaning in _DOTS.values():
        text.append(f"{dot} ", style=style).append(f"{meaning}  ", style="bright_black")
    return text


def _sparkline(pulse: deque[int]) -> str:
    highest = max(pulse, default=0) or 1
    return "".join(_BARS[round(value / highest * (len(_BARS) - 1))] for value in pulse)


def _news(show: Show) -> Text:
    news = show.crowd.news
    lines = [f"{time - show.started:5.1f} s  {text}" for time, text in news]
    # As many as there will be, so that the picture keeps its size.
    lines += [""] * ((news.maxlen or 0) - len(lines))
    return Text("\n".join(lines), style="bright_black", no_wrap=True, overflow="ellipsis")


# --- elsewhere ---------------------------------------------------------------------------------


async def _watch_lines(show: Show) -> None:
    told, phase = -math.inf, ""
    while True:
        now = trio.current_time()
        # Each second, and each phase, however short.
        if now >= told + 1 or phase != show.phase:
            print(_line(show), flush=True)
            told, phase = now, show.phase
        await trio.sleep(_FRAME)


def _line(show: Show) -> str:
    crowd, counts = show.crowd, show.counts
    return (
        f"{trio.current_time() - show.started:5.1f} s  generation {crowd.generation:<3}"
        f"  waiting {len(crowd.waiting):<4}  requests {counts.requests:<6}"
        f"  401s {show.unauthorized:<4}  refreshes {counts.refreshes:<3}"
        f"  {show.phase}"
    )
