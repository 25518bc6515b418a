"""Turns: one lock for each key, for the tasks of one trio run; forgotten when no task needs it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable


@final
@attrs.define(eq=False)
class _Turn:
    lock: trio.Lock = attrs.field(factory=trio.Lock)
    users: int = 0
    """How many tasks hold the lock or wait for it."""


@final
@attrs.define(eq=False)
class Turns:
    """Locks by key. What is kept does not grow with the number of keys that were ever locked."""

    _turns: dict[Hashable, _Turn] = attrs.field(
        factory=dict["Hashable", _Turn], init=False, repr=False
    )

    @asynccontextmanager
    async def take(self, key: Hashable) -> AsyncGenerator[None, None]:
        """Keep out the other tasks that take this key. They wait in order.

        Cancellation:
          Safe. A cancelled wait leaves nothing locked.
        """
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[key]

    def is_taken(self, key: Hashable) -> bool:
        """Say whether a task holds the lock of this key. Not a checkpoint."""
        turn = self._turns.get(key)
        return turn is not None and turn.lock.locked()
