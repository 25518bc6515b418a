"""The session's own httpx client: whose its requests and cookies are; its methods lent to it."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, final

import httpx

from trioauth._network.pools import NetworkClient

from .belonging import LOGIN, login_of
from .limiter import PATIENCE, Limiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .belonging import Belonging

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

# httpx's own, but for the time that a request queues. What the program says takes its place, here
# or for one request, whatever its value.
_TIMEOUT = httpx.Timeout(5.0, pool=PATIENCE)


@final
class SessionClient(NetworkClient):
    """An `httpx.AsyncClient` that knows which login a request and a cookie belong to (P13, P11)."""

    def __init__(self, *, belonging: Belonging, **options: Any) -> None:
        """Args are those of `httpx.AsyncClient`.

        Args:
          belonging: Says which login a request belongs to, and what its end means.
          options: For httpx.
        """
        self._belonging = belonging
        self._cookies_now = _Cookies()
        self._configured = httpx.Cookies()
        # A copy: what a server sets is not configuration.
        self._configured.update(options.get("cookies"))
        super().__init__(**{"timeout": _TIMEOUT, **options})
        self.forget_cookies()

    def _make_pool(self, **options: Any) -> httpx.AsyncBaseTransport:
        pool = self._plain_pool(**options)
        size: int | None = options["limits"].max_connections
        # With HTTP/2, requests are not connections.
        if size is None or options.get("http2"):
            return pool
        return Limiter(pool, size, self._belonging)

    def build_request(self, *args: Any, **options: Any) -> httpx.Request:
        """Build a request, as `httpx.AsyncClient.build_request` does: one of the current login."""
        request = super().build_request(*args, **options)
        # A new one: with httpx 0.27 the old one may be the program's own.
        request.extensions = {**request.extensions, LOGIN: self._belonging.current_login()}
        return request

    # One more seam of httpx's own, the same in 0.27 and 0.28.
    def _build_redirect_request(
        self, request: httpx.Request, response: httpx.Response
    ) -> httpx.Request:
        redirect = super()._build_redirect_request(request, response)
        login = request.extensions.get(LOGIN, self._belonging.current_login())
        if login is not self._belonging.current_login():
            # The request of one login gets no cookie of the next.
            redirect.headers.pop("Cookie", None)
            self._configured.set_cookie_header(redirect)
        return redirect

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies of the current login."""
        return self._cookies_now

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._cookies_now = _Cookies(cookies)

    def forget_cookies(self) -> None:
        """Go back to the configured cookies: those of a login end with it. Not a checkpoint."""
        self._cookies_now.clear()
        self._cookies_now.update(self._configured)


@final
class _Cookies(httpx.Cookies):
    """Cookies that take in none of a login that has ended."""

    def extract_cookies(self, response: httpx.Response) -> None:
        # Few responses have any, and what httpx does to find that out takes 20 microseconds.
        if "Set-Cookie" not in response.headers:
            return
        login = login_of(response.request)
        if login is None or not login.over.is_set():
            super().extract_cookies(response)


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
