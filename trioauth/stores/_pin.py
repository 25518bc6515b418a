"""Pin: a file that is held open, so that one can see later whether its name still leads to it.

Not for Windows: there, a file that is open can be neither removed nor replaced.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, final

import attrs

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "win32":  # pragma: no branch  # see above
    import fcntl


@final
@attrs.define(eq=False)
class Pin:
    """An open file. While it is open, no other file gets its inode number."""

    path: Path
    _fd: int

    @classmethod
    def open(cls, path: Path, access: int) -> Pin:
        """Open an existing file, following no link. NFS can only lock what was opened for writing.

        Raises:
          OSError: The file can't be opened.
        """
        return cls(path, os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK))

    def in_place(self) -> bool:
        """Say whether the name still leads to this file: not removed, renamed or replaced."""
        # If the name can't be looked up, we don't know: that counts as no.
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._fd), self.path.lstat())
        return False

    def try_lock(self) -> bool:
        """Lock the file, or return False if another process or thread has locked it.

        Raises:
          OSError: The file system can't lock it.
        """
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_lock_byte(self, offset: int) -> bool:
        """Lock one byte, or return False if it is locked through another open file (Linux only).

        Not through this one: the system does not count that.

        Raises:
          OSError: The file system can't lock it.
        """
        try:
            self._set_lock(fcntl.F_WRLCK, offset)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock_byte(self, offset: int) -> None:
        """Unlock one byte."""
        self._set_lock(fcntl.F_UNLCK, offset)

    def _set_lock(self, kind: int, offset: int) -> None:
        # A `struct flock` (fcntl(2)). Locks of an open file description, not of the process: those
        # would be lost as soon as any other descriptor of the file is closed.
        lock = struct.pack("@hhqqi0q", kind, os.SEEK_SET, offset, 1, 0)
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)

    def close(self) -> None:
        """Unlock and close the file."""
        # Unlock explicitly: a child process forked in between would keep the lock until it ends.
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
