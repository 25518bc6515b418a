"""attach: sign the requests of a client of httpx or of httpx2.

It finds out which of the two libraries a client is from, and imports no library that the program
does not use.
"""

from __future__ import annotations

import sys
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from http.cookiejar import Cookie
    from urllib.request import Request

    from .keyed import Keys
    from .signing import Signer


class ClientLike(Protocol):
    """The part of a client that is used."""

    @property
    def auth(self) -> Any: ...
    @auth.setter
    def auth(self, auth: Any) -> None: ...
    @property
    def base_url(self) -> Any: ...
    @property
    def cookies(self) -> Any: ...


ClientT = TypeVar("ClientT", bound=ClientLike)


def attach(signer: Signer, client: ClientT) -> ClientT:
    """Sign the requests of a client of either library, and return it."""
    library = _library(client)
    _check_is_free(signer, client)
    if library == "httpx2":
        from .auth_httpx2 import SessionAuth as Auth2

        client.auth = Auth2(signer)
    else:
        from .auth_httpx import SessionAuth as Auth

        client.auth = Auth(signer)
    return client


def attach_keyed(keys: Keys, client: ClientT) -> ClientT:
    """Sign each request of a client by the key that it names, and return the client."""
    library = _library(client)
    _check_is_free(keys, client)
    if library == "httpx2":
        from .auth_httpx2 import KeyedAuth as Auth2

        client.auth = Auth2(keys)
    else:
        from .auth_httpx import KeyedAuth as Auth

        client.auth = Auth(keys)
    # A cookie that a server has set for one key must not go along with another's request (P30).
    client.cookies.jar.set_policy(_TakesNone())
    return client


def _check_is_free(signer: Signer | Keys, client: ClientLike) -> None:
    """Raise if a client's URL may not have the token, or another open session signs it (P22)."""
    other: Signer | Keys | None = getattr(client.auth, "signer", None)
    if other is not signer and getattr(other, "closed", True) is False:
        raise RuntimeError(
            "this client is signed by another session, which is still open; "
            "attach() a client of its own to each session"
        )
    if client.base_url.host:
        signer.origins.check(client.base_url)


class _TakesNone(DefaultCookiePolicy):
    """Lets a jar keep the cookies that it has, and take none from a server."""

    def set_ok(self, cookie: Cookie, request: Request) -> bool:  # noqa: ARG002  # the interface
        return False


def _library(client: object) -> str:
    for name in ("httpx2", "httpx"):
        # A program that has a client of a library has imported the library.
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.AsyncClient):
            return name
    hint = ""
    for name in ("httpx2", "httpx"):
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.Client):
            hint = f"; {name}.Client is for synchronous code"
    raise TypeError(
        f"attach() takes an httpx.AsyncClient or an httpx2.AsyncClient, "
        f"not {type(client).__qualname__}{hint}"
    )
