"""A server of raw bytes on loopback: it says what it is told to, at the moment it is told to."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Say: TypeAlias = "Callable[[Caller], Awaitable[None]]"

# Linger on, for no time: closing then sends a RST.
_NO_TIME = b"\x01\x00\x00\x00\x00\x00\x00\x00"

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class Caller:
    """One connection, as the server sees it."""

    server: Server
    socket: trio.SocketStream
    stream: trio.abc.Stream
    """The socket, or what TLS makes of it."""
    _read: bytearray = attrs.field(factory=bytearray, init=False)

    async def hear_head(self) -> bytes | None:
        """Read the head of a request; None if the client has left."""
        while b"\r\n\r\n" not in self._read:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._read += data
        head, _, rest = bytes(self._read).partition(b"\r\n\r\n")
        self._read = bytearray(rest)
        return head

    async def hear(self) -> Heard | None:
        """Read a whole request, and remember it; None if the client has left."""
        head = await self.hear_head()
        if head is None:
            return None
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        while len(self._read) < length:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._read += data
        body, self._read = bytes(self._read[:length]), self._read[length:]
        heard = Heard(trio.current_time(), head, body)
        self.server.heard.append(heard)
        return heard

    def unread(self, data: bytes) -> None:
        """Put back what was read."""
        self._read = bytearray(data) + self._read

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def reset(self) -> None:
        """Break the connection with a RST."""
        self.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, _NO_TIME)
        await self.socket.aclose()


@attrs.frozen
class Heard:
    """A request that has arrived as a whole."""

    time: float
    head: bytes
    body: bytes

    def has(self, text: str) -> bool:
        return text.encode() in self.head + self.body


@attrs.define(eq=False)
class Server:
    """Behaves, unless it has a fault."""

    port: int
    behave: Say
    tls: ssl.SSLContext | None = None
    fault: Say | None = None
    connections: int = 0
    heard: list[Heard] = attrs.field(factory=list)
    said: int = 0
    """How many bytes of a long body went out, for faults that count."""

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def serve(self, socket: trio.SocketStream) -> None:
        """Serve one connection; a client that leaves is what most faults are about."""
        self.connections += 1
        stream: trio.abc.Stream = socket
        if self.tls is not None:
            stream = trio.SSLStream(socket, self.tls, server_side=True, https_compatible=True)
        with suppress(*GONE):
            async with stream:
                await (self.fault or self.behave)(Caller(self, socket, stream))


@asynccontextmanager
async def open_server(
    behave: Say, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Server, None]:
    """Serve on loopback until the block ends."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listeners[0].socket.getsockname()[1], behave, tls)
        await nursery.start(trio.serve_listeners, server.serve, listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel("the test is over")
