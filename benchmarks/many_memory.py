"""Many logins in one program: the memory of each, in a process of its own for each measurement.

``python -m benchmarks.many_memory SIDE STATE COUNT HOW`` prints the bytes of each.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import trio

from ._many import AUTHLIBS, SESSIONS, SIDES, USE, keys_of, open_all, sessions, stored
from ._server import ROOT
from ._sides import World

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ._report import Report

_STATM = Path("/proc/self/statm")
_URL = "https://api.example.com"
"""Not in memory: a client for the network is measured, with all that it has. Nothing is sent."""
_OPENED, _USED, _IDLE = "opened", "used", "idle"
_TRACED, _RESIDENT, _OBJECTS = "tracemalloc", "RSS", "objects"
_COUNTS = {USE: 2000, SESSIONS: 500, AUTHLIBS: 50}
"""Of each side so many: an Authlib client may take a megabyte."""
_FIGURES = (
    (_OPENED, USE, "a session in memory", "KB", 6),
    (_USED, USE, "a session in memory that has sent a request", "KB", None),
    # The interpreter may keep a few bytes for later, whatever the number of logins.
    (_IDLE, USE, "an idle login", "B", 10),
    (_OPENED, SESSIONS, "a session", "KB", None),
    (_OPENED, AUTHLIBS, "a client", "KB", None),
)
_WARM, _WARM_IDLE = 10, 5000
"""So many before anything is measured: what all share is not counted. More idle ones, which fill
what is bounded: SQLite's cache of 2 MB, and Python's lists of freed objects."""


def run(report: Report) -> None:
    """Measure it."""
    small = report.effort == "count"
    for state, side, what, unit, aim in () if small else _FIGURES:
        count = _COUNTS[side]
        for how in (_TRACED, _RESIDENT) if _STATM.exists() else (_TRACED,):
            size = _measured(side, state, count, how) / (1024 if unit == "KB" else 1)
            traced = how == _TRACED
            report.add(
                "many memory", side, f"{what}, {how}", size,
                unit=unit, aim=aim if traced else None, guard=traced, note=f"of {count:,}",
            )  # fmt: skip
    count = 200 if small else _COUNTS[USE]
    # Rounded, for the same reason.
    objects = round(_measured(USE, _IDLE, count, _OBJECTS))
    report.count("many memory", USE, "objects that an idle login leaves", objects, aim=0)


def _measured(side: str, state: str, count: int, how: str) -> float:
    module = [sys.executable, "-m", "benchmarks.many_memory"]
    done = subprocess.run(  # noqa: S603
        [*module, side, state, str(count), how],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


# --- in a process of its own ---------------------------------------------------------------


async def _bytes(side: str, state: str, count: int, how: str) -> float:
    """Return what each of so many adds."""
    warm = _WARM_IDLE if state == _IDLE and how != _OBJECTS else _WARM
    with TemporaryDirectory() as folder:
        keys = keys_of(count + warm)
        store = await stored(Path(folder, "logins.db"), keys)
        async with _doing(side, state, store) as do:
            look = {_TRACED: _traced, _RESIDENT: _resident, _OBJECTS: _objects}[how]
            if how == _TRACED:
                tracemalloc.start()
            for key in keys[:warm]:
                await do(key)
            before = look()
            for key in keys[warm:]:
                await do(key)
            # An idle session is dropped by a task of its own.
            await trio.sleep(0.1)
            after = look()
    return (after - before) / count


@asynccontextmanager
async def _doing(side: str, state: str, store: Any) -> AsyncGenerator[Any, None]:
    """Give what is done with each login: a function of its key."""
    if state == _OPENED:
        async with SIDES[side](World(_URL), store) as keeper:

            async def open_one(key: str) -> None:
                await open_all(keeper, [key])

            yield open_one
        return
    # Requests go to a transport in memory, but the sessions are the same.
    async with sessions(World(), store, idle=0 if state == _IDLE else 3600) as opened:

        async def send(key: str) -> None:
            async with opened.use(key) as session:
                assert (await session.get("/me")).status_code == 200

        yield send


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _resident() -> int:
    gc.collect()
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def _main() -> None:
    side, state, count, how = sys.argv[1:]
    sys.stdout.write(f"{trio.run(_bytes, side, state, int(count), how)}\n")


if __name__ == "__main__":
    _main()
