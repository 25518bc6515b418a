"""The session's own httpx client, and the methods that `Session` passes on to it.

1. Requests are marked with the login that there is when they are built (P13).
2. Cookies live as long as the login; configured ones stay (P11). An answer that arrives after its
   login has ended sets none.
3. Requests queue in a `Limiter` in front of httpx's pool.
"""

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

# httpx's default, except for the time that a request queues. A ``timeout=`` of the program, for the
# session or for one request, replaces it.
_TIMEOUT = httpx.Timeout(5.0, pool=PATIENCE)


class SessionClient(NetworkClient):
    """An `httpx.AsyncClient` that knows which login a request and a cookie belong to (P13, P11)."""

    _belonging: Belonging

    def __init__(self, *, belonging: Belonging | None, **options: Any) -> None:
        """Args are those of `httpx.AsyncClient`.

        Args:
          belonging: Says which login a request belongs to, and what its end means. None if several
              sessions are to share this client.
          options: For httpx.
        """
        self._of_one_session = belonging
        if belonging is not None:
            self._belonging = belonging
        self._cookies_now: httpx.Cookies = LoginCookies()
        self._configured = httpx.Cookies()
        # A copy, because servers will set cookies in the other one.
        self._configured.update(options.get("cookies"))
        super().__init__(**{"timeout": _TIMEOUT, **options})
        self.forget_cookies()

    def _make_pool(self, **options: Any) -> httpx.AsyncBaseTransport:
        pool = self._plain_pool(**options)
        size: int | None = options["limits"].max_connections
        # With HTTP/2, requests are not connections.
        if size is None or options.get("http2"):
            return pool
        return Limiter(pool, size, self._of_one_session)

    def build_request(self, *args: Any, **options: Any) -> httpx.Request:
        """Build a request as `httpx.AsyncClient.build_request` does, for the current login."""
        request = super().build_request(*args, **options)
        # A new dict: with httpx 0.27 the old one may be the program's.
        request.extensions = {**request.extensions, LOGIN: self._belonging.current_login()}
        return request

    # A private method of httpx, the same in 0.27 and 0.28.
    def _build_redirect_request(
        self, request: httpx.Request, response: httpx.Response
    ) -> httpx.Request:
        redirect = super()._build_redirect_request(request, response)
        login = request.extensions.get(LOGIN, self._belonging.current_login())
        if login is not self._belonging.current_login():
            # The login ended while this was redirected: the cookies are those of the next login.
            redirect.headers.pop("Cookie", None)
            self._configured.set_cookie_header(redirect)
        return redirect

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies of the current login."""
        return self._cookies_now

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._cookies_now = LoginCookies(cookies)

    def forget_cookies(self) -> None:
        """Drop all cookies but the configured ones: a login has ended. Not a checkpoint."""
        self._cookies_now.clear()
        self._cookies_now.update(self._configured)


@final
class LoginCookies(httpx.Cookies):
    """Cookies that ignore the answers of a login that has ended."""

    def extract_cookies(self, response: httpx.Response) -> None:
        # Few responses set any, and httpx takes 20 microseconds to find that out.
        if "Set-Cookie" not in response.headers:
            return
        login = login_of(response.request)
        if login is None or not login.ended.is_set():
            super().extract_cookies(response)


class HasClient(Protocol):
    """An object with an httpx client."""

    @property
    def http(self) -> httpx.AsyncClient: ...


def delegates_to(
    method: Callable[Concatenate[httpx.AsyncClient, P], ResultT],
) -> Callable[[Callable[[Any], None]], Callable[Concatenate[HasClient, P], ResultT]]:
    """Make a method that calls a method of ``self.http``, with the same signature and types.

    Decorates a function that has only the docstring. (Type checkers treat a decorated function as a
    method, and take its type from here; of a plain attribute they would have to guess it.)
    """

    def decorate(own: Callable[[Any], None]) -> Callable[Concatenate[HasClient, P], ResultT]:
        def call(self: HasClient, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
            # By name, so that a method that a subclass overrides is found.
            result: ResultT = getattr(self.http, method.__name__)(*args, **kwargs)
            return result

        update_wrapper(call, method)
        call.__doc__ = own.__doc__
        return call

    return decorate


class ClientMethods:
    """The methods of `httpx.AsyncClient`, with its own signatures and types."""

    __slots__ = ()

    @delegates_to(httpx.AsyncClient.get)
    def get(self) -> None:
        """Send a GET request, as `httpx.AsyncClient.get` does."""

    @delegates_to(httpx.AsyncClient.post)
    def post(self) -> None:
        """Send a POST request, as `httpx.AsyncClient.post` does."""

    @delegates_to(httpx.AsyncClient.put)
    def put(self) -> None:
        """Send a PUT request, as `httpx.AsyncClient.put` does."""

    @delegates_to(httpx.AsyncClient.patch)
    def patch(self) -> None:
        """Send a PATCH request, as `httpx.AsyncClient.patch` does."""

    @delegates_to(httpx.AsyncClient.delete)
    def delete(self) -> None:
        """Send a DELETE request, as `httpx.AsyncClient.delete` does."""

    @delegates_to(httpx.AsyncClient.head)
    def head(self) -> None:
        """Send a HEAD request, as `httpx.AsyncClient.head` does."""

    @delegates_to(httpx.AsyncClient.options)
    def options(self) -> None:
        """Send an OPTIONS request, as `httpx.AsyncClient.options` does."""

    @delegates_to(httpx.AsyncClient.request)
    def request(self) -> None:
        """Send a request of any method, as `httpx.AsyncClient.request` does."""

    @delegates_to(httpx.AsyncClient.stream)
    def stream(self) -> None:
        """Send a request, and read the answer in a block, as `httpx.AsyncClient.stream` does."""

    @delegates_to(httpx.AsyncClient.send)
    def send(self) -> None:
        """Send a request that is built already, as `httpx.AsyncClient.send` does."""

    @delegates_to(httpx.AsyncClient.build_request)
    def build_request(self) -> None:
        """Build a request, as `httpx.AsyncClient.build_request` does; sends nothing."""
