"""Place: a lock file for the tasks of a run and for processes, and a thread to work under it."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar, final
from weakref import WeakKeyDictionary

import attrs
import trio

from ._hold import Hold, lock_path_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

T = TypeVar("T")

# How often to try for a lock that another process holds, in seconds. A refresh takes
# some tenths of a second, so a waiter need not be much faster.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


@final
@attrs.define(eq=False)
class Desk:
    """What is shared by all tasks of one trio run that use one place."""

    turn: trio.Lock = attrs.field(factory=trio.Lock)
    """Tasks of this run wait here, in order; only the first of them polls the file lock."""

    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    """One thread at a time. So a thread that a cancelled task left behind ends before the next
    begins, and a disk that hangs does not use up the threads of the program."""

    hold: Hold | None = None

    waits_for: str | None = None
    """What the last unfinished wait is for; see `Place.waits_for`."""


# One desk for each run, because trio's locks know only the tasks of one run. Held weakly, because a
# program may have a store for each of its users: the desk goes with its store.
_desks: trio.lowlevel.RunVar[WeakKeyDictionary[Place, Desk]] = trio.lowlevel.RunVar(
    "trioauth.stores"
)


@final
@attrs.define(eq=False)
class Place:
    """What a store keeps its record in, with a lock file (its path + ".lock")."""

    path: Path
    """The file of the record. Where the record is elsewhere, there is no such file."""

    name: str
    """What a thread that works there waits for, such as "the disk of /home/me/tokens.json"."""

    @property
    def lock_path(self) -> Path:
        """The lock file."""
        return lock_path_of(self.path)

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Keep out all other users of this place, in this process and elsewhere.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.

        Raises:
          StoreError: The lock file can't be made or locked.
        """
        desk = self._desk()
        async with desk.turn:
            hold = Hold(self.path)
            try:
                pause, attempt = _SHORTEST_PAUSE, partial(hold.workers.run, hold.try_acquire)
                while not await self.in_thread(attempt):
                    desk.waits_for = f"another process to unlock {self.lock_path}"
                    await trio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
                    pause = min(2 * pause, _LONGEST_PAUSE)
                desk.hold = hold
                yield
            finally:
                desk.hold = None
                hold.workers.leave()

    async def with_lock(self, name: str, work: Callable[[Hold], None]) -> None:
        """Work in a thread that keeps the lock until it has ended, also if the task leaves.

        Cancellation:
          Safe. The task leaves at once, and the thread goes on.

        Raises:
          RuntimeError: The lock is not held. ``name`` is the method that needs it.
        """
        hold = self._desk().hold
        if hold is None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError(
                f"{name}() needs the lock: call it inside `async with store.lock():`"
            )
        await self.in_thread(partial(hold.workers.run, partial(work, hold)))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Work in a thread, after the threads that earlier calls have left behind.

        Cancellation:
          Safe. The task leaves at once, and the thread goes on.
        """
        desk = self._desk()
        # After a first attempt at the lock, the lock is the likelier reason: keep those words.
        desk.waits_for = desk.waits_for or self.name
        try:
            result = await trio.to_thread.run_sync(
                work, abandon_on_cancel=True, limiter=desk.limiter
            )
        except Exception:
            desk.waits_for = None
            raise
        desk.waits_for = None
        return result

    @property
    def waits_for(self) -> str | None:
        """What this place waits for, in words for an error message; None if it does not wait."""
        return self._desk().waits_for

    def _desk(self) -> Desk:
        try:
            desks = _desks.get()
        except LookupError:
            desks = WeakKeyDictionary[Place, Desk]()
            _desks.set(desks)
        if self not in desks:
            desks[self] = Desk()
        return desks[self]
