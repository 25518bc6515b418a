"""The way to the server in memory, for httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import httpx

from ._exchange import Parts
from ._messages import NoAnswer, Request

if TYPE_CHECKING:
    from ._exchange import Exchange
    from ._messages import Answer


@final
class MemoryTransport(httpx.AsyncBaseTransport):
    """Takes the requests of an `httpx.AsyncClient` to the server, without a socket."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Cancellation:
          Unsafe, as with any network: the server may have processed the request.

        Raises:
          httpx.ConnectError: The server is down.
          httpx.RemoteProtocolError: The answer got lost.
        """
        assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  # httpx checked it
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        headers = request.headers
        answer = await self._exchange(
            Request(
                request.method,
                path,
                query,
                headers.get("authorization"),
                headers.get("content-type", ""),
                b"".join([part async for part in request.stream]),
                headers.get("accept", ""),
                f"{request.url.scheme}://{request.url.netloc.decode('ascii')}",
            )
        )
        match answer:
            case NoAnswer.UNREACHABLE:
                raise httpx.ConnectError(answer.value, request=request)
            case NoAnswer.LOST:
                raise httpx.RemoteProtocolError(answer.value, request=request)
            case _:
                body = _Body(answer)
                return httpx.Response(answer.status, headers=list(answer.headers), stream=body)


@final
class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> Parts:
        return Parts(self._answer)
