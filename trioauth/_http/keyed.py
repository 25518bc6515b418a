"""Keyed: sign the requests of one client of the program for many keys (`Sessions.attach`).

A request names its key in ``extensions={"trioauth.key": key}``. The flow of one request:

1. Without a key, the request is refused before it is sent.
2. The session of the key is opened if it is not in memory, and pinned: it is not dropped.
3. From there `Flow` signs the request, as in a client of one session.
4. The answer goes to the caller: if its body is still to be read, the pin is handed over to the
   body, and released when that is closed. In all other cases it is released here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, final

from .auth import Flow
from .signing import RequestT, ResponseLike

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType, TracebackType

    from trioauth._origins import Origins

    from .signing import Signer

KEY = "trioauth.key"
"""In a request's extensions: whose session is to sign it."""


class Pin(Protocol):
    """A session that stays in memory until `release` is called."""

    @property
    def signer(self) -> Signer: ...

    def release(self) -> None:
        """Let the session be dropped. Not a checkpoint."""
        ...


class Keys(Protocol):
    """The part of `trioauth._sessions.Sessions` that is used here."""

    @property
    def origins(self) -> Origins: ...
    @property
    def closed(self) -> bool: ...

    async def pin(self, key: str) -> Pin:
        """Open the session of a key, if it is not in memory, and keep it there.

        Cancellation:
          Safe. Nothing is pinned.
        """
        ...


@final
class KeyedFlow(AsyncGenerator[RequestT, ResponseLike[RequestT]]):
    """The flow for one request, as `Flow` is, after its session was found."""

    __slots__ = ("_flow", "_keys", "_library", "_pin", "_request")

    def __init__(self, keys: Keys, request: RequestT, library: ModuleType) -> None:
        self._keys = keys
        self._request = request
        self._library = library
        self._flow: Flow[RequestT] | None = None
        self._pin: Pin | None = None

    async def __anext__(self) -> RequestT:
        """Open the session of the request's key, and sign the request.

        Cancellation:
          Safe. An opening or a refresh that it waits for goes on.

        Raises:
          ValueError: The request has no key.
        """
        request = self._request
        key = request.extensions.get(KEY)
        if key is None:
            raise ValueError(
                "this client is signed for many keys, and the request does not say for which; "
                f'nothing was sent: pass extensions={{"{KEY}": key}}'
            )
        # Before a session is opened for it.
        self._keys.origins.check(request.url)
        self._pin = await self._keys.pin(key)
        self._flow = Flow(self._pin.signer, request, self._library)
        try:
            return await self._flow.__anext__()
        except BaseException:
            self._release()
            raise

    async def asend(self, response: ResponseLike[RequestT]) -> RequestT:
        """Judge the answer; return the request to send again.

        Cancellation:
          Safe. A refresh that it waits for goes on.

        Raises:
          StopAsyncIteration: The answer goes to the caller.
        """
        flow = self._flow
        assert flow is not None  # noqa: S101  # httpx has called `__anext__`
        try:
            return await flow.asend(response)
        except StopAsyncIteration:
            self._hand_over(response)
            raise
        except BaseException:
            self._release()
            raise

    async def athrow(
        self,
        typ: Any,
        val: Any = None,
        tb: TracebackType | None = None,  # noqa: ARG002  # the interface
    ) -> RequestT:
        """End the flow with an exception.

        Cancellation:
          Safe. There is nothing to wait for.
        """
        await self.aclose()
        raise typ if val is None else val

    async def aclose(self) -> None:  # noqa: ASYNC910
        """End the flow, if it has not ended yet.

        Cancellation:
          Safe. There is nothing to wait for.
        """
        try:
            if self._flow is not None:
                await self._flow.aclose()
        finally:
            self._release()

    def _release(self) -> None:
        pin, self._pin = self._pin, None
        if pin is not None:
            pin.release()

    def _hand_over(self, response: Any) -> None:
        """Let the body of a response keep the pin until it is closed. Not a checkpoint."""
        pin = self._pin
        if pin is None or response.is_closed:
            return
        self._pin = None
        response.stream = _pinning(self._library)(response.stream, pin.release)


@cache
def _pinning(library: ModuleType) -> Callable[[Any, Callable[[], None]], Any]:
    """Make the class of a body that keeps its session in memory, for one of the two libraries."""
    base: Any = library.AsyncByteStream

    class PinningStream(base):  # type: ignore[misc]  # either library's
        def __init__(self, stream: Any, release: Callable[[], None]) -> None:
            self._stream = stream
            self._release = release

        # Not a generator: trio warns when one is left early, as programs do with streams.
        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(self._stream)

        async def aclose(self) -> None:
            # A stream may be closed twice, but its pin must be released once.
            release, self._release = self._release, _released
            try:
                await self._stream.aclose()
            finally:
                release()

    return PinningStream


def _released() -> None:
    """Release nothing: it was done before."""
