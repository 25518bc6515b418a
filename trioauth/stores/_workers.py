"""Who works under a lock: one task, and the threads that work for it. The last of them unlocks.

A cancelled task leaves at once. If its thread hangs in a system call, the lock is kept until the
call returns, so that the thread can't overwrite what another process has written.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@final
@attrs.define(eq=False)
class Workers:
    """A task and its threads."""

    _unlock: Callable[[], object] | None
    """Called once, by the last to leave; perhaps in trio's thread."""
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _count: int = attrs.field(default=1, init=False)
    """How many they are. At 0 it stays 0."""

    def run(self, work: Callable[[], T]) -> T:
        """Do something in a thread, and keep the lock until it is done.

        Raises:
          RuntimeError: The task left before this thread began; nothing was done. No task sees this
              error, because the task that started the thread no longer waits for it.
        """
        with self._guard:
            if self._count == 0:
                raise RuntimeError("the task that started this thread has left")
            self._count += 1
        try:
            return work()
        finally:
            self.leave()

    def leave(self) -> None:
        """Stop working under the lock; unlock if no other thread does."""
        with self._guard:
            self._count -= 1
            if self._count:
                return
        # Given up: it may belong to an object that has this one.
        unlock, self._unlock = self._unlock, None
        if unlock is not None:  # pragma: no branch  # only the last one gets here
            unlock()
