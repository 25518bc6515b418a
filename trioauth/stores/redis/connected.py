"""What an open RedisStore has: a nursery for its connections, the routes, and the listener.

This is the module that imports coredis.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._raising import reraise

try:
    from .link import Dialer
    from .listener import Listener
    from .route import Routes
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        'RedisStore needs coredis: pip install "trioauth[redis]"', name=exc.name
    ) from exc

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
        if not self._listens:
            self._listens = True
            self._nursery.start_soon(self._listener.run)

    def start(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run something that raises nothing in the background. Not a checkpoint."""
        self._running += 1
        self._nursery.start_soon(self._do, work)

    async def close(self) -> None:
        """Let what runs in the background end, for a second at most; then cancel all tasks.

        Cancellation:
          Delayed, by a second at most.
        """
        with trio.CancelScope(deadline=trio.current_time() + _LAST_RELEASES, shield=True):
            await trio.lowlevel.checkpoint()
            while self._running:
                self._idle = trio.Event()
                await self._idle.wait()
        self._nursery.cancel_scope.cancel(reason="trioauth: the store is closed")

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
    left = trio.Event()
    try:
        async with trio.open_nursery() as outer:
            nursery = await _sheltered(outer, left)
            routes = Routes(target, Dialer(target, nursery, timeout, tls), timeout)
            connected = Connected(routes, nursery, Listener(routes, hints, channel, timeout))
            try:
                yield connected
            except BaseException as exc:
                crash = exc
                raise
            finally:
                await connected.close()  # noqa: ASYNC102  # shielded, and bounded, inside
                left.set()
    except BaseExceptionGroup as group:
        # The nursery made this group: of the block's exception, a cancellation, or Control-C.
        reraise(_interrupt_in(group) or crash or group)


async def _sheltered(outer: trio.Nursery, left: trio.Event) -> trio.Nursery:
    """Return a nursery whose tasks go on when the program around the store is cancelled.

    By SIGTERM, say: then the sessions in it close, and still have tokens to save (P8).
    """
    nurseries = list[trio.Nursery]()
    # Shielded, though it takes no time: in a scope that is cancelled, start() would wait for the
    # task to end, and this one does not.
    with trio.CancelScope(shield=True):
        nurseries.append(await outer.start(_shelter, left))
    return nurseries.pop()


async def _shelter(  # noqa: ASYNC114  # private
    left: trio.Event, *, task_status: trio.TaskStatus[trio.Nursery]
) -> None:
    """Keep that nursery open until the program has left the store."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            # Shielded from the nursery, too: it is cancelled by `Connected.close`, and closed here.
            with trio.CancelScope(shield=True):
                await left.wait()


def _interrupt_in(exc: BaseException) -> BaseException | None:
    """Return the first of Control-C and its like in a group, at whatever depth; None if none is."""
    # issubclass(): after isinstance() type checkers don't know what is in the group.
    if issubclass(type(exc), BaseExceptionGroup):
        inner: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
        return next(filter(None, map(_interrupt_in, inner)), None)
    return None if isinstance(exc, Exception | trio.Cancelled) else exc
