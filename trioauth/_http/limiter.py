"""Limiter: a slot for each connection, in front of httpx's pool and below the auth flow.

httpx's pool costs requests x connections each time it looks for work, and loses connections for
good when requests are cancelled while they connect and others queue behind them
(encode/httpcore#1093). So there are as many slots here as the pool has connections, requests queue
for a slot, and nothing ever queues in the pool.

What follows from the place, below the auth flow:

1. A slot is held from the sending of a request to the closing of its response, and for nothing
   else: neither across a hook of the program, nor while a request waits for a refresh.
2. The request that is seen is the one that is really sent: a redirect and a second sending queue
   like any other, and what the auth flow refuses (`OriginError`) never queues.
3. A request that queues belongs to a login (P13). When that ends, the request is told at once, and
   it is never sent. A request without ``Authorization`` needs no login, and goes on.
4. A request was signed before it queued. If its token is known to be bad when it gets its slot, it
   gives the slot back, waits for a newer token, and queues once more (P3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trioauth._network.pools import Pool

    from .belonging import Belonging

PATIENCE = 30.0
"""Seconds that a request queues if the program has said nothing (P20).

httpx's own default, five, is for a pool in which nothing should queue: too short for a crowd.
"""


@final
class Limiter(httpx.AsyncBaseTransport):
    """As many slots as a pool has connections; a request takes one before it gets to the pool."""

    def __init__(self, pool: Pool, size: int, belonging: Belonging) -> None:
        self._pool = pool
        self._size = size
        self._belonging = belonging
        self._slots = trio.Semaphore(size, max_value=size)
        self._streams = 0
        # One for each request that queues, for `aclose` to cancel.
        self._queueing: set[trio.CancelScope] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request when there is a connection for it.

        Cancellation:
          As with httpx: the request may or may not have reached the server.

        Raises:
          httpx.PoolTimeout: No connection was free in time.
          LoggedOutError: The login of the request has ended. Nothing was sent.
          trio.ClosedResourceError: The session has ended. Nothing was sent.
        """
        # First, so that nothing is awaited between the check below and the sending.
        transport = self._pool.transport or await self._pool.open()
        while not self._take_slot():
            signed_with = self._belonging.signed_with(request)
            await self._queue(request)
            if signed_with is None or self._belonging.is_good(signed_with):
                break
            self._slots.release()
            await self._belonging.sign_anew(request, signed_with)
        try:
            self._check(request)
            response = await transport.handle_async_request(request)
        except BaseException:
            self._slots.release()
            raise
        if response.is_closed:
            # It holds no connection: a mock that tests put in the place of httpx's transport.
            self._slots.release()
            return response
        self._streams += 1
        response.stream = _Stream(response.stream, self._give_back)
        return response

    def _take_slot(self) -> bool:
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            return False
        return True

    async def _queue(self, request: httpx.Request) -> None:
        """Wait for a slot: until the program's patience, the login or the client ends."""
        timeouts = request.extensions.get("timeout", {})
        patience: float | None = timeouts.get("pool", PATIENCE)
        scope = trio.CancelScope()
        if patience is not None:
            scope.deadline = trio.current_time() + patience
        ends = [self._queueing]
        self._check(request)
        if (login := self._belonging.needed(request)) is not None:
            ends.append(login.scopes)
        for scopes in ends:
            scopes.add(scope)
        try:
            with scope:
                await self._slots.acquire()
        finally:
            for scopes in ends:
                scopes.discard(scope)
        if scope.cancelled_caught:
            self._check(request)
            raise httpx.PoolTimeout(
                f"no connection was free within {patience} seconds: all {self._size} are busy, "
                f"{self._streams} of them with responses that are not closed yet; close streams "
                "sooner, or see limits= and timeout=",
                request=request,
            )

    def _check(self, request: httpx.Request) -> None:
        """Raise if there is nothing to send this request for any more. Not a checkpoint."""
        self._belonging.check(request)
        if self._closed:
            raise trio.ClosedResourceError("this client was closed before the request was sent")

    def _give_back(self) -> None:
        self._streams -= 1
        self._slots.release()

    async def aclose(self) -> None:
        """Close the pool; requests that queue get `trio.ClosedResourceError`.

        Cancellation:
          Safe. It is closed in any case.
        """
        self._closed = True
        for scope in self._queueing:
            scope.cancel(reason="trioauth: the client is closed")
        await self._pool.aclose()


@final
class _Stream(httpx.AsyncByteStream):
    """The body of a response, which gives the slot back when it is closed."""

    def __init__(self, stream: Any, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back: Callable[[], None] | None = give_back

    # No generator: one that is left early would warn of it in the user's program.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        # A stream may be closed twice; its slot is given back once.
        give_back, self._give_back = self._give_back, None
        try:
            await self._stream.aclose()
        finally:
            if give_back is not None:
                give_back()
