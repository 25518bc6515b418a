"""Hold: the locks on a file of tokens.

One lock alone does not keep other processes out, so there are two:

1. On the lock file, ``path`` + ".lock". A lock on the file of tokens would not suffice, because
   that file is replaced by each save: two processes could hold locks on two files of that name.
2. On the file of tokens, if there is one. It helps if a person or a clean-up job removes the lock
   file while it is locked: the next process then makes a new lock file, and locks that.

A lock counts only if the name still leads to the file that is locked. If that changed between
opening and locking, the attempt begins anew.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, final

import attrs
import filelock

from trioauth._errors import StoreError

from ._disk import create, explained, make_folder
from ._pin import Pin
from ._workers import Workers

if TYPE_CHECKING:
    from pathlib import Path


def lock_path_of(path: Path) -> Path:
    """Name the lock file of a path."""
    return path.with_name(f"{path.name}.lock")


@final
@attrs.define(eq=False)
class Hold:
    """The locks, and who works under them."""

    path: Path
    workers: Workers = attrs.field(init=False)
    lock_path: Path = attrs.field(init=False)
    _lock: filelock.BaseFileLock = attrs.field(init=False)
    _pins: list[Pin] = attrs.field(factory=list[Pin], init=False)
    """What is locked: the lock file, and the file of tokens if there was one."""

    def __attrs_post_init__(self) -> None:
        self.workers = Workers(self._release)
        self.lock_path = lock_path_of(self.path)
        self._lock = filelock.FileLock(
            self.lock_path,
            mode=0o600,
            # Another thread than the one that locked may unlock.
            thread_local=False,
            # On file systems without locks, filelock would make a file instead of locking one. That
            # file outlives a killed process, and keeps all others out for ever.
            fallback_to_soft=False,
        )

    def try_acquire(self) -> bool:
        """Lock the file; return False if another process has locked it. Make a missing folder.

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
        """Make sure that the locks still keep other processes out.

        Raises:
          StoreError: They do not: both the lock file and the file of tokens were replaced.
        """
        if sys.platform != "win32" and not any(pin.in_place() for pin in self._pins):
            raise StoreError(
                f"lost the lock of {self.path}: {self.lock_path} was removed or replaced while it"
                " was locked; try again, and leave that file alone",
                path=self.path,
            )

    def _acquire(self) -> bool:
        if sys.platform != "win32":  # pragma: no branch  # see `Pin`
            # Opened before locking: if the name leads to this file before and after, then this file
            # was locked. (The descriptor that filelock opens is private.)
            try:
                self._pins.append(self._pin_lock_file())
            except FileNotFoundError:
                return False  # another process removed it right after we made it
        with suppress(filelock.Timeout):
            self._lock.acquire(blocking=False)
        return (
            self._lock.is_locked
            and all(pin.in_place() for pin in self._pins)
            and (sys.platform == "win32" or self._lock_tokens())
        )

    def _pin_lock_file(self) -> Pin:
        if not os.path.lexists(self.lock_path):
            # Another process may make it first.
            with suppress(FileExistsError):
                os.close(create(self.lock_path))
        return Pin.open(self.lock_path, os.O_RDONLY)

    def _lock_tokens(self) -> bool:
        """Lock the file of tokens, or return False if another process has it.

        Without such a file there is no refresh token that two processes could spend. If the file
        can't be locked (because it is read-only or not ours), the lock file has to suffice.
        """
        try:
            if not stat.S_ISREG(self.path.lstat().st_mode):
                return True  # don't open a device: that may have an effect; `load` will refuse it
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

    def _release(self) -> None:
        # This may run in trio's thread: unlocking and closing a file does not wait for the disk
        # unless the file was written.
        with explained("unlock", self.lock_path, store=self.path):
            self._unlock()

    def _unlock(self) -> None:
        try:
            self._lock.release()
        finally:
            # Closed last: on NFS, POSIX locks stand in for flock, and closing any descriptor of a
            # file gives up the locks on it.
            while self._pins:
                self._pins.pop().close()
