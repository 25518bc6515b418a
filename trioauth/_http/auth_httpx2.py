"""The auth class for httpx2."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

import httpx2

from .auth import Flow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .signing import Signer


@final
class SessionAuth(httpx2.Auth):
    """Signs what an `httpx2.AsyncClient` sends with a session's token."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Give httpx2 the flow for one request."""
        return Flow(self.signer, request, httpx2)

    def sync_auth_flow(self, request: httpx2.Request) -> NoReturn:  # noqa: ARG002  # the interface
        """Refuse: there is no trio in a synchronous client."""
        raise RuntimeError("a trioauth session signs requests of an AsyncClient only")
