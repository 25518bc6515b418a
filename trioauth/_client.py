"""The session's own httpx client: its options, its limiter, and its methods lent to the session."""

from __future__ import annotations

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
        if self._slots is None:
            return await super().send(request, stream=stream, **options)
        # Not the task, which may hold several streams; nor the request, which may be sent twice.
        borrower = object()
        try:
            self._slots.acquire_on_behalf_of_nowait(borrower)
        except trio.WouldBlock:
            await self._slots.acquire_on_behalf_of(borrower)
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


class _ReleasingStream(httpx.AsyncByteStream):
    """The body of a streamed response, which gives its slot back when it is closed."""

    def __init__(self, stream: Any, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release = release

    # httpx's interface; it closes what it iterates.
    async def __aiter__(self) -> AsyncIterator[bytes]:  # noqa: ASYNC900
        async for part in self._stream:
            yield part

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
) -> Callable[Concatenate[HasClient, P], ResultT]:
    """Lend a method of the client to its owner, signature and types included."""

    def call(self: HasClient, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        # By name, so that a client's own `send` is found.
        result: ResultT = getattr(self.http, method.__name__)(*args, **kwargs)
        return result

    update_wrapper(call, method)
    return call


class ClientMethods:
    """The methods of `httpx.AsyncClient`, with its own signatures and types."""

    __slots__ = ()

    get = lent(httpx.AsyncClient.get)
    post = lent(httpx.AsyncClient.post)
    put = lent(httpx.AsyncClient.put)
    patch = lent(httpx.AsyncClient.patch)
    delete = lent(httpx.AsyncClient.delete)
    head = lent(httpx.AsyncClient.head)
    options = lent(httpx.AsyncClient.options)
    request = lent(httpx.AsyncClient.request)
    stream = lent(httpx.AsyncClient.stream)
    send = lent(httpx.AsyncClient.send)
    build_request = lent(httpx.AsyncClient.build_request)
