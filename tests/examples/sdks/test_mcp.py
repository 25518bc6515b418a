"""An MCP client on trio, and the mcp package's own server: docs/howto/sdks.md."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import httpx2
import pytest
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from pydantic import AnyHttpUrl

import trioauth
from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import admit, log_in, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [
    # mcp leaves the generators of each stream that it is done with to the garbage collector; on
    # trio, those say so. Nothing is lost: it closes the response.
    pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2)\.:ResourceWarning"),
]


@final
@attrs.define
class Verifier:
    """What an MCP server asks about a token. (It is mcp's middleware that says 401.)"""

    auth: AuthServer

    async def verify_token(self, token: str) -> AccessToken | None:
        answer = await admit(self.auth, f"Bearer {token}", "/mcp")
        if answer.status_code != 200:
            return None
        return AccessToken(token=token, client_id="client", scopes=[])


@asynccontextmanager
async def _notes(auth: AuthServer) -> AsyncGenerator[str, None]:
    """Serve notes. With the second one, all tokens expire; a watcher sees each."""
    server = MCPServer(
        "notes",
        token_verifier=Verifier(auth),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl("https://id.example.com"),
            resource_server_url=AnyHttpUrl("https://mcp.example.com/mcp"),
            validate_token_resource=False,
        ),
        log_level="CRITICAL",
    )
    watched = trio.Event()
    into, out_of = trio.open_memory_channel[str](0)

    @server.tool()
    async def add_note(text: str) -> None:  # pyright: ignore[reportUnusedFunction]
        await watched.wait()
        if text == "eggs":
            auth.expire()
        await into.send(text)

    @server.tool()
    async def watch(count: int, ctx: Context) -> str:  # pyright: ignore[reportUnusedFunction]
        watched.set()
        for number in range(1, count + 1):
            await ctx.report_progress(number, count, await out_of.receive())
        return "done"

    async with auth.serve(), serve(server.streamable_http_app()) as url:
        yield url


async def test_calls_go_on_with_a_new_token_while_a_stream_of_the_old_one_stays_open(
    capsys: pytest.CaptureFixture[str],
) -> None:
    auth = AuthServer()
    async with _notes(auth) as url:
        await log_in(auth, url)
        await load("mcp_client").main(auth.token_url, url)
    assert capsys.readouterr().out.splitlines() == [
        "milk is number 1 of 3",
        "eggs is number 2 of 3",
        "bread is number 3 of 3",
        "that was all",
    ]
    assert auth.ledger.refreshes == 1
    assert auth.ledger.reused == 0
    assert auth.ledger.unauthorized == 1
    assert auth.ledger.requests[2] == 1


async def test_a_server_of_before_2026_with_its_standing_stream_is_served_the_same_way() -> None:
    auth = AuthServer()
    async with _notes(auth) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        async with (
            trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session,
            session.attach(httpx2.AsyncClient()) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode="legacy") as client,
        ):
            auth.expire()
            assert [tool.name for tool in (await client.list_tools()).tools] == [
                "add_note",
                "watch",
            ]
    assert auth.ledger.refreshes == 1


async def test_the_end_of_the_login_comes_out_of_mcp_in_a_group_and_of_our_nursery_bare() -> None:
    auth = AuthServer()
    async with _notes(auth) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        async with (
            trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session,
            session.attach(httpx2.AsyncClient()) as http,
        ):

            async def call() -> None:
                async with Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
                    auth.revoke()
                    await client.call_tool("add_note", {"text": "milk"})
                    raise AssertionError("not reached")

            with pytest.RaisesGroup(trioauth.LoggedOutError, flatten_subgroups=True):
                await call()
            await session.log_in(auth.log_in())
            with pytest.raises(trioauth.LoggedOutError):
                async with session.open_nursery():
                    await call()
