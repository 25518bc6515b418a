"""SharedClient: one httpx client and one pool for the sessions of many keys.

Each session has a view of it. A view is an `httpx.AsyncClient` of its own for whatever takes one:

1. It signs with the token of its session, and its requests belong to the logins there.
2. It has headers and hooks of its own, and a cookie jar of its own or none. So a program that
   changes them for one key changes them for no other (P30).
3. It shares the pool. Closing a view closes nothing, and making one costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import httpx

from .belonging import OWNER
from .client import LoginCookies, SessionClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from .belonging import Belonging


@final
class SharedClient:
    """One client and pool for the sessions of many keys."""

    def __init__(self, *, keeps_cookies: bool, **options: Any) -> None:
        """Args are those of `httpx.AsyncClient`.

        Args:
          keeps_cookies: Whether each session has cookies, of its own.
          options: For httpx.
        """
        self._client = SessionClient(belonging=None, **options)
        self._keeps_cookies = keeps_cookies
        transport, mounts = self._client._transport, self._client._mounts
        # What all views have alike, made once.
        self._common = {
            **vars(self._client),
            "_transport": _Lent(transport),
            "_mounts": {where: each and _Lent(each) for where, each in mounts.items()},
        }

    def view(self, *, auth: httpx.Auth, belonging: Belonging) -> SessionClient:
        """Return the client as one session sees it. Closing it closes nothing."""
        # Not `__init__`, which would make pools and read the environment, in 100 microseconds.
        view = _View.__new__(_View)
        vars(view).update(self._common)
        view._belonging = belonging
        view._auth = auth
        # What a program may change in place, and other sessions must not see (P30).
        view._headers = httpx.Headers(self._client._headers)
        view._cookies_now = LoginCookies() if self._keeps_cookies else _NO_COOKIES
        view.forget_cookies()
        return view

    async def aclose(self) -> None:
        """Close the connections of all sessions.

        Cancellation:
          Safe. They are closed in any case.
        """
        await self._client.aclose()


@final
class _View(SessionClient):
    """A `SharedClient` as one session sees it."""

    _own_hooks = False

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """The hooks of this session: a copy, made when a program asks for it."""
        if not self._own_hooks:
            self._event_hooks = {name: list(each) for name, each in self._event_hooks.items()}
            self._own_hooks = True
        return self._event_hooks

    @event_hooks.setter
    def event_hooks(self, event_hooks: dict[str, list[Callable[..., Any]]]) -> None:
        request, response = (event_hooks.get(name, []) for name in ("request", "response"))
        self._event_hooks = {"request": list(request), "response": list(response)}
        self._own_hooks = True

    def build_request(self, *args: Any, **options: Any) -> httpx.Request:
        """Build a request as `httpx.AsyncClient.build_request` does, for the current login."""
        request = super().build_request(*args, **options)
        request.extensions[OWNER] = self._belonging
        return request

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request as `httpx.AsyncClient.send` does.

        Cancellation:
          As with httpx: the request may or may not have reached the server.
        """
        if request.extensions.get(OWNER) is not self._belonging:
            # It was not built here.
            request.extensions = {**request.extensions, OWNER: self._belonging}
        return await super().send(request, **options)


@final
class _Lent(httpx.AsyncBaseTransport):
    """A transport that a view uses and does not own: closing it closes nothing."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Cancellation:
          As with httpx: the request may or may not have reached the server.
        """
        return await self._transport.handle_async_request(request)


@final
class _NoCookies(httpx.Cookies):
    """Keeps no cookie: those of one key must not go along with a request of another."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Ignore the cookies of a response."""

    def set(self, name: str, value: str, domain: str = "", path: str = "/") -> None:  # noqa: ARG002
        """Refuse."""
        raise RuntimeError(
            "these sessions keep no cookies; pass cookies=True to open_sessions, or cookies= to "
            "the request"
        )

    def update(self, cookies: Any = None) -> None:  # type: ignore[override]  # as httpx does
        """Refuse, unless there are none."""
        if cookies:
            self.set("", "")


_NO_COOKIES = _NoCookies()
