"""The way to the server over a socket: an ASGI application, and hypercorn to run it."""

from __future__ import annotations

import math
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, final

import attrs
import hypercorn.config
import hypercorn.trio
import trio

from ._exchange import Parts
from ._messages import NoAnswer, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

    from ._exchange import Exchange
    from ._messages import Answer


@asynccontextmanager
async def serve(exchange: Exchange, port: int) -> AsyncGenerator[str, None]:
    """Serve on loopback as long as the block lasts; gives the URL.

    Cancellation:
      Safe. The server is stopped at once, also if clients still wait for an answer.
    """
    listener = socket.create_server(("127.0.0.1", port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # From here on the socket is hypercorn's to close.
    config = _quiet_config(listener.detach())
    stop = trio.Event()
    run = partial(
        hypercorn.trio.serve,  # pyright: ignore[reportUnknownMemberType]  # WSGI, which this is not
        App(exchange),
        config,
        shutdown_trigger=stop.wait,
    )
    crash: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            # Shielded, or a cancellation might come before hypercorn has taken the socket over.
            with trio.CancelScope(shield=True):
                await nursery.start(run)
            try:
                yield url
            except BaseException as exc:  # noqa: BLE001, ASYNC103  # raised below, without a group
                crash = exc
            stop.set()
    except BaseException:  # noqa: ASYNC103  # all paths raise
        # The block was cancelled, or the server broke (which cancels the block).
        if crash is None or isinstance(crash, trio.Cancelled):
            raise
    if crash is not None:
        try:
            raise crash
        finally:
            # Or the traceback holds the frame, and the frame the exception.
            del crash


def _quiet_config(listener: int) -> hypercorn.config.Config:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener}"]
    config.accesslog = config.errorlog = None
    # A client that still waits for an answer when the block ends won't get one.
    config.graceful_timeout = 0
    # Under an autojumping clock any timeout would be over at once.
    config.keep_alive_timeout = math.inf
    return config


@final
@attrs.define(eq=False)
class App:
    """The server as an ASGI application."""

    _exchange: Exchange

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            # ASGI's way to say "not supported", for the lifespan protocol, too.
            raise NotImplementedError("only HTTP is served here")
        request = await _read(scope, receive)
        if request is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, receive, nursery.cancel_scope)
            await _write(await self._exchange(request), send)
            nursery.cancel_scope.cancel("answered")


async def _read(scope: HTTPScope, receive: ASGIReceiveCallable) -> Request | None:
    """Read a whole request; None if the client left before it was one."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return None
        body += event["body"]
        if not event["more_body"]:
            break
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        scope["method"],
        scope["raw_path"].decode("ascii"),
        scope["query_string"].decode("ascii"),
        headers.get(b"authorization"),
        headers.get(b"content-type", ""),
        bytes(body),
        headers.get(b"accept", ""),
        f"{scope['scheme']}://{headers.get(b'host', '')}",
    )


async def _cancel_when_gone(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    # With the request read, the only thing left to receive is that the client has gone.
    await receive()
    scope.cancel("the client has gone")


async def _write(answer: Answer | NoAnswer, send: ASGISendCallable) -> None:
    if isinstance(answer, NoAnswer):
        # An application that says nothing makes hypercorn say 500. One that stops after an
        # interim answer (RFC 9110 15.2) makes it close the connection: no answer.
        await send({"type": "http.response.start", "status": 103, "headers": []})
        return
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for part in Parts(answer):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
