"""A whole HTTP client on streams in memory: pool, parser and all, but no socket and no real time.

`AuthServer.transport` answers in the task that asks. Here the server has tasks of its
own, an answer travels, and a cancelled task leaves a connection behind, as in life.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import h11
import httpcore
import httpcore2
import httpx
import trio
import trio.testing

from trioauth.testing._exchange import Parts
from trioauth.testing._messages import NoAnswer, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import ModuleType

    from trioauth.testing import AuthServer

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen
class Wire:
    """The way to a server."""

    _connect: Callable[[], trio.abc.Stream]
    latency: float

    def transport(self, library: ModuleType, *, connections: int = 10) -> Any:
        """Make a transport with a pool of its own."""
        core: Any = httpcore if library is httpx else httpcore2
        # Without the context for TLS that it would make: 50 ms, thousands of times.
        transport = library.AsyncHTTPTransport.__new__(library.AsyncHTTPTransport)
        transport._pool = core.AsyncConnectionPool(
            ssl_context=_NO_TLS,
            max_connections=connections,
            network_backend=self._backend(core),
        )
        return transport

    def _backend(self, core: Any) -> Any:
        wire = self

        class Stream(core.AsyncNetworkStream):  # type: ignore[misc]  # either library's
            def __init__(self) -> None:
                self._stream = wire._connect()

            async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the interface
                try:
                    return bytes(await self._stream.receive_some(max_bytes))
                except _BROKEN as exc:
                    raise core.ReadError(str(exc)) from exc

            async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the interface
                try:
                    await self._stream.send_all(buffer)
                except _BROKEN as exc:
                    raise core.WriteError(str(exc)) from exc

            async def start_tls(self, *_: object, **__: object) -> Stream:
                # The URLs say https; nothing listens in.
                await trio.lowlevel.checkpoint()
                return self

            async def aclose(self) -> None:
                await self._stream.aclose()

            def get_extra_info(self, info: str) -> Any:
                return False if info == "is_readable" else None

        class Backend(core.AsyncNetworkBackend):  # type: ignore[misc]  # either library's
            async def connect_tcp(self, *_: object, **__: object) -> Stream:
                await trio.sleep(wire.latency)
                return Stream()

        return Backend()


@asynccontextmanager
async def open_wire(server: AuthServer, *, latency: float = 0.01) -> AsyncGenerator[Wire, None]:
    """Serve on streams in memory as long as the block lasts."""
    async with trio.open_nursery() as nursery:

        def connect() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(_serve, server, theirs, latency)
            return ours

        yield Wire(connect, latency)
        nursery.cancel_scope.cancel()


async def _serve(server: AuthServer, stream: trio.abc.Stream, latency: float) -> None:
    connection = h11.Connection(h11.SERVER)
    async with stream:
        while (request := await _read(connection, stream)) is not None:
            await trio.sleep(latency)
            answer = await server._exchange(request)
            if isinstance(answer, NoAnswer):
                return
            await trio.sleep(latency)
            try:
                head = h11.Response(status_code=answer.status, headers=list(answer.headers))
                await stream.send_all(connection.send(head) or b"")
                async for part in Parts(answer):
                    await stream.send_all(connection.send(h11.Data(data=part)) or b"")
                await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
                connection.start_next_cycle()
            except (*_BROKEN, h11.ProtocolError):
                return  # The client has gone.


async def _read(connection: h11.Connection, stream: trio.abc.Stream) -> Request | None:
    """Read a whole request; None if the client has gone."""
    head: h11.Request | None = None
    body = b""
    try:
        while True:  # noqa: ASYNC913  # what was received already is read without waiting
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(bytes(await stream.receive_some(65536)))
                case h11.Request() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage() if head is not None:
                    return _request(head, body)
                case _:
                    return None
    except (*_BROKEN, h11.ProtocolError):
        return None


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode().partition("?")
    fields = {name.decode().lower(): value.decode() for name, value in head.headers}
    return Request(
        head.method.decode(),
        path,
        query,
        fields.get("authorization"),
        fields.get("content-type", ""),
        body,
    )
