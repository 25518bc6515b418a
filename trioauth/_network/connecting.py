"""Connecting: a network backend for httpcore's pools that loses no connection when cancelled.

If a task is cancelled just after it has connected, httpcore's pool keeps a connection that is
neither idle nor closed, and its place is lost for good (encode/httpcore#1093). So the last step
here checks for cancellation; after it httpcore has no checkpoint until it has the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import httpcore
import trio

if TYPE_CHECKING:
    import ssl


@final
class Connecting(httpcore.AsyncNetworkBackend):
    """Connects with another backend; a connect is either done or cancelled, never both."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """Connect to a host.

        Cancellation:
          Safe. There is no connection then.
        """
        return _Connected(
            await _unless_cancelled(await self._backend.connect_tcp(*args, **options))
        )

    async def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """Connect to a socket in the file system.

        Cancellation:
          Safe. There is no connection then.
        """
        stream = await self._backend.connect_unix_socket(*args, **options)
        return _Connected(await _unless_cancelled(stream))

    async def sleep(self, seconds: float) -> None:
        """Sleep.

        Cancellation:
          Safe.
        """
        await self._backend.sleep(seconds)


@final
class _Connected(httpcore.AsyncNetworkStream):
    """A connection before TLS. The one after TLS is the other backend's own."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, *args: Any, **options: Any) -> bytes:
        return await self._stream.read(*args, **options)

    async def write(self, *args: Any, **options: Any) -> None:
        await self._stream.write(*args, **options)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        return await _unless_cancelled(stream)


async def _unless_cancelled(stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
    try:
        await trio.lowlevel.checkpoint_if_cancelled()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await stream.aclose()
        raise
    return stream
