"""attach: sign the requests of a client of httpx or of httpx2.

It finds out which of the two libraries a client is from, and imports no library that the program
does not use.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeVar

from trioauth._core.state import Closed

from .signing import Signer


class ClientLike(Protocol):
    """The part of a client that is used."""

    @property
    def auth(self) -> Any: ...
    @auth.setter
    def auth(self, auth: Any) -> None: ...
    @property
    def base_url(self) -> Any: ...


ClientT = TypeVar("ClientT", bound=ClientLike)


def attach(signer: Signer, client: ClientT) -> ClientT:
    """Sign the requests of a client of either library, and return it."""
    library = _library(client)
    _check_is_free(signer, client)
    if client.base_url.host:
        signer.origins.check(client.base_url)
    if library == "httpx2":
        from .auth_httpx2 import SessionAuth as Auth2

        client.auth = Auth2(signer)
    else:
        from .auth_httpx import SessionAuth as Auth

        client.auth = Auth(signer)
    return client


def _check_is_free(signer: Signer, client: ClientLike) -> None:
    """Raise if another open session signs the client: requests would change their login (P22)."""
    other: Signer | None = getattr(client.auth, "signer", None)
    if (
        isinstance(other, Signer)
        and other is not signer
        and not isinstance(other.tokens.state, Closed)
    ):
        raise RuntimeError(
            "this client is signed by another session, which is still open; "
            "attach() a client of its own to each session"
        )


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
