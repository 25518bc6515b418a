"""Draw the picture that the README opens with, docs/pictures/timeline.svg.

    python scripts/draw_readme.py          write it
    python scripts/draw_readme.py --check  exit with 1 if it is stale

A program of twenty tasks on a virtual clock, against the server of `trioauth.testing`: the same
eleven seconds each time, in no time. What is drawn is what happened.
"""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio
import trio.testing

from trioauth import LoggedOutError, RefreshPolicy, RefreshTokenGrant, open_session
from trioauth.testing import AuthServer
from trioauth.testing._scheduler import seeded
from trioauth.timeline import Timeline

if TYPE_CHECKING:
    from trioauth import Session

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "timeline.svg"

TASKS = 20
# In seconds. There are no early refreshes here, so that one sees which tasks wait.
POLICY = RefreshPolicy(early=0, leeway=0)
LIFETIME, REFRESH_TAKES, REQUEST_TAKES = 3.0, 0.6, 0.24
FORGOTTEN_AT, CANCELLED_AT, REVOKED_AT = 5.2, 5.75, 7.8
CANCELLED = 18


async def sync(session: Session, number: int, scope: trio.CancelScope) -> None:
    """Ask, rest, and ask again, each task at its own pace, until the login is over."""
    await trio.sleep(number * 0.37 % 0.9)
    with scope, suppress(LoggedOutError):
        while True:
            await session.get(f"/notes/{number}")
            await trio.sleep(0.4 + number * 0.23 % 0.5)


async def show() -> Timeline:
    """Run the tasks, and let things go wrong."""
    server, timeline = AuthServer(lifetime=LIFETIME), Timeline()
    server.delay(REFRESH_TAKES)
    server.api_delay(REQUEST_TAKES)
    grant = RefreshTokenGrant(server.token_url, client_id=server.client_id)
    async with open_session(
        grant,
        tokens=server.log_in(),
        base_url=server.url,
        transport=server.transport(),
        policy=POLICY,
        observers=[timeline],
    ) as session:
        timeline.watch(session)
        scopes = [trio.CancelScope() for _ in range(TASKS)]
        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(scopes, 1):
                nursery.start_soon(sync, session, number, scope, name=f"sync {number}")
            await trio.sleep_until(FORGOTTEN_AT)
            server.expire()
            await trio.sleep_until(CANCELLED_AT)
            scopes[CANCELLED - 1].cancel(reason="the refresh that it started goes on")
            await trio.sleep_until(REVOKED_AT)
            server.revoke()
    return timeline


def picture() -> str:
    """Return the picture."""
    logging.getLogger("trioauth").addHandler(logging.NullHandler())
    with seeded(0):
        timeline = trio.run(show, clock=trio.testing.MockClock(autojump_threshold=0))
    return timeline.svg()


def main() -> int:
    """Write the picture, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit with 1 if the picture is stale")
    if not parser.parse_args().check:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(picture(), encoding="utf-8")
        return 0
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == picture():
        return 0
    sys.stderr.write(f"{PICTURE.name} is stale; run: python scripts/draw_readme.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
