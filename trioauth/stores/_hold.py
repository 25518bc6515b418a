"""Hold: a lock on a file, kept until the last thread that works under it has ended."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, final

import attrs
import filelock

from ._disk import explained, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


@final
@attrs.define(eq=False)
class Hold:
    """One hold of a lock file, by a task and by the threads that work for it.

    Whoever leaves last unlocks. A task that is cancelled leaves at once; a thread that it
    leaves behind in a hanging system call keeps the file locked until the call returns.
    So whatever that thread still does, it undoes nothing that somebody else did.

    The lock is on a file of its own, ``path`` + ".lock", because ``path`` is replaced
    as a whole: two processes could hold locks on two files of that name.
    """

    path: Path
    _lock_path: Path = attrs.field(init=False)
    _lock: filelock.BaseFileLock = attrs.field(init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _users: int = attrs.field(default=1, init=False)
    """The task, and its threads. Once it is 0, nobody can join any more."""

    def __attrs_post_init__(self) -> None:
        self._lock_path = self.path.with_name(self.path.name + ".lock")
        self._lock = filelock.FileLock(
            self._lock_path,
            mode=0o600,
            # One thread locks, another unlocks.
            thread_local=False,
            # Where a file system has no locks it would take one that outlives a process that is
            # killed, and then locks everybody out.
            fallback_to_soft=False,
        )

    def run(self, work: Callable[[], T]) -> T:
        """Do something in a thread, and hold on for as long as it takes.

        Raises:
          RuntimeError: The task left before this thread began, and nothing was done. Nobody
              will see this: the task does not wait any more.
        """
        with self._guard:
            if self._users == 0:
                raise RuntimeError("the task that started this thread has left")
            self._users += 1
        try:
            return work()
        finally:
            self.leave()

    def leave(self) -> None:
        """Be one less to hold the lock, and unlock if that was the last."""
        with self._guard:
            self._users -= 1
            last = self._users == 0
        if last:
            # Also in trio's thread: to unlock and close a file that nobody writes to
            # does not wait for a disk.
            with explained("unlock", self._lock_path, store=self.path):
                self._lock.release()

    def try_acquire(self) -> bool:
        """Lock the file, or return False if others hold the lock. Makes its folder if need be.

        Raises:
          StoreError: The file can't be locked.
        """
        with explained("lock", self._lock_path, store=self.path):
            make_folder(self.path.parent)
            with suppress(filelock.Timeout):
                self._lock.acquire(blocking=False)
        return self._lock.is_locked
