"""Is a file mounted by itself, as Docker and Kubernetes do (bind mounts)? On which file system?"""

from __future__ import annotations

import os
import re
from pathlib import Path

# Linux has this file (proc_pid_mountinfo(5)). Other systems can't mount a single file.
_MOUNTS = Path("/proc/self/mountinfo")


def is_mount_point(path: Path) -> bool:
    """Say whether something is mounted at this very path, so that it can't be replaced.

    `os.path.ismount` does not see a file that comes from the same file system.
    """
    # The kernel's list has paths without links in them.
    wanted = os.fsencode(path.parent.resolve() / path.name)
    return any(_mount_point(line) == wanted for line in _mounts())


def file_system_of(folder: Path) -> str:
    """Return the kernel's name of the file system of a folder, such as "nfs4"; "" if unknown.

    The folder need not exist: then the one that it would be made in counts.
    """
    folder = folder.resolve()
    places = {os.fsencode(place) for place in (folder, *folder.parents)}
    above = [line for line in _mounts() if _mount_point(line) in places]
    # The innermost; and of two at one place the later one, which hides the earlier.
    innermost = max(reversed(above), key=lambda line: len(_mount_point(line)), default=b" -  ")
    return innermost.partition(b" - ")[2].split(b" ")[0].decode()


def _mounts() -> list[bytes]:
    try:
        return _MOUNTS.read_bytes().splitlines()
    except OSError:
        return []


def _mount_point(line: bytes) -> bytes:
    """Return the fifth field of a line, in which a blank, say, is written as three digits."""
    field = line.split(b" ", 5)[4]
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
