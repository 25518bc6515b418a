"""The process of the authorization server. It does not err: what goes wrong is the fleet's."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import trio

from tests.soak.process import say, stdio
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from trioauth.testing import Ledger


def tally(ledger: Ledger) -> dict[str, Any]:
    """Return what the fleet is judged by."""
    return {
        "presented": [[each.login, each.number, each.outcome] for each in ledger.presented],
        "refreshes": ledger.refreshes,
        "requests": sum(ledger.requests.values()),
        "unauthorized": ledger.unauthorized,
    }


async def main(lifetime: float, delay: float) -> None:
    """Serve until the input ends."""
    server = AuthServer(lifetime=lifetime)
    # The server rotates first and answers after this: so long, a kill costs the login.
    server.delay(delay)
    async with server.serve() as url, stdio() as questions:
        say([url, server.token_url])
        async for question in questions:
            if question == "log_in":
                tokens = server.log_in()
                say([tokens.access_token, tokens.refresh_token])
            else:
                say(tally(server.ledger))
    say(tally(server.ledger))


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(lambda: main(**options))
