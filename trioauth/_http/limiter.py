"""Limiter: a slot for each connection, in front of httpx's pool and below the auth flow.

Requests must not queue in httpx's pool: each change there costs queued requests x connections, and
the pool loses a connection for good if a request is cancelled while it connects and others queue
(encode/httpcore#1093). So there are as many slots here as the pool has connections, and requests
queue for a slot instead.

Because this is below the auth flow:

1. A slot is held from the sending of a request until its response is closed. It is not held while
   a hook of the program runs, nor while a request waits for a refresh.
2. Each request that is sent queues once, also after a redirect and for a second sending. A request
   that the auth flow refuses (`OriginError`) does not queue.
3. When the login of a queueing request ends (P13), the request raises at once and is not sent. A
   request without ``Authorization`` needs no login, and goes on.
4. A request is signed before it queues. If its token was rejected by the time it gets a slot, it
   gives the slot back, waits for a newer token, and queues again (P3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import httpx
import trio

from .belonging import belonging_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trioauth._network.pools import Pool

    from .belonging import Belonging

PATIENCE = 30.0
"""Seconds that a request queues at most if the program does not say (P20).

httpx's default is 5, which is too short for a thousand tasks with a hundred connections.
"""


@final
class Limiter(httpx.AsyncBaseTransport):
    """Has as many slots as the pool has connections; a request takes one before it is sent."""

    def __init__(self, pool: Pool, size: int, belonging: Belonging | None = None) -> None:
        """Make it.

        Args:
          pool: Where requests are sent.
          size: How many connections it has.
          belonging: Of the session whose requests these are; None if several sessions share the
              pool, and each request says whose it is.
        """
        self._pool = pool
        self._size = size
        self._belonging = belonging
        self._slots = trio.Semaphore(size, max_value=size)
        self._streams = 0
        # One scope for each request that queues; `aclose` cancels them.
        self._queueing: set[trio.CancelScope] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as soon as a slot is free.

        Cancellation:
          As with httpx: the request may or may not have reached the server.

        Raises:
          httpx.PoolTimeout: No connection was free in time.
          LoggedOutError: The login of the request has ended. Nothing was sent.
          trio.ClosedResourceError: The session has ended. Nothing was sent.
        """
        # Made first, so that there is no await between the check below and the sending.
        transport = self._pool.transport or await self._pool.open()
        belonging = self._belonging or belonging_of(request)
        while not self._take_slot():
            signed_with = belonging.signed_with(request)
            await self._queue(request, belonging)
            if signed_with is None or belonging.is_good(signed_with):
                break
            self._slots.release()
            await belonging.sign_anew(request, signed_with)
        try:
            self._check(request, belonging)
            response = await transport.handle_async_request(request)
        except BaseException:
            self._slots.release()
            raise
        if response.is_closed:
            # It holds no connection: tests replace httpx's transport with a mock.
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

    async def _queue(self, request: httpx.Request, belonging: Belonging) -> None:
        """Wait for a slot, until the timeout, the end of the login or the closing of the client."""
        timeouts = request.extensions.get("timeout", {})
        patience: float | None = timeouts.get("pool", PATIENCE)
        scope = trio.CancelScope()
        if patience is not None:
            scope.deadline = trio.current_time() + patience
        # Sets of scopes that are cancelled when the client is closed, and when the login ends.
        ends = [self._queueing]
        self._check(request, belonging)
        if (login := belonging.needed(request)) is not None:
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
            self._check(request, belonging)
            raise httpx.PoolTimeout(
                f"no connection was free within {patience} seconds: all {self._size} are busy, "
                f"{self._streams} of them with responses that are not closed yet; close streams "
                "sooner, or see limits= and timeout=",
                request=request,
            )

    def _check(self, request: httpx.Request, belonging: Belonging) -> None:
        """Raise if the login of a request has ended, or the client is closed. Not a checkpoint."""
        belonging.check(request)
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
    """The body of a response; gives the slot back when it is closed."""

    def __init__(self, stream: Any, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back: Callable[[], None] | None = give_back

    # Not a generator: trio warns when one is left early, as programs do with streams.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        # A stream may be closed twice, but its slot must be given back once.
        give_back, self._give_back = self._give_back, None
        try:
            await self._stream.aclose()
        finally:
            if give_back is not None:
                give_back()
