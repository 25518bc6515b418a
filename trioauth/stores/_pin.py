"""Pin: a file that is held open, so that one can see later whether its name still leads to it.

Not for Windows: there, a file that is open can be neither removed nor replaced.
"""

from __future__ import annotations

import os
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

    def close(self) -> None:
        """Unlock and close the file."""
        # Unlock explicitly: a child process forked in between would keep the lock until it ends.
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
