"""ServerQueue: how many flights of a program may be at the authorization server at once.

A session has one flight at a time, so the queue has each key once. It is first in, first out: a key
that waits is never overtaken, however often others ask. While a flight queues it has sent nothing,
so it can be cancelled without the loss of an answer (P5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from types import TracebackType


@final
@attrs.define(eq=False, repr=False)
class ServerQueue:
    """Lets ``most`` flights ask at once, the others in the order in which they came."""

    most: int = 1
    asked: int = attrs.field(default=0, init=False)
    """How many turns were taken."""
    _slots: trio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._slots = trio.Semaphore(self.most)

    @property
    def asking(self) -> int:
        """How many flights are at the server now."""
        return self.most - self._slots.value

    @property
    def queued(self) -> int:
        """How many flights wait for a turn."""
        return self._slots.statistics().tasks_waiting

    async def __aenter__(self) -> None:  # noqa: ASYNC910  # as documented
        """Wait for a turn.

        Cancellation:
          Safe. No turn was taken.

        Checkpoints:
          None if there is nothing to wait for.
        """
        try:
            # No checkpoint: the flight has just looked into the store, and should ask at once.
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()
        self.asked += 1

    async def __aexit__(  # noqa: ASYNC910  # it gives back, and waits for nothing
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._slots.release()
