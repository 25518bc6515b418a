"""The loopback listener: it serves the port of the redirect, and takes one callback (P25).

1. Each connection has a task and a deadline of its own, so that none holds up another. There is a
   most number of them; the oldest that still has to be answered makes room for a new one.
2. What each request gets is decided by `_Server.judge`, without an await. Only a callback that
   `Inbox.offer` takes changes anything: the first one that ends the log-in. The same one again
   gets the same page.
3. The page waits for the exchange of the code for some seconds, so that it tells the truth.
4. Then the pages on their way are delivered, and the port is closed. No connection but theirs is
   waited for.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, final

import attrs
import trio

from trioauth._errors import LoginError, LoginTimeoutError, careful

from . import pages
from .authorization import (
    Callback,
    Code,
    Expected,
    Refusal,
    Stray,
    read_callback,
    read_parameters,
    refusal_error,
)
from .connection import Connection, Request
from .pages import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .ports import Port

ResultT = TypeVar("ResultT")

_MOST_CONNECTIONS: Final = 64
# For so long a page waits until it is known how the log-in ends.
_HOLD: Final = 3.0
# A page on its way, its drain included, may hold up the end for so long.
_DELIVERY: Final = 2.0
# After a failure to accept: there may be no file descriptors left.
_ACCEPT_PAUSE: Final = 0.1
# How long a person may take: a second factor takes minutes.
PATIENCE: Final = 600.0

_logger = logging.getLogger("trioauth")


@final
@attrs.define(eq=False)
class Inbox:
    """Where the callback of a log-in comes in, from the listener or from a person who pastes it."""

    expected: Expected
    form_post: bool = False
    """Whether the callback may come by POST."""
    _taken: Code | Refusal | None = attrs.field(default=None, init=False, repr=False)
    _came: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _ending: Page | None = attrs.field(default=None, init=False, repr=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _near_miss: str | None = attrs.field(default=None, init=False, repr=False)

    @property
    def decided(self) -> bool:
        """Whether the callback is here. Not a checkpoint."""
        return self._taken is not None

    def offer(self, callback: Callback) -> None:
        """Take a callback, unless it is stray or another was first. Not a checkpoint."""
        if isinstance(callback, Stray):
            # It had the right state, so it is worth telling if no better one comes.
            if callback.what in ("iss", "code"):
                self._near_miss = callback.why
        elif self._taken is None:
            self._taken = callback
            self._came.set()

    async def wait(self, *, patience: float = PATIENCE) -> Code:
        """Wait for the callback.

        Args:
          patience: For so many seconds.

        Cancellation:
          Safe.

        Raises:
          LoginDeclinedError: The person said no.
          LoginError: The server did.
          LoginTimeoutError: No callback came.
        """
        with trio.move_on_after(patience):
            await self._came.wait()
        if isinstance(self._taken, Code):
            return self._taken
        if self._taken is not None:
            raise refusal_error(self._taken)
        seen = "" if self._near_miss is None else f"; one was refused: {self._near_miss}"
        raise LoginTimeoutError("no_answer", f"none came in {patience:g} seconds{seen}")

    def end(self, page: Page) -> None:
        """Say how the log-in has ended. Not a checkpoint."""
        self._ending = page
        self._ended.set()

    async def page(self) -> Page:
        """Return the page for who brought the callback, when it is known how the log-in ends.

        Cancellation:
          Safe.
        """
        with trio.move_on_after(_HOLD):
            await self._ended.wait()
        return self._ending or pages.RECEIVED


async def receive(
    port: Port,
    inbox: Inbox,
    finish: Callable[[Code], Awaitable[ResultT]],
    *,
    program: str,
    patience: float = PATIENCE,
) -> ResultT:
    """Serve a port until a log-in has ended, and close it.

    Args:
      port: Is closed in any case.
      inbox: Other callbacks may be offered to it, too, such as a pasted one.
      finish: Exchanges the code for tokens.
      program: What the person knows the program by; the pages say it.
      patience: For so many seconds the callback is waited for.

    Returns:
      What ``finish`` returns.

    Cancellation:
      As that of ``finish``, once there is a callback; before, nothing has happened. In any case the
      port is closed, and no task is left. When ``finish`` is through, "Delayed" by two seconds at
      most, in which the page is delivered.

    Raises:
      LoginError: As `Inbox.wait` says.
      Exception: What ``finish`` raises, as itself.
    """
    # One, or an exception instead.
    results: list[ResultT] = []
    crash: BaseException | None = None
    with port:
        async with trio.open_nursery() as nursery:
            server = _Server(inbox, program)
            for listener in port.listeners():
                nursery.start_soon(_accept, listener, server, nursery)
            try:
                try:
                    results.append(await finish(await inbox.wait(patience=patience)))
                except Exception as exc:  # noqa: BLE001  # raised below
                    crash, page = exc, _page_of(exc)
                else:
                    page = pages.SUCCEEDED
                # From here on a cancellation must not lose what `finish` has brought.
                nursery.cancel_scope.shield = True
                inbox.end(page)
                await server.wait_delivered()
            except trio.Cancelled:
                raise
            except BaseException as exc:  # noqa: BLE001  # Control-C: raised below
                crash = exc
            nursery.cancel_scope.cancel(reason="trioauth: the log-in has ended")
    if crash is not None:
        # Outside the nursery, which would wrap it.
        raise crash
    return results[0]


def _page_of(error: Exception) -> Page:
    return pages.failed(str(error) if isinstance(error, LoginError) else careful(error))


@trio.lowlevel.enable_ki_protection
async def _accept(listener: trio.SocketListener, server: _Server, nursery: trio.Nursery) -> None:
    while True:
        try:
            stream = await listener.accept()
        except OSError as exc:
            _logger.warning("the log-in's listener could not accept: %s", careful(exc))
            await trio.sleep(_ACCEPT_PAUSE)
        else:
            nursery.start_soon(server.serve, stream)


@final
@attrs.define(eq=False)
class _Server:
    """What happens on the connections."""

    _inbox: Inbox
    _program: str
    # The oldest first; those with the callback are not among them.
    _open: dict[trio.CancelScope, None] = attrs.field(factory=dict[trio.CancelScope, None])
    _delivering: int = 0
    _delivered: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def wait_delivered(self) -> None:
        """Wait, but not for long, until the pages of the callback are delivered."""
        with trio.move_on_after(_DELIVERY):
            while self._delivering:
                await self._delivered.park()
        await trio.lowlevel.checkpoint()

    # A Control-C is for the task that waits for the log-in.
    @trio.lowlevel.enable_ki_protection
    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection."""
        with trio.CancelScope() as scope:
            self._make_room(scope)
            try:
                async with stream:
                    await self._serve(Connection(stream), scope)
            finally:
                self._open.pop(scope, None)

    def _make_room(self, scope: trio.CancelScope) -> None:
        if len(self._open) >= _MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel(reason="trioauth: too many connections to the log-in's listener")
        self._open[scope] = None

    async def _serve(self, connection: Connection, scope: trio.CancelScope) -> None:
        request = await connection.read()
        if request is None:
            return
        page = request if isinstance(request, Page) else self.judge(request)
        send = partial(connection.send, program=self._program, allow=self._allow)
        if page is not None:
            await send(page)
            return
        # No await since `judge`: the log-in can't end without waiting for this page.
        self._open.pop(scope, None)
        self._delivering += 1
        try:
            await send(await self._inbox.page())
        finally:
            self._delivering -= 1
            self._delivered.unpark_all()

    @property
    def _allow(self) -> str:
        return "GET, POST" if self._inbox.form_post else "GET"

    def judge(self, request: Request) -> Page | None:
        """Return the page that a request gets; None if it ends, or has ended, the log-in."""
        expected = self._inbox.expected
        callback = read_callback(request.target, expected)
        if isinstance(callback, Stray) and callback.what == "path":
            return pages.NOT_FOUND
        if request.method not in self._allow.split(", "):
            return pages.refused(405, "Only a browser that was redirected is answered here")
        if request.prefetch:
            return pages.PREFETCHED
        if request.method == "POST":
            callback = read_parameters(request.form, expected)
        self._inbox.offer(callback)
        if isinstance(callback, Stray):
            _logger.info("the log-in waits on; a callback was not accepted: %s", callback.why)
            return pages.not_accepted(callback.why)
        return None
