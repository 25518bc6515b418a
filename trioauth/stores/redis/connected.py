"""What an open RedisStore has: a nursery for its connections, the routes, and the listener.

This is the module that imports coredis.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._raising import reraise

from .link import Dialer
from .listener import Listener
from .route import Routes

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from .hints import Hints
    from .url import Target

# How long closing waits for leases that are just being released, in seconds.
_LAST_RELEASES = 1.0


@final
@attrs.define(eq=False)
class Connected:
    """An open store. Its tasks never raise into the nursery."""

    routes: Routes
    _nursery: trio.Nursery
    _listener: Listener
    _run: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    _listens: bool = attrs.field(default=False, init=False)
    _running: int = attrs.field(default=0, init=False)
    _idle: trio.Event = attrs.field(factory=trio.Event, init=False)

    def check_run(self) -> None:
        """Raise RuntimeError unless this is the run of trio that the store was opened in."""
        if not trio.lowlevel.in_trio_run() or trio.lowlevel.current_trio_token() is not self._run:
            raise RuntimeError(
                "this RedisStore was opened in another run of trio: open one in each run"
            )

    def listen(self) -> None:
        """Start the listener, unless it runs. Not a checkpoint."""
        if not (self._listens or self._nursery.cancel_scope.cancel_called):
            self._listens = True
            self._nursery.start_soon(self._listener.run)

    def start(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run something that raises nothing in the background, unless the store is closed.

        Not a checkpoint.
        """
        if self._nursery.cancel_scope.cancel_called:
            return
        self._running += 1
        self._nursery.start_soon(self._do, work)

    async def close(self) -> None:
        """Let what runs in the background end, for a second at most; then cancel all tasks.

        Cancellation:
          Delayed, by a second at most.
        """
        try:
            with trio.CancelScope(deadline=trio.current_time() + _LAST_RELEASES, shield=True):
                await trio.lowlevel.checkpoint()
                while self._running:
                    self._idle = trio.Event()
                    await self._idle.wait()
        finally:
            # Also if Control-C is pressed while this waits.
            self._nursery.cancel_scope.cancel(reason="trioauth: the store is closed")

    # Control-C is for the program: a lease whose release it ended would last until it lapses.
    @trio.lowlevel.enable_ki_protection
    async def _do(self, work: Callable[[], Awaitable[object]]) -> None:  # noqa: ASYNC910
        try:
            await work()
        finally:
            self._running -= 1
            self._idle.set()


@asynccontextmanager
async def connect(
    target: Target, *, timeout: float, tls: ssl.SSLContext | None, hints: Hints, channel: str
) -> AsyncGenerator[Connected, None]:
    """Open a store while the block runs. The block's exception comes out as itself."""
    crash: BaseException | None = None
    shelter = _Shelter()
    try:
        async with trio.open_nursery() as outer:
            outer.start_soon(shelter.run)
            try:
                # Shielded: in a program that was cancelled before, the store opens all the same.
                with trio.CancelScope(shield=True):
                    await shelter.is_open.wait()
                nursery = shelter.nursery
                assert nursery is not None  # noqa: S101  # it is open
                routes = Routes(target, Dialer(target, nursery, timeout, tls), timeout)
                connected = Connected(routes, nursery, Listener(routes, hints, channel, timeout))
                try:
                    yield connected
                except BaseException as exc:
                    crash = exc
                    raise
                finally:
                    await connected.close()  # noqa: ASYNC102  # shielded, and bounded, inside
            finally:
                # Also after Control-C, wherever it came: the shelter ends for nothing else.
                shelter.left.set()
    except BaseExceptionGroup as group:
        # The nursery made this group: of the block's exception, a cancellation, or Control-C.
        if crash is None or _interrupt_in(crash) is None:
            crash = _interrupt_in(group) or crash or group
        reraise(crash)


@final
@attrs.define(eq=False)
class _Shelter:
    """A nursery whose tasks go on when the program around the store is cancelled.

    By SIGTERM, say: then the sessions in it close, and still have tokens to save (P8). Its task is
    not started with `trio.Nursery.start`. A cancelled ``start`` waits until the task ends, and this
    one would not; a shield does not help, because Control-C gets through it.
    """

    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    is_open: trio.Event = attrs.field(factory=trio.Event, init=False)
    left: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the block of the store was left, or not entered."""

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep the nursery open until the block is left.

        Cancellation:
          Delayed, until the block is left.
        """
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                self.nursery = nursery
                self.is_open.set()
                # Or until Control-C ends one of the tasks: then it must end the program, too.
                await self.left.wait()


def _interrupt_in(exc: BaseException) -> BaseException | None:
    """Return the first of Control-C and its like in a group, at whatever depth; None if none is."""
    # issubclass(): after isinstance() type checkers don't know what is in the group.
    if issubclass(type(exc), BaseExceptionGroup):
        inner: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
        return next(filter(None, map(_interrupt_in, inner)), None)
    return None if isinstance(exc, Exception | trio.Cancelled) else exc
