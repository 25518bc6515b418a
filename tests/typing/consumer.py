"""A program that uses trioauth, for `make check-consumers`. Never run.

It is type checked where trio-typing is installed, too: with those stubs in the place of trio's own
types it must be as free of errors as without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import trio

import trioauth
from trioauth import events
from trioauth.testing import AuthServer, every_checkpoint
from trioauth.timeline import Timeline

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trioauth.testing import Victim


class Database:
    """A store of one's own."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._text: str | None = None

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self._turn

    async def load(self) -> trioauth.Record | None:
        return None if self._text is None else trioauth.Record.from_text(self._text)

    async def save(self, record: trioauth.Record, *, expected: int) -> None:
        self._text = record.to_text()


async def own_grant(
    tokens: trioauth.Tokens | None, endpoint: trioauth.TokenEndpoint
) -> trioauth.Tokens:
    answer = await endpoint.send(trioauth.TokenRequest("https://id.example.com/t", json={"a": 1}))
    if not answer.is_success:
        raise trioauth.GrantRefusedError("invalid_grant")
    return trioauth.Tokens.from_response({"access_token": answer.body.decode()})


def observe(event: events.Event) -> None:
    if isinstance(event, events.RefreshFailed):
        print(event.error, event.retry_at - trio.current_time())


async def poll(session: trioauth.Session, path: str) -> None:
    while True:
        response = await session.get(path, params={"since": 5}, timeout=10)
        print(response.json())
        await trio.sleep(60)


async def work(session: trioauth.Session) -> None:
    async with session.open_nursery() as nursery:
        nursery.start_soon(poll, session, "/notes")
        nursery.start_soon(session.wait_logged_out)
    async with session.stream("GET", "/big") as response:
        async for part in response.aiter_bytes():
            print(len(part))


async def main() -> None:
    grant = trioauth.RefreshTokenGrant("https://id.example.com/t", client_id="notes")
    stores: list[trioauth.TokenStore] = [trioauth.FileStore("tokens.json"), Database()]
    async with trioauth.open_session(
        grant,
        store=stores[0],
        base_url="https://api.example.com",
        policy=trioauth.RefreshPolicy(keep_fresh=True),
        observers=[observe, Timeline()],
        limits=httpx.Limits(max_connections=5),
    ) as session:
        try:
            with trio.move_on_after(5) as scope:
                await work(session)
            print(scope.cancelled_caught)
        except trioauth.LoggedOutError as exc:
            print(exc.reason)
            await session.log_in(trioauth.Tokens("access", "refresh", 60))
        async with session.attach(httpx.AsyncClient()) as http:
            print((await http.get("https://api.example.com/me")).text)


async def scenario(victim: Victim) -> None:
    server = AuthServer()
    async with trioauth.open_session(
        own_grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ) as session:
        await victim(session.get, "/")


if __name__ == "__main__":
    every_checkpoint(scenario)
    trio.run(main)
