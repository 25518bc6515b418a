"""The client that the tasks of the demo ask with, and how often they may."""

from __future__ import annotations

import importlib
import math
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth._session import Session

Get: TypeAlias = Callable[[str], Awaitable[Any]]
"""Like `Session.get`, of either library."""


def library(*, httpx2: bool) -> Any:
    """Return the module httpx, or httpx2."""
    return importlib.import_module("httpx2" if httpx2 else "httpx")


@asynccontextmanager
async def open_client(
    session: Session, base_url: str, *, httpx2: bool, limits: Any
) -> AsyncGenerator[Get, None]:
    """Open a client that the session signs, or take the session's own; gives its ``get``.

    Cancellation:
      Safe. It is closed.
    """
    if not httpx2:
        yield session.get
        return
    client = library(httpx2=True).AsyncClient(base_url=base_url, limits=limits)
    async with session.attach(client) as http:
        yield http.get


@final
@attrs.define(eq=False)
class Pace:
    """So many requests a second, however many tasks want to send one."""

    rate: float
    _next: float = attrs.field(default=-math.inf, init=False)

    async def turn(self) -> None:
        """Wait for one's turn.

        Cancellation:
          Safe. The turn is lost.
        """
        turn = self._next = max(self._next, trio.current_time())
        self.charge()
        await trio.sleep_until(turn)

    def charge(self) -> None:
        """Take note of a request that had no turn: the others come later. Not a checkpoint."""
        self._next = max(self._next, trio.current_time()) + 1 / self.rate

    def hold(self, seconds: float) -> None:
        """Give nobody a turn for so long. Not a checkpoint."""
        self._next = max(self._next, trio.current_time() + seconds)
