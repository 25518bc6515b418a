"""Is a file mounted by itself? Docker and Kubernetes do that with single files (bind mounts)."""

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
    try:
        mounts = _MOUNTS.read_bytes()
    except OSError:
        return False
    # The kernel's list has paths without links in them.
    wanted = os.fsencode(path.parent.resolve() / path.name)
    return any(_mount_point(line) == wanted for line in mounts.splitlines())


def _mount_point(line: bytes) -> bytes:
    """Return the fifth field of a line, in which a blank, say, is written as three digits."""
    field = line.split(b" ", 5)[4]
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
