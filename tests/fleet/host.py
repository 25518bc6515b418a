"""The program of a host: one session over a Redis server; it does what it is asked to.

The servers of the tokens and of the API are reached over a Unix socket, which has nothing to do
with the host's link: what is cut is the way to the store alone.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import trio

import trioauth
from tests.soak.process import say, stdio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.events import Event


async def main(
    url: str, token_url: str, socket: str, redis: str, lease: float, patience: float
) -> None:
    """Answer until the input ends."""
    told: list[str] = []

    def observe(event: Event) -> None:
        told.append(f"{type(event).__name__}: {event}")

    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    policy = trioauth.RefreshPolicy(timeout=patience, cooldown=0.1)
    async with (
        trioauth.RedisStore(redis, lease=lease, timeout=1) as store,
        trioauth.open_session(
            grant,
            store=store.at("user"),
            base_url=url,
            policy=policy,
            observers=[observe],
            transport=httpx.AsyncHTTPTransport(uds=socket),
        ) as session,
        stdio() as questions,
    ):
        jobs: dict[str, Callable[[], Awaitable[Any]]] = {
            "get": lambda: _get(session),
            "refresh": lambda: _refresh(session),
        }
        say("open")
        async for question in questions:
            what, *rest = question.split()
            if what == "log_in":
                access_token, refresh_token = rest
                await session.log_in(trioauth.Tokens(access_token, refresh_token, 3600))
                say("logged in")
            else:
                answer = await _try(jobs[what])
                say({**answer, "told": told})
                told.clear()
    say("closed")


async def _get(session: trioauth.Session) -> dict[str, Any]:
    response = await session.get("/me")
    return {"status": response.status_code, **response.json()}


async def _refresh(session: trioauth.Session) -> dict[str, Any]:
    await session.refresh()
    return {"generation": session.generation}


async def _try(job: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    try:
        return await job()
    except trioauth.Error as exc:
        return {"error": type(exc).__name__, "words": f"{exc} / {exc.__cause__}"}


if __name__ == "__main__":
    options: dict[str, Any] = json.loads(sys.argv[1])
    trio.run(lambda: main(**options))
