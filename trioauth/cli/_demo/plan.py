"""What the server does wrong, and when: in shares of the whole time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trioauth._errors import RefreshUnavailableError

from .demo import TOKEN_DELAY

if TYPE_CHECKING:
    from trioauth._session import Session

    from .demo import Demo

_SLOW = 0.6
_LONGEST_OUTAGE = 3.0
# How long all tasks may take to hear that the login is over.
_LAST_WAIT = 10.0


async def carry_out(demo: Demo, nursery: trio.Nursery) -> None:
    """Let everything go wrong. The nursery is that of the tasks.

    Cancellation:
      Safe.
    """
    server, crowd = demo.server, demo.crowd
    life = f"{demo.lifetime:g} s"
    await demo.until(0.14, f"all is well: a token lives {life}, renewed before it is old")
    server.expire()
    await demo.until(0.32, "the API forgot the token before its time: 401s, one refresh")
    demo.phase = "the answer to a refresh gets lost: did the server rotate the token?"
    server.drop_answer()
    while not any(each.outcome == "dropped" for each in server.ledger.presented):
        await _refresh(demo.session)
    await demo.until(0.47, "all is well")
    server.down()
    # As long as planned, even if what was before took longer than that.
    outage = max(0.47, demo.share) + min(_LONGEST_OUTAGE / demo.seconds, 0.2)
    await demo.until(outage, "the token endpoint is down (503)")
    server.recover()
    server.delay(TOKEN_DELAY)
    await demo.until(0.75, "the token endpoint is back")
    server.delay(_SLOW)
    server.expire()
    demo.phase = "the token endpoint is slow: half of the waiting tasks are cancelled"
    await trio.sleep(_SLOW / 2)
    for slot in crowd.waiting[::2]:
        crowd.replace(nursery, slot)
    await demo.until(0.86, demo.phase)
    server.delay(TOKEN_DELAY)
    await demo.until(1.0, "all is well, for a last time")
    demo.counts.lasted = True
    demo.phase = "the login is revoked"
    server.revoke()
    await trio.sleep(_LAST_WAIT)
    # The end of the login cancels this task, too: with every other task it should be gone by now.
    demo.counts.left_running += len(crowd.alive)


async def _refresh(session: Session) -> None:
    try:
        await session.refresh()
    except RefreshUnavailableError as exc:
        await trio.sleep_until(exc.retry_at or 0.0)
