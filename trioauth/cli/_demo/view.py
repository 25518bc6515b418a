"""What one sees of the demo: a live picture in a terminal, elsewhere a line each second."""

from __future__ import annotations

import math
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
    from .report import Report
    from .show import Show

_FRAME = 0.1
_WIDEST, _MOST_DOTS = 88, 400
_DOTS: dict[Doing, tuple[str, str]] = {
    "rests": ("·", "bright_black"),
    "asks": ("●", "blue"),
    "waits": ("●", "yellow"),
    "new": ("✗", "red"),
    "told": ("■", "magenta"),
}
_MEANINGS: dict[Doing, str] = {
    "rests": "rests",
    "asks": "asks",
    "waits": "waits for the refresh",
    "new": "cancelled, replaced",
    "told": "told",
}
_BARS = " ▁▂▃▄▅▆▇█"


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


def tell(report: Report) -> None:
    """Print the report."""
    colours = {"kept": "green", "BROKEN": "bold red"}
    console = Console(highlight=False, soft_wrap=True)
    for line in report.lines():
        text = Text(line)
        for word, colour in colours.items():
            if line.lstrip().startswith(word):
                text.highlight_words([word], style=colour)
        console.print(text)


# --- in a terminal -----------------------------------------------------------------------------


async def _watch_live(show: Show, console: Console) -> None:
    pulse = deque[int](maxlen=50)
    seen = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            requests = show.crowd.count["requests"]
            pulse.append(requests - seen)
            seen = requests
            live.update(_frame(show, pulse, console.width), refresh=True)
            await trio.sleep(_FRAME)


def _frame(show: Show, pulse: deque[int], width: int) -> Panel:
    return Panel(
        Group(
            Text(show.act, style="bold"),
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
        subtitle=f"{show.options.tasks} tasks, {show.stage.subtitle}",
        padding=(1, 2),
        width=min(width, _WIDEST),
    )


def _numbers(show: Show) -> Table:
    """Lay the counters out like the instruments of a car."""
    crowd = show.crowd
    waiting = len(crowd.waiting)
    numbers = (
        ("generation", crowd.generation, "bold green"),
        ("waiting", waiting, "bold yellow" if waiting else ""),
        ("requests", crowd.count["requests"], "bold blue"),
        ("401s", show.stage.unauthorized(crowd), ""),
        ("sent again", crowd.count["resent"], ""),
        ("refreshes", crowd.count["refreshes"], "green"),
        ("cancelled", crowd.count["cancelled"], "red"),
    )
    table = Table.grid(expand=True)
    for _ in numbers:
        table.add_column()
    table.add_row(*(Text(f"{number:,}", style=style) for _, number, style in numbers))
    table.add_row(*(Text(name, style="bright_black") for name, _, _ in numbers))
    return table


def _crowd(show: Show) -> Text:
    """Draw a dot for each task."""
    text = Text()
    for slot in sorted(show.crowd.slots)[:_MOST_DOTS]:
        dot, style = _DOTS[show.crowd.slots[slot].doing]
        text.append(dot, style=style)
    hidden = len(show.crowd.slots) - _MOST_DOTS
    return text.append(f" and {hidden} more" if hidden > 0 else "")


def _legend() -> Text:
    text = Text()
    for doing, (dot, style) in _DOTS.items():
        text.append(f"{dot} ", style=style).append(f"{_MEANINGS[doing]}   ", style="bright_black")
    return text


def _sparkline(pulse: deque[int]) -> str:
    highest = max(pulse, default=0) or 1
    return "".join(_BARS[round(value / highest * (len(_BARS) - 1))] for value in pulse)


def _news(show: Show) -> Text:
    lines = [f"{time - show.started:5.1f} s  {text}" for time, text in show.crowd.news]
    # As many as there will be, so that the picture keeps its size.
    lines += [""] * (show.crowd.news.maxlen or 0)
    news = "\n".join(lines[: show.crowd.news.maxlen])
    return Text(news, style="bright_black", no_wrap=True, overflow="ellipsis")


# --- elsewhere ---------------------------------------------------------------------------------


async def _watch_lines(show: Show) -> None:
    told, act = -math.inf, ""
    while True:
        now = trio.current_time()
        # Each second, and each act, however short.
        if now >= told + 1 or act != show.act:
            print(_line(show), flush=True)
            told, act = now, show.act
        await trio.sleep(_FRAME)


def _line(show: Show) -> str:
    crowd, refused = show.crowd, show.stage.unauthorized(show.crowd)
    return (
        f"{show.elapsed:5.1f} s  generation {crowd.generation:<3}  waiting {len(crowd.waiting):<4}"
        f"  requests {crowd.count['requests']:<6}  401s {refused:<4}"
        f"  refreshes {crowd.count['refreshes']:<3}  {show.act}"
    )
