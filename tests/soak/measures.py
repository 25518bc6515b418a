"""What a process holds: memory, open files, threads, and objects of the packages that matter."""

from __future__ import annotations

import gc
import statistics
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PACKAGES = frozenset({"trioauth", "httpx", "httpx2", "httpcore", "httpcore2"})
_OPEN_FILES = Path("/proc/self/fd")
_STATUS = Path("/proc/self/status")


@final
@attrs.frozen
class Sample:
    """What this process holds at a moment."""

    time: float
    """On trio's clock."""
    memory: float
    """Megabytes (the resident set); 0 where the system doesn't tell."""
    files: int
    """Open file descriptors; 0 where the system doesn't tell."""
    threads: int
    tasks: int
    objects: Counter[str]
    """Instances by the name of their class."""


def take_sample() -> Sample:
    """Look. Not a checkpoint."""
    gc.collect()
    return Sample(
        trio.current_time(),
        _memory(),
        len(list(_OPEN_FILES.iterdir())) if _OPEN_FILES.exists() else 0,
        threading.active_count(),
        trio.lowlevel.current_statistics().tasks_living,
        count_objects(),
    )


def count_objects() -> Counter[str]:
    """Count the instances of the classes of ours, and of the HTTP libraries."""
    count: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        # What some libraries' classes have there is no name.
        package = str(kind.__module__).partition(".")[0]
        if package in _PACKAGES:
            count[f"{package}.{kind.__qualname__}"] += 1
    return count


def growth(samples: Sequence[Sample], measure: Callable[[Sample], float]) -> float:
    """Return by how much something grew: from the middle of the first third to that of the last.

    The first fifth is the warm-up, and left out.
    """
    settled = samples[len(samples) // 5 :]
    third = max(len(settled) // 3, 1)
    first, last = settled[:third], settled[-third:]
    return statistics.median(map(measure, last)) - statistics.median(map(measure, first))


def _memory() -> float:
    if sys.platform != "linux":
        return 0.0
    for line in _STATUS.read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
