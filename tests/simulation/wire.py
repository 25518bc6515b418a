"""The wire: transports of httpx and of httpx2 that lead to the simulated servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .ledger import Stay
    from .server import Server


@attrs.frozen
class Reply:
    """What a server answers."""

    status: int
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    cut: bool = False
    """The connection breaks in the middle of the body."""
    tail: float = 0.0
    """Seconds between the first half of the body and the second."""
    on_whole: Callable[[], None] | None = None
    """Called when the body was read to its end."""


class BrokenError(Exception):
    """There is no answer: ``connect``, or ``reset``."""


@attrs.define(eq=False)
class _Body:
    """The body of an answer, in two halves."""

    reply: Reply
    library: Any

    # httpx's interface; it closes what it iterates.
    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self.reply.body
        yield body[: len(body) // 2]
        await trio.sleep(self.reply.tail)
        if self.reply.cut:
            raise self.library.RemoteProtocolError("peer closed connection")
        yield body[len(body) // 2 :]
        if self.reply.on_whole is not None:
            self.reply.on_whole()


class _HttpxBody(_Body, httpx.AsyncByteStream):
    pass


class _Httpx2Body(_Body, httpx2.AsyncByteStream):
    pass


async def _exchange(server: Server, stay: Stay, library: Any, request: Any) -> Any:
    # Sent from now on, however long its body takes.
    sent = server.receive(stay, request)
    body = b"".join([part async for part in request.stream])
    try:
        reply = await server.serve(stay, request, body, sent)
    except BrokenError as exc:
        kind = library.ConnectError if str(exc) == "connect" else library.ReadError
        raise kind("simulated") from None
    stream = (_HttpxBody if library is httpx else _Httpx2Body)(reply, library)
    return library.Response(reply.status, headers=reply.headers, stream=stream)


@attrs.define(eq=False)
class HttpxTransport(httpx.AsyncBaseTransport):
    """For httpx."""

    server: Server
    stay: Stay

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        response: httpx.Response = await _exchange(self.server, self.stay, httpx, request)
        return response


@attrs.define(eq=False)
class Httpx2Transport(httpx2.AsyncBaseTransport):
    """For httpx2."""

    server: Server
    stay: Stay

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        response: httpx2.Response = await _exchange(self.server, self.stay, httpx2, request)
        return response
