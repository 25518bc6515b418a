"""Hold: the locks on a file of tokens, kept until the last thread that works under them has ended.

There are two locks:

1. On a file of its own, ``path`` + ".lock". The file of tokens can't do alone, because it is
   replaced as a whole: two processes could hold locks on two files of that name.
2. On the file of tokens, if there is one. It excludes the others when the first lock does not:
   when a person or a clean-up job removes the lock file while it is locked, the next process makes
   a new one and locks that.

A lock counts only if the name still leads to the file that is locked. If that changed between
opening and locking, the attempt begins anew.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, final

import attrs
import filelock

from trioauth._errors import StoreError

from ._disk import create, explained, make_folder
from ._pin import Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


@final
@attrs.define(eq=False)
class Hold:
    """One hold of the locks, by a task and by the threads that work for it.

    The last of them unlocks. A task that is cancelled leaves at once; a thread that it
    leaves behind in a hanging system call keeps the file locked until the call returns.
    So whatever that thread still does, it undoes nothing that another process did.
    """

    path: Path
    lock_path: Path = attrs.field(init=False)
    _lock: filelock.BaseFileLock = attrs.field(init=False)
    _pins: list[Pin] = attrs.field(factory=list[Pin], init=False)
    """What is locked: the lock file, and the file of tokens if there was one."""
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _users: int = attrs.field(default=1, init=False)
    """The task, and its threads. Once it is 0, no thread can join any more."""

    def __attrs_post_init__(self) -> None:
        self.lock_path = self.path.with_name(self.path.name + ".lock")
        self._lock = filelock.FileLock(
            self.lock_path,
            mode=0o600,
            # One thread locks, another unlocks.
            thread_local=False,
            # Where a file system has no locks it would take one that outlives a process that is
            # killed, and then locks all others out.
            fallback_to_soft=False,
        )

    def run(self, work: Callable[[], T]) -> T:
        """Do something in a thread, and hold on for as long as it takes.

        Raises:
          RuntimeError: The task left before this thread began, and nothing was done. No task
              will see this, because the one that started the thread does not wait any more.
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
        """Be one less to hold the locks, and unlock if that was the last."""
        with self._guard:
            self._users -= 1
            last = self._users == 0
        if last:
            # Also in trio's thread: to unlock and close a file that is not being written
            # does not wait for a disk.
            with explained("unlock", self.lock_path, store=self.path):
                self._unlock()

    def try_acquire(self) -> bool:
        """Lock the file, or return False if others hold a lock. Makes its folder if need be.

        Raises:
          StoreError: The file can't be locked.
        """
        acquired = False
        with explained("lock", self.lock_path, store=self.path):
            make_folder(self.path.parent)
            try:
                acquired = self._acquire()
            finally:
                if not acquired:
                    self._unlock()
        return acquired

    def check(self) -> None:
        """See that no other process can have got the lock in between.

        Raises:
          StoreError: Neither the lock file nor the file of tokens is still the one that was locked.
        """
        if sys.platform != "win32" and not any(pin.in_place() for pin in self._pins):
            raise StoreError(
                f"lost the lock of {self.path}: {self.lock_path} was removed or replaced while it"
                " was locked; try again, and leave that file alone",
                path=self.path,
            )

    def _acquire(self) -> bool:
        if sys.platform != "win32":  # pragma: no branch  # see `Pin`
            # Before locking: if the name leads to this file before and after, it is the locked one.
            # (filelock has it open, too, but the descriptor is private.)
            try:
                self._pins.append(self._pin_lock_file())
            except FileNotFoundError:
                return False  # removed as soon as it was made
        with suppress(filelock.Timeout):
            self._lock.acquire(blocking=False)
        return (
            self._lock.is_locked
            and all(pin.in_place() for pin in self._pins)
            and (sys.platform == "win32" or self._lock_tokens())
        )

    def _pin_lock_file(self) -> Pin:
        if not os.path.lexists(self.lock_path):
            # Another process may be faster.
            with suppress(FileExistsError):
                os.close(create(self.lock_path))
        return Pin.open(self.lock_path, os.O_RDONLY)

    def _lock_tokens(self) -> bool:
        """Lock the file of tokens, or return False if another process has it.

        If there is none, there is no refresh token that two could spend. If it can't be locked (it
        may be read-only, or not ours), the lock file has to do.
        """
        try:
            if not stat.S_ISREG(self.path.lstat().st_mode):
                return True  # opening a device may do something; `load` will refuse it
            pin = Pin.open(self.path, os.O_RDWR)
        except OSError:
            return True
        try:
            locked = pin.try_lock() and pin.in_place()
        except OSError:
            pin.close()
            return True
        self._pins.append(pin)
        return locked

    def _unlock(self) -> None:
        try:
            self._lock.release()
        finally:
            # Afterwards, because where POSIX locks stand in for flock (NFS), closing any
            # descriptor of a file may give up its lock.
            while self._pins:
                self._pins.pop().close()
