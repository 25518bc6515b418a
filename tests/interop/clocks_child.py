"""The process whose clocks are faked: a session that asks when it is told to."""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

from tests.soak.process import say, stdio
from trioauth import RefreshPolicy, RefreshTokenGrant, Tokens, open_session
from trioauth.stores import FileStore


async def main(url: str, path: str, tokens: list[Any], keep_fresh: bool) -> None:
    """Answer "get" with what became of a request, and "idle" with what happened meanwhile."""
    async with (
        open_session(
            RefreshTokenGrant(f"{url}/oauth/token", client_id="client"),
            tokens=Tokens(*tokens),
            store=FileStore(path),
            base_url=url,
            policy=RefreshPolicy(keep_fresh=keep_fresh),
            trust_env=False,
            # A machine that stands still for some seconds must not decide.
            timeout=60.0,
        ) as session,
        stdio() as questions,
    ):
        async for question in questions:
            status = (await session.get("/notes")).status_code if question == "get" else None
            seen = session.statistics()
            say([status, seen.generation, seen.refreshes, seen.retries])
    say("over")


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(lambda: main(**options))
