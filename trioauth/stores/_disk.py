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
"""The size of the largest record, in bytes. A larger file is no record, and is not read whole."""

LONGEST_NAME = 250
"""In bytes. Most file systems allow 255, and the name of the lock file ends in ``.lock``."""

_LEFTOVER_AGE = 60.0

# How many bytes of a file's name are used in the names of its temporary files. Some file systems
# (eCryptfs) allow only 143 bytes for a name.
_LONGEST_STEM = 100

# How many bytes must be free on the disk before a refresh token is spent: enough for a record with
# two long tokens, or twice what is stored.
_ROOM = 16_384

# The errors of `fsync` on file systems that can't flush or need not: some network and FUSE file
# systems, and sandboxes.
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

# Windows lacks some of these. There, the flags are 0, and each file counts as ours (user 0).
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
    """Return the content of a small file that must be ours; None if there is no file.

    Raises:
      StoreError: It is a link or no regular file, belongs to another user, is too large, or can't
          be read.
    """
    with explained("read", path):
        try:
            # Checked before it is opened, because opening a device may have an effect.
            check_ours(path, path.lstat())
            fd = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAITING | _BINARY)
        except FileNotFoundError:
            return None
        try:
            # Checked again, because the name may lead to another file now.
            check_ours(path, os.fstat(fd))
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(LARGEST + 1)
        finally:
            os.close(fd)
    if len(data) > LARGEST:
        raise refused(path, f"it is larger than {LARGEST} bytes, so it holds no tokens")
    return data


def refused(path: Path, reason: str) -> StoreError:
    """Make the error for a file that is not ours, and so is neither used nor overwritten."""
    return StoreError(
        f"{path} is left as it is: {reason}; move it away and log in anew, or name another path",
        path=path,
    )


def check_ours(path: Path, info: os.stat_result) -> None:
    """Raise `StoreError` if this is not a regular file of ours."""
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
    """Replace a file by one with this content, whole or not at all.

    Raises:
      StoreError: The file can't be replaced. The old one is still there.
    """
    if len(data) > LARGEST:
        raise StoreError(f"can't write {path}: more than {LARGEST} bytes of tokens", path=path)
    with explained("write", path), _temporary(path) as new:
        _fill(new, data, flush=True)
        new.replace(path)
    flush_folder(path.parent)
    _sweep(path)


def prove_replaceable(path: Path, size: int) -> None:
    """Take all steps of `replace` but the last, without waiting for the disk, and undo them.

    ``size`` is the size of what is stored, in bytes.

    Raises:
      StoreError: `replace` would fail. The message says why.
    """
    if is_mount_point(path):
        raise StoreError(
            f"can't write {path}: it is mounted by itself, as a single file of a container is, and"
            " such a file can't be replaced; mount its folder instead",
            path=path,
        )
    with explained("write", path):
        _refuse_frozen(path)
        prove_room(path, size)


def prove_room(path: Path, size: int) -> None:
    """Make a temporary file beside a file, of twice the size at least, and remove it.

    Raises:
      OSError: That can't be done. There may be no room.
    """
    with _temporary(path) as new:
        # Random bytes: some file systems store zeros without using room for them.
        _fill(new, os.urandom(max(_ROOM, 2 * size)), flush=False)
        # Removed here, too: in an append-only folder this fails, as `replace` would.
        new.unlink()


def _refuse_frozen(path: Path) -> None:
    """Raise PermissionError if the file is immutable or append-only (chattr +i, +a)."""
    try:
        os.close(os.open(path, os.O_WRONLY | _NO_FOLLOW | _NO_WAITING | _BINARY))
    except OSError as exc:
        # A file without write permission (EACCES) can be replaced; a missing one need not be.
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
        # The umask may have removed permissions that we need; it can't have given any to others.
        # So an error, on a file system without permissions, may be ignored.
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
        # This may raise, too: a network file system may write only now.
        os.close(fd)


def _flush(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _CANNOT_FLUSH:
            raise


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system can do that.

    If it can't, that is no error: all processes see the new file already.
    """
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _sweep(path: Path) -> None:
    # A writer that was killed may have left a temporary file with tokens in it: remove those. We
    # hold the lock, so no other process writes now. The age is for file systems without locks.
    leftover = re.compile(rf"\.{re.escape(_stem(path))}\.[0-9a-f]{{16}}\.tmp")
    with suppress(OSError):
        for file in path.parent.iterdir():
            if (
                leftover.fullmatch(file.name)
                and file.lstat().st_mtime < time.time() - _LEFTOVER_AGE
            ):
                file.unlink()


def make_folder(folder: Path) -> None:
    """Make a private folder, and the missing ones above it."""
    for part in reversed((folder, *folder.parents)):
        if not part.is_dir():
            # Another process may be faster. If it made a file, the next step will say so.
            with suppress(FileExistsError):
                part.mkdir(mode=0o700)
                flush_folder(part.parent)
