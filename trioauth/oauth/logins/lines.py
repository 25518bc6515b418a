"""Reading a line that a person pastes, while something else is waited for.

The terminal is read only when a whole line is there. So a read that is cancelled leaves nothing
behind: no thread that would swallow the next line, which may be for the program. Windows has no
way to wait for a console with trio: there a thread waits, and takes one line more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TextIO

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# Windows, or an odd stream. A name of its own, so that tests can try both ways everywhere.
NEEDS_A_THREAD: Final = os.name == "nt"
# A terminal gives no more than this at once.
_LONGEST_LINE: Final = 4096


def can_read(stream: TextIO | None) -> bool:
    """Say whether a person may type there, and this process may read it. Not a checkpoint."""
    try:
        if stream is None or not stream.isatty():
            return False
        return NEEDS_A_THREAD or _is_in_foreground(stream.fileno())
    except (OSError, ValueError):
        # It is closed, or has no file beneath it.
        return False


def _is_in_foreground(fd: int) -> bool:
    """Say whether the terminal is ours: to a process in the background reading it means a stop."""
    # Asked for by name: these are not there on Windows, and type checkers know that.
    foreground: Callable[[int], int] = getattr(os, "tcgetpgrp")  # noqa: B009
    group: Callable[[], int] = getattr(os, "getpgrp")  # noqa: B009
    try:
        return foreground(fd) == group()
    except OSError:
        # Not the terminal that this process was started from: nothing stops it there.
        return True


async def read_line(stream: TextIO) -> str | None:
    """Read a line from a terminal.

    Returns:
      The line; None if there will be none.

    Cancellation:
      Safe. On Windows, the next line is lost.
    """
    if NEEDS_A_THREAD:
        line = await trio.to_thread.run_sync(
            stream.readline, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
        return line or None
    await trio.lowlevel.checkpoint()
    found = b""
    while not found.endswith(b"\n"):
        try:
            await trio.lowlevel.wait_readable(stream)
        except (OSError, trio.BusyResourceError):
            # It is closed, or another task reads it.
            return None
        part = _read_now(stream)
        if not part:
            return None
        found += part
    return found.decode("utf-8", "replace")


def _read_now(stream: TextIO) -> bytes:
    """Read what is there; nothing if that is the end, or the terminal is not ours any more."""
    if not can_read(stream):
        return b""
    try:
        return os.read(stream.fileno(), _LONGEST_LINE)
    except OSError:
        return b""
