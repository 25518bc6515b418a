"""Small private files: read with suspicion, replaced whole. All of it blocks; for threads."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from trioauth._errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

LARGEST = 1_000_000
"""No record is larger, in bytes. What is, is something else, and is not read into memory."""

_LEFTOVER_AGE = 60.0

# Windows lacks some of these. There, they ask for nothing, and all files are user 0's.
_NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAITING: int = getattr(os, "O_NONBLOCK", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)
_uid: Callable[[], int] = getattr(os, "geteuid", int)

_REMEDIES = {
    errno.EACCES: "check who may read and write the file and its folder",
    errno.EPERM: "check who may read and write the file and its folder",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within the quota",
    errno.EROFS: "the file system is read-only, name a path on another",
    errno.ELOOP: "it is a symbolic link, and none is followed: name the file itself",
    errno.ENOSYS: "the file system can't lock files, name a path on another",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOTDIR: "a part of the path is not a folder, name another path",
}


@contextmanager
def explained(action: str, path: Path, *, store: Path | None = None) -> Generator[None, None, None]:
    """Turn an `OSError` into a `StoreError` that says what to do."""
    try:
        yield
    except OSError as exc:
        remedy = _REMEDIES.get(exc.errno or 0, "see to it, or name another path")
        raise StoreError(
            f"can't {action} {path}: {exc.strerror or exc}; {remedy}", path=store or path
        ) from exc


def read(path: Path) -> bytes | None:
    """Read a small file that must be ours; None if there is none.

    Raises:
      StoreError: It is a link, no regular file, somebody else's, too large, or unreadable.
    """
    with explained("read", path):
        try:
            # Before it is opened, because to open a device may do something.
            _check(path, path.lstat())
            fd = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAITING | _BINARY)
        except FileNotFoundError:
            return None
        try:
            # Once more, because it may be another one by now.
            _check(path, os.fstat(fd))
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(LARGEST + 1)
        finally:
            os.close(fd)
    if len(data) > LARGEST:
        raise refused(path, f"it is larger than {LARGEST} bytes, so it holds no tokens")
    return data


def refused(path: Path, reason: str) -> StoreError:
    """Make the error for a file that is there but is not ours to use, nor to overwrite."""
    return StoreError(
        f"{path} is left as it is: {reason}; move it away and log in anew, or name another path",
        path=path,
    )


def _check(path: Path, info: os.stat_result) -> None:
    if stat.S_ISLNK(info.st_mode):
        raise StoreError(
            f"{path} is a symbolic link, and none is followed: name the file it points to, "
            "or remove the link",
            path=path,
        )
    if not stat.S_ISREG(info.st_mode):
        raise refused(path, "it is not a regular file")
    if info.st_uid != _uid():
        raise refused(path, "it belongs to another user")


def replace(path: Path, data: bytes) -> None:
    """Put a file with this content in the place of whatever is there, whole or not at all.

    Raises:
      StoreError: It could not be done. What was there is still there.
    """
    if len(data) > LARGEST:
        raise StoreError(f"can't write {path}: more than {LARGEST} bytes of tokens", path=path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with explained("write", path):
        # Python adds O_CLOEXEC, where there is one.
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o600)
        try:
            try:
                if sys.platform != "win32":  # pragma: no branch  # nothing to protect there
                    os.fchmod(fd, 0o600)  # whatever the umask left of it
                _write(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
    flush_folder(path.parent)
    _sweep(path)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where that can be done.

    No error if it can't: everybody sees the new file already, so it would be wrong to say
    that it was not written.
    """
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sweep(path: Path) -> None:
    # What a writer that was killed has left behind may hold tokens. Nobody writes now but
    # we, who have the lock; the age is for file systems whose locks don't work.
    leftover = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    with suppress(OSError):
        for file in path.parent.iterdir():
            if (
                leftover.fullmatch(file.name)
                and file.lstat().st_mtime < time.time() - _LEFTOVER_AGE
            ):
                file.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder for us alone, and those above it that are missing."""
    for part in reversed((folder, *folder.parents)):
        if not part.is_dir():
            # Somebody may be faster. If that is no folder, whoever uses it will say so.
            with suppress(FileExistsError):
                part.mkdir(mode=0o700)
                flush_folder(part.parent)
