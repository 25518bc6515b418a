"""The task that listens for hints: one subscription for each store, made anew when it is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from coredis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coredis.connection import BaseConnection

    from .hints import Hints
    from .route import Routes

# How long to wait before the subscription is made anew, in seconds; it doubles.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
# How often a silent connection is asked whether it still works, in seconds.
_ALIVE_EVERY: Final = 15.0


@final
@attrs.define(eq=False)
class Listener:
    """Listens on one channel, and gives the hints."""

    _routes: Routes
    _hints: Hints
    _channel: str
    _timeout: float
    _pause: float = attrs.field(default=_SHORTEST_PAUSE, init=False)

    async def run(self) -> None:
        """Listen until cancelled. Hints may be lost, so no failure is told.

        Cancellation:
          Safe.
        """
        while True:
            try:
                with trio.fail_after(self._timeout):
                    connection = await self._routes.subscribe()
                await self._listen(connection)
            except Exception:  # noqa: BLE001, S110  # no answer of a server ends the store
                pass
            await trio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _listen(self, connection: BaseConnection) -> None:
        subscribed = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, connection, subscribed)
            try:
                connection.send_command(b"SUBSCRIBE", self._channel)
                # It never ends, but raises when the connection is lost.
                async for message in connection.push_messages:  # pragma: no branch
                    self._take(message, subscribed)
            except RedisError:
                # Lost. Not raised through the nursery, which would make a group of it.
                pass
            finally:
                connection.invalidate()
                nursery.cancel_scope.cancel()

    def _take(self, message: Sequence[object], subscribed: trio.Event) -> None:
        match message:
            case [b"subscribe", *_]:
                # What was said while this did not listen is not known.
                self._hints.give(None)
                self._pause = _SHORTEST_PAUSE
                subscribed.set()
            case [b"message", _, bytes(key)]:
                # Anybody who may publish there can forge one; a wrong hint costs one look.
                self._hints.give(key.decode(errors="replace"))
            case _:
                pass

    async def _watch(self, connection: BaseConnection, subscribed: trio.Event) -> None:
        """Close a connection that does not work, so that listening ends."""
        with trio.move_on_after(self._timeout):
            await subscribed.wait()
        while subscribed.is_set():
            await trio.sleep(_ALIVE_EVERY)
            try:
                await connection.create_request(b"PING", timeout=self._timeout)
            except (RedisError, TimeoutError):
                break
        # Refused (NOPERM, say), or it hangs.
        connection.invalidate()
