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

from ._mounts import is_mount_point

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

LARGEST = 1_000_000
"""No record is larger, in bytes. What is, is something else, and is not read into memory."""

LONGEST_NAME = 250
"""Most file systems allow 255 bytes, and the lock file's name is longer by ``.lock``."""

_LEFTOVER_AGE = 60.0

# What of a file's name is in the names of its temporary files, in bytes. Some file systems
# (eCryptfs) allow 143 only.
_LONGEST_STEM = 100

# How much room there must be on the disk before a refresh token is spent: a record with two long
# tokens in it, or twice what is stored.
_ROOM = 16_384

# What `fsync` says where there is nothing to wait for, or no way to: some network and FUSE file
# systems, and sandboxes.
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

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
    errno.EISDIR: "it is a folder, move it away or name another path",
    errno.EBUSY: "another file is mounted there; mount its folder instead",
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
    with explained("write", path), _temporary(path) as new:
        _fill(new, data, flush=True)
        new.replace(path)
    flush_folder(path.parent)
    _sweep(path)


def prove_replaceable(path: Path, size: int) -> None:
    """Do what `replace` does, but for the last step, and nothing that waits for the disk.

    It leaves everything as it was. ``size`` is that of what is stored, in bytes.

    Raises:
      StoreError: `replace` would fail; says why.
    """
    if is_mount_point(path):
        raise StoreError(
            f"can't write {path}: it is mounted by itself, as a single file of a container is, and"
            " such a file can't be replaced; mount its folder instead",
            path=path,
        )
    with explained("write", path):
        _refuse_frozen(path)
        with _temporary(path) as new:
            # Not zeros, which some file systems keep without using room for them.
            _fill(new, os.urandom(max(_ROOM, 2 * size)), flush=False)
            # Here, because in a folder that is append-only it can't be removed, nor renamed.
            new.unlink()


def _refuse_frozen(path: Path) -> None:
    """Raise PermissionError if the file is immutable or append-only (chattr +i, +a)."""
    try:
        os.close(os.open(path, os.O_WRONLY | _NO_FOLLOW | _NO_WAITING | _BINARY))
    except OSError as exc:
        # A file without write permission (EACCES) can be replaced, and so can none at all.
        if exc.errno == errno.EPERM:
            raise


@contextmanager
def _temporary(path: Path) -> Generator[Path, None, None]:
    """Name a temporary file beside a file; if the block fails, remove it."""
    new = path.with_name(f".{_stem(path)}.{secrets.token_hex(8)}.tmp")
    try:
        yield new
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _stem(path: Path) -> str:
    return os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")


def create(path: Path) -> int:
    """Make a new, private file, and return its descriptor.

    Raises:
      OSError: It can't be made, or there is one.
    """
    # Python adds O_CLOEXEC, where there is one.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o600)
    if sys.platform != "win32":  # pragma: no branch  # nothing to protect there
        # The umask may have taken too much from us, and can't have left anything to others. So
        # where a file system has no permissions to set, nothing is lost.
        with suppress(OSError):
            os.fchmod(fd, 0o600)
    return fd


def _fill(new: Path, data: bytes, *, flush: bool) -> None:
    fd = create(new)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if flush:
            _flush(fd)
    finally:
        # May raise, too: a network file system writes only now.
        os.close(fd)


def _flush(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _CANNOT_FLUSH:
            raise


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where that can be done.

    No error if it can't: all processes see the new file already, so it would be wrong to say
    that it was not written.
    """
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sweep(path: Path) -> None:
    # What a writer that was killed has left behind may hold tokens. We have the lock, so no
    # other process writes now; the age is for file systems whose locks don't work.
    leftover = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9a-f]{{16}}\.tmp")
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
            # Another process may be faster. If it made a file, the next step will say so.
            with suppress(FileExistsError):
                part.mkdir(mode=0o700)
                flush_folder(part.parent)
