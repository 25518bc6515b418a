"""The auth class for httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

import httpx

from .auth import Flow
from .keyed import KeyedFlow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .keyed import Keys
    from .signing import Signer


class _Async(httpx.Auth):
    def sync_auth_flow(self, request: httpx.Request) -> NoReturn:  # noqa: ARG002  # the interface
        """Refuse: there is no trio in a synchronous client."""
        raise RuntimeError("a trioauth session signs requests of an AsyncClient only")


@final
class SessionAuth(_Async):
    """Signs what an `httpx.AsyncClient` sends with a session's token."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Give httpx the flow for one request."""
        return Flow(self.signer, request, httpx)


@final
class KeyedAuth(_Async):
    """Signs each request with the token of the session that it names by its key."""

    def __init__(self, keys: Keys) -> None:
        self.signer = keys

    def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Give httpx the flow for one request."""
        return KeyedFlow(self.signer, request, httpx)
