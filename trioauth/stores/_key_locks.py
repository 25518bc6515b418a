"""KeyLocks: a lock for each key among the processes of one machine, that dies with its holder.

1. Linux: one byte of one lock file for each key, at an offset that is a hash of the key. The file
   stays empty: a lock needs no byte to be there. Two keys with the same hash wait for each other;
   with 62 bits that does not happen in practice.
2. Elsewhere, there are no locks of parts of a file that belong to an open file: one of 256 lock
   files, by the hash. So keys wait for each other now and then, and the program may have more files
   open at once.

The system gives up a lock when its process ends, however it ends. A forked child has the open file,
too, and keeps the lock if its parent is killed, until it ends itself.

All of it blocks, shortly; for threads.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import filelock

from ._disk import create
from ._pin import Pin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

has_bytes = False
if sys.platform != "win32":  # pragma: no branch  # there is no such module there
    import fcntl

    has_bytes = hasattr(fcntl, "F_OFD_SETLK")

_BUCKETS = 256


def hash_of(key: str) -> int:
    """Return 62 bits that all processes compute alike."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 2


@final
@attrs.frozen
class Locked:
    """A lock that is held."""

    unlock: Callable[[], None]
    in_place: Callable[[], bool]
    """Whether the lock still keeps others out: the lock file is still there, and the same."""


@final
@attrs.define(eq=False)
class _OpenFile:
    pin: Pin
    held: set[int] = attrs.field(factory=set[int])
    """The bytes that are locked through it. When the last one is unlocked, the file is closed."""


@final
@attrs.define(eq=False)
class ByteLocks:
    """Case 1. However many keys are locked, one file is open; if none is, no file."""

    path: Path
    _file: _OpenFile | None = attrs.field(default=None, init=False)
    _guard: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @staticmethod
    def slot(key: str) -> int:
        """Return the number of the lock of a key."""
        return hash_of(key)

    def path_of(self, slot: int) -> Path:
        """Return the lock file of a lock."""
        del slot
        return self.path

    def try_lock(self, slot: int) -> Locked | None:
        """Lock one byte; return None if it is locked already, here or in another process.

        Raises:
          OSError: The lock file can't be made, opened or locked.
        """
        with self._guard:
            file = self._open()
            if slot not in file.held and file.pin.try_lock_byte(slot):
                file.held.add(slot)
                # The file may have been removed between opening and locking.
                if file.pin.in_place():
                    return Locked(lambda: self._unlock(file, slot), file.pin.in_place)
                self._let_go(file, slot)
            self._close_if_idle(file)
            return None

    def _open(self) -> _OpenFile:
        # If the lock file was replaced, those who hold a lock of the old one keep that one open.
        if self._file is None or not self._file.pin.in_place():
            with suppress(FileExistsError):
                os.close(create(self.path))
            self._file = _OpenFile(Pin.open(self.path, os.O_RDWR))
        return self._file

    def _unlock(self, file: _OpenFile, slot: int) -> None:
        with self._guard:
            self._let_go(file, slot)
            self._close_if_idle(file)

    @staticmethod
    def _let_go(file: _OpenFile, slot: int) -> None:
        file.held.discard(slot)
        file.pin.unlock_byte(slot)

    def _close_if_idle(self, file: _OpenFile) -> None:
        if not file.held:
            file.pin.close()
            if self._file is file:
                self._file = None


@final
@attrs.define(eq=False)
class FileLocks:
    """Case 2."""

    path: Path

    @staticmethod
    def slot(key: str) -> int:
        """Return the number of the lock of a key."""
        return hash_of(key) % _BUCKETS

    def path_of(self, slot: int) -> Path:
        """Return the lock file of a lock."""
        return self.path.with_name(f"{self.path.name}-{slot:02x}")

    def try_lock(self, slot: int) -> Locked | None:
        """Lock one file; return None if it is locked already, here or in another process.

        Raises:
          OSError: The lock file can't be made, opened or locked.
        """
        # As in `Hold`: another thread may unlock, and nothing but a lock of the system will do.
        lock = filelock.FileLock(
            self.path_of(slot), mode=0o600, thread_local=False, fallback_to_soft=False
        )
        with suppress(filelock.Timeout):
            lock.acquire(blocking=False)
        return Locked(lock.release, self.path_of(slot).exists) if lock.is_locked else None


KeyLocks: TypeAlias = ByteLocks | FileLocks


def key_locks(path: Path) -> KeyLocks:
    """Return the locks beside a file, as the system has them. Nothing is opened yet."""
    lock_path = path.with_name(path.name + ".lock")
    return ByteLocks(lock_path) if has_bytes else FileLocks(lock_path)
