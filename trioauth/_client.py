"""The session's own httpx client: its options, its limiter, and its methods lent to the session."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial, update_wrapper
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    final,
)

import httpx
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

Primitive: TypeAlias = str | int | float | bool | None

NETWORK_OPTIONS = frozenset({"transport", "mounts", "proxy", "verify", "cert", "trust_env"})
"""The options that say how to reach the network: they hold for the token endpoint's client, too."""


class ClientOptions(TypedDict, total=False):
    """The options of `httpx.AsyncClient`, but for ``auth`` (the session's) and ``base_url``."""

    params: httpx.QueryParams | Mapping[str, Primitive | Sequence[Primitive]] | str | bytes
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | httpx.Headers
    cookies: httpx.Cookies | dict[str, str] | list[tuple[str, str]]
    verify: ssl.SSLContext | str | bool
    cert: str | tuple[str, str] | tuple[str, str, str]
    http1: bool
    http2: bool
    proxy: str | httpx.URL | httpx.Proxy
    mounts: Mapping[str, httpx.AsyncBaseTransport | None]
    timeout: (
        float | tuple[float | None, float | None, float | None, float | None] | httpx.Timeout | None
    )
    follow_redirects: bool
    limits: httpx.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]]
    transport: httpx.AsyncBaseTransport
    trust_env: bool
    default_encoding: str | Callable[[bytes], str]


# In a request's extensions: how many logins had ended when the program asked for it.
_LOGINS_OVER = "trioauth.logins_over"
# The timeouts that httpx gives a request whose program has given none.
_UNSAID = httpx.Timeout(5.0).as_dict()


@final
class LimitedClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` in whose connection pool nothing ever queues.

    httpx's pool costs requests x connections each time it looks for work, and
    loses connections for good when requests are cancelled while they connect and
    others queue behind them (encode/httpcore#1093). So requests wait here, for
    as many slots as the pool has connections, and before they are signed: one
    that waited never carries a token that was refused meanwhile (P3).
    """

    def __init__(
        self, *, base_url: str, auth: httpx.Auth, **options: Unpack[ClientOptions]
    ) -> None:
        super().__init__(base_url=base_url, auth=auth, **options)
        hooks = self.event_hooks
        self.event_hooks = {**hooks, "response": [self._drop_late_cookies, *hooks["response"]]}
        self._logins_over = 0
        self._timeout_given = "timeout" in options
        limits = options.get("limits", httpx.Limits(max_connections=100))
        # A transport of the program's own knows its own limits, if it has any.
        pooled = "transport" not in options and limits.max_connections is not None
        self._slots = trio.CapacityLimiter(limits.max_connections or 1) if pooled else None

    async def send(
        self, request: httpx.Request, *, stream: bool = False, **options: Any
    ) -> httpx.Response:
        """Send a request, as `httpx.AsyncClient.send` does.

        Cancellation:
          As with httpx: the request may or may not have reached the server. A refresh that it
          waited for goes on.
        """
        # Redirects, and what is sent again, inherit it.
        request.extensions = {**request.extensions, _LOGINS_OVER: self._logins_over}
        if self._slots is None:
            return await super().send(request, stream=stream, **options)
        # Not the task, which may hold several streams; nor the request, which may be sent twice.
        borrower = object()
        if not _acquired(self._slots, borrower):
            await self._acquire(self._slots, borrower, request)
        release = partial(self._slots.release_on_behalf_of, borrower)
        try:
            response = await super().send(request, stream=stream, **options)
        except BaseException:
            release()
            raise
        if response.is_closed:
            release()
        else:
            response.stream = _ReleasingStream(response.stream, release)
        return response

    async def _acquire(
        self, slots: trio.CapacityLimiter, borrower: object, request: httpx.Request
    ) -> None:
        patience = self._patience(request)
        with trio.move_on_after(patience) as scope:
            await slots.acquire_on_behalf_of(borrower)
        if scope.cancelled_caught:
            # As httpx raises its own, with the request.
            raise httpx.PoolTimeout(
                f"no connection was free within {patience} seconds; see limits=", request=request
            )

    def _patience(self, request: httpx.Request) -> float:
        """Return for how many seconds a request may wait for a slot: what the program said.

        httpx's default is for a pool in which nothing should queue, and would be too short for a
        crowd.
        """
        timeout: Mapping[str, float | None] = request.extensions.get("timeout", _UNSAID)
        if timeout == _UNSAID and not self._timeout_given:
            return math.inf
        pool = timeout.get("pool")
        return math.inf if pool is None else pool

    def forget_cookies(self) -> None:
        """Drop the cookies of a login that is over, those that are still on their way included."""
        self._logins_over += 1
        self.cookies.clear()

    async def _drop_late_cookies(self, response: httpx.Response) -> None:  # noqa: ASYNC910  # a hook
        # If its login has ended meanwhile: httpx has taken them in already.
        if response.request.extensions.get(_LOGINS_OVER) != self._logins_over:
            late = httpx.Cookies()
            late.extract_cookies(response)
            for cookie in late.jar:
                with suppress(KeyError):
                    self.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


def _acquired(slots: trio.CapacityLimiter, borrower: object) -> bool:
    try:
        slots.acquire_on_behalf_of_nowait(borrower)
    except trio.WouldBlock:
        return False
    return True


@final
class _ReleasingStream(httpx.AsyncByteStream):
    """The body of a streamed response, which gives its slot back when it is closed."""

    def __init__(self, stream: Any, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release = release

    # No generator: one that is left early would warn of it in the user's program.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        release, self._release = self._release, _released
        try:
            await self._stream.aclose()
        finally:
            release()


def _released() -> None:
    """Do nothing: a stream may be closed twice."""


class HasClient(Protocol):
    """Whoever has an httpx client behind it."""

    @property
    def http(self) -> httpx.AsyncClient: ...


def lent(
    method: Callable[Concatenate[httpx.AsyncClient, P], ResultT],
) -> Callable[[Callable[[Any], None]], Callable[Concatenate[HasClient, P], ResultT]]:
    """Lend a method of the client to its owner, signature and types included.

    Decorates a function that gives the docstring. A function and not an attribute, because every
    type checker binds one to its object, and reads its type from here instead of guessing it.
    """

    def lend(own: Callable[[Any], None]) -> Callable[Concatenate[HasClient, P], ResultT]:
        def call(self: HasClient, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
            # By name, so that a client's own `send` is found.
            result: ResultT = getattr(self.http, method.__name__)(*args, **kwargs)
            return result

        update_wrapper(call, method)
        call.__doc__ = own.__doc__
        return call

    return lend


class ClientMethods:
    """The methods of `httpx.AsyncClient`, with its own signatures and types."""

    __slots__ = ()

    @lent(httpx.AsyncClient.get)
    def get(self) -> None:
        """Send a GET request, as `httpx.AsyncClient.get` does."""

    @lent(httpx.AsyncClient.post)
    def post(self) -> None:
        """Send a POST request, as `httpx.AsyncClient.post` does."""

    @lent(httpx.AsyncClient.put)
    def put(self) -> None:
        """Send a PUT request, as `httpx.AsyncClient.put` does."""

    @lent(httpx.AsyncClient.patch)
    def patch(self) -> None:
        """Send a PATCH request, as `httpx.AsyncClient.patch` does."""

    @lent(httpx.AsyncClient.delete)
    def delete(self) -> None:
        """Send a DELETE request, as `httpx.AsyncClient.delete` does."""

    @lent(httpx.AsyncClient.head)
    def head(self) -> None:
        """Send a HEAD request, as `httpx.AsyncClient.head` does."""

    @lent(httpx.AsyncClient.options)
    def options(self) -> None:
        """Send an OPTIONS request, as `httpx.AsyncClient.options` does."""

    @lent(httpx.AsyncClient.request)
    def request(self) -> None:
        """Send a request of any method, as `httpx.AsyncClient.request` does."""

    @lent(httpx.AsyncClient.stream)
    def stream(self) -> None:
        """Send a request, and read the answer in a block, as `httpx.AsyncClient.stream` does."""

    @lent(httpx.AsyncClient.send)
    def send(self) -> None:
        """Send a request that is built already, as `httpx.AsyncClient.send` does."""

    @lent(httpx.AsyncClient.build_request)
    def build_request(self) -> None:
        """Build a request, as `httpx.AsyncClient.build_request` does; sends nothing."""
