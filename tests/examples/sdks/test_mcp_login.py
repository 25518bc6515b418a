"""An MCP client that logs in at the mcp package's own server: docs/howto/sdks.md."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs
import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

import trioauth
from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import serve
from .test_mcp import Verifier as AnyScope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [
    # As in test_mcp.py.
    pytest.mark.filterwarnings(r"ignore:Async generator '(httpx2|httpcore2)\.:ResourceWarning"),
]
TWO_NOTES = ["{'result': 1}", "{'result': 2}"]


@final
@attrs.define
class Verifier:
    """Says that each good token has the scope that the server wants."""

    auth: AuthServer

    async def verify_token(self, token: str) -> AccessToken | None:
        if await AnyScope(self.auth).verify_token(token) is None:
            return None
        return AccessToken(token=token, client_id="registered", scopes=["notes"])


@asynccontextmanager
async def notes_at(auth: AuthServer) -> AsyncGenerator[str, None]:
    """Serve notes, and what the package itself says of where to log in; gives the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    async with auth.serve():
        server = MCPServer(
            "notes",
            token_verifier=Verifier(auth),
            auth=AuthSettings(
                issuer_url=AnyHttpUrl(auth.issuer),
                resource_server_url=AnyHttpUrl(url),
                required_scopes=["notes"],
                validate_token_resource=False,
            ),
            log_level="CRITICAL",
        )
        count = 0

        @server.tool()
        async def add_note(text: str) -> int:
            nonlocal count
            count += 1
            if text == "milk":
                auth.expire()
            return count

        async with serve(server.streamable_http_app(), listener):
            yield url


async def test_an_mcp_client_logs_in_stays_logged_in_and_survives_the_restart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    auth = AuthServer(persona="mcp", scope="notes offline_access")
    auth.approve()
    program = load("mcp_login")
    async with notes_at(auth) as url:
        run = partial(program.main, url, auth.person(follows=True))
        await run()
        assert capsys.readouterr().out.splitlines() == TWO_NOTES
        assert auth.ledger.refreshes == 1
        # The next day: neither is a person asked, nor anything registered.
        auth.expire()
        auth.deny()
        registered = Path("client.json").read_text("utf-8")
        await load("mcp_login").main(url)
        assert capsys.readouterr().out.splitlines() == ["{'result': 3}", "{'result': 4}"]
        assert Path("client.json").read_text("utf-8") == registered
    assert auth.ledger.reused == 0
    auth.check()


async def test_the_server_of_the_package_names_its_issuer_with_a_slash_and_is_understood() -> None:
    auth = AuthServer(persona="mcp", scope="notes offline_access")
    auth.approve()
    async with notes_at(auth) as url:
        client = trioauth.OAuthClient.for_resource(url, name="notes")
        async with trioauth.open_session(client, base_url=url) as session:
            await session.log_in(client.browser(prompt=auth.person()))
            assert (await session.get(url)).status_code != 401
    assert not auth.issuer.endswith("/")
    auth.check()
