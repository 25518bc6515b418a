"""The script for a person's own server: what can go wrong on this side of the network.

Nothing here asks the server for more than a program might that has a bad day: a handful of
refreshes, and GETs of one URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trioauth._errors import GrantMisconfiguredError, RefreshUnavailableError

from .show import BOW

if TYPE_CHECKING:
    from .line import Line
    from .show import Show

REFRESHES = 6
"""How many refreshes it takes: the first, one for each of four mishaps, and the one at the end."""

_LONGEST_OUTAGE, _SLOWEST = 3.0, 2.0


async def play(show: Show, nursery: trio.Nursery, line: Line) -> None:
    """Follow the script, in shares of the whole time.

    Cancellation:
      Safe. A refresh that is in the air goes on.
    """
    crowd, session, seconds = show.crowd, show.session, show.options.seconds
    await show.until(0.1, f"all is well: {_life(show)}")

    refused = session.generation
    crowd.reject(session)
    await show.until(0.24, "every task says that the token was refused: one refresh for all")
    if session.generation > refused:
        before = session.statistics().rejections
        session.reject(refused)
        crowd.count["late"] += 1
        crowd.count["late heeded"] += session.statistics().rejections - before
    await show.until(0.34, "late news about the old token: nothing happens")

    show.act = "everybody asks for a new token at once: one refresh for all"
    await _ask_all(show)
    await show.until(0.44, show.act)

    slow = min(_SLOWEST, 0.12 * seconds)
    line.pause = slow
    crowd.reject(session)
    show.act = "the line is slow: of those who wait, half are cancelled, and the refresh goes on"
    await trio.sleep(0.7 * slow)
    for slot in crowd.waiting[::2]:
        show.replace(nursery, slot)
    await show.until(0.6, show.act)
    line.pause = 0.0

    line.cut = True
    crowd.reject(session)
    # As long as planned, even if what was before took longer than that.
    outage = max(0.6, show.share) + min(_LONGEST_OUTAGE / seconds, 0.15)
    await show.until(outage, "the line is cut: nobody is logged out, all are told to wait")
    line.cut = False
    await show.until(0.9, "the line is back")
    await show.until(1.0, "all is well, for a last time")


async def leave(show: Show, nursery: trio.Nursery, line: Line) -> bool:
    """Start a refresh, to leave the session while it is in the air; return whether it is.

    Cancellation:
      Safe. The refresh goes on.
    """
    show.act = "the session is left, with a refresh in the air: it lands, and is stored"
    line.pause = 2 * BOW
    before = show.crowd.count["refreshes"]
    nursery.start_soon(_refresh, show)
    await trio.sleep(BOW / 2)
    return show.crowd.count["refreshes"] > before


def _life(show: Show) -> str:
    left = show.session.statistics().seconds_until_expiry
    if left is None:
        return "nobody said how long a token lives"
    if left < show.options.seconds:
        return f"the token lives {left:.0f} s more, and is renewed before it is old"
    return f"the token lives {left:.0f} s more, too long to see it get old"


async def _ask_all(show: Show) -> None:
    before = show.crowd.count["refreshes"]
    async with trio.open_nursery() as nursery:
        for _ in range(show.options.tasks):
            nursery.start_soon(_refresh, show)
    show.crowd.count["asked for at once"] += show.options.tasks
    show.crowd.count["refreshes for that"] += show.crowd.count["refreshes"] - before


async def _refresh(show: Show) -> None:  # noqa: ASYNC910  # asking is a checkpoint
    try:
        await show.session.refresh()
    except RefreshUnavailableError:
        show.crowd.count["unavailable"] += 1
    except GrantMisconfiguredError:
        # The tasks say so.
        pass
