"""APIs of other people's kind on a loopback port, which want the tokens of an `AuthServer`."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx
import hypercorn.config
import hypercorn.trio
import trio
from starlette.requests import HTTPConnection
from starlette.responses import Response

import trioauth

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from trioauth.testing import AuthServer


@final
@attrs.define
class Gate:
    """Lets through to an app what the API of an `AuthServer` lets in, and has it in the ledger."""

    app: ASGIApp
    auth: AuthServer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer = await admit(self.auth, connection.headers.get("Authorization"), scope["path"])
        if answer.status_code == 200:
            await self.app(scope, receive, send)
        else:
            # To a WebSocket's handshake, too, thanks to ASGI's extension for that.
            refusal = Response(answer.content, answer.status_code, dict(answer.headers))
            await refusal(scope, receive, send)


async def admit(auth: AuthServer, authorization: str | None, path: str) -> httpx.Response:
    """Ask the server's own API: 200, or the 401 that this is worth."""
    async with httpx.AsyncClient(transport=auth.transport(), base_url="https://api.test") as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        return await client.get(path, headers=headers)


@asynccontextmanager
async def serve(app: ASGIApp, port: int = 0) -> AsyncGenerator[str, None]:
    """Serve an app as long as the block lasts, its lifespan included; gives the URL."""
    listener = socket.create_server(("127.0.0.1", port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = config.accesslog = None
    config.graceful_timeout = 0
    stop = trio.Event()
    application: Any = app  # hypercorn's types of ASGI are not Starlette's
    run = partial(hypercorn.trio.serve, application, config, shutdown_trigger=stop.wait)
    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield url
        stop.set()


async def log_in(auth: AuthServer, api_url: str) -> None:
    """Leave in ``tokens.json`` what a program finds there on the day after a human logged in."""
    grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    async with trioauth.open_session(grant, store=store, base_url=api_url) as session:
        await session.log_in(auth.log_in())
