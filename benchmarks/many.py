"""Many logins in one program: what a use costs, by the number of known logins; and a request."""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import trio

from ._many import (
    ATTACHED,
    AUTHLIBS,
    SESSIONS,
    SIDES,
    USE,
    bare_read,
    in_turn,
    keys_of,
    open_all,
    sessions,
    stored,
)
from ._measure import interleave, repeated, wall
from ._sides import FLOOR, OPENERS, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trioauth

    from ._measure import Work
    from ._report import Report

_KNOWN = {10: 60, 1000: 60, 100_000: 60}
"""How many logins the store knows, and how many rounds."""
_IN_MEMORY = 10_000
"""So many of them at most: that is 60 MB."""
_USES, _OPENINGS, _REQUESTS = 500, 50, 100
_USERS = 1000
_CHECKPOINT = "trio.lowlevel.checkpoint()"
_SELECT = "a bare SELECT in a thread"
_FLOORS = {
    USE: FLOOR["httpx"],
    SESSIONS: FLOOR["httpx"],
    ATTACHED: FLOOR["httpx2"],
    AUTHLIBS: FLOOR["httpx2"],
}


def run(report: Report) -> None:
    """Measure it."""
    for known, rounds in report.sizes(_KNOWN, quick=len(_KNOWN)).items():
        with TemporaryDirectory() as folder:
            trio.run(_uses, report, Path(folder, "logins.db"), known, rounds)
    for library in report.sides(*dict.fromkeys(_FLOORS.values())):
        with TemporaryDirectory() as folder:
            trio.run(_requests, report, Path(folder, "logins.db"), library)


# --- use -----------------------------------------------------------------------------------


async def _uses(report: Report, path: Path, known: int, rounds: int) -> None:
    keys = keys_of(known)
    store = await stored(path, keys)
    # In no order, as users come; but all rounds use the same keys.
    random.Random(0).shuffle(keys)  # noqa: S311  # no secret
    await _in_memory(report, store, keys, rounds)
    await _in_sqlite(report, store, keys, rounds)


async def _in_memory(
    report: Report, store: trioauth.SQLiteStore, keys: list[str], rounds: int
) -> None:
    known, keys = len(keys), keys[:_IN_MEMORY]
    async with sessions(World(), store, idle=3600) as opened:

        async def use(key: str) -> None:
            async with opened.use(key):
                pass

        for key in keys:
            await use(key)
        before = opened.statistics().opened
        turns: dict[str, Work] = {
            USE: repeated(in_turn(use, keys), _USES),
            _CHECKPOINT: repeated(trio.lowlevel.checkpoint, _USES),
        }
        times = await interleave(turns, rounds)
        what = f"read from the store in vain, {known:,} known"
        report.count("use", USE, what, opened.statistics().opened - before, aim=0)
    each = times.of(USE).scaled(1e6)
    report.add("use", USE, f"in memory, {known:,} known", each, unit="µs", aim=20)
    report.point("use-memory", USE, known, each.median)
    ratio = times.ratio(USE, _CHECKPOINT)
    report.ratio("use", USE, f"in memory, time over a bare checkpoint, {known:,} known", ratio)


async def _in_sqlite(
    report: Report, store: trioauth.SQLiteStore, keys: list[str], rounds: int
) -> None:
    known, read = len(keys), bare_read(store.path)
    # Dropped as soon as it is not used: so each use reads the record.
    async with sessions(World(), store, idle=0) as opened:
        uses = 0

        async def use(key: str) -> None:
            nonlocal uses
            uses += 1
            async with opened.use(key):
                pass

        sides = {USE: in_turn(use, keys), _SELECT: in_turn(read, keys)}
        times, computed = [
            await interleave({name: _timed(act, clock) for name, act in sides.items()}, rounds)
            for clock in (wall, time.process_time)
        ]
        missing = uses - opened.statistics().opened
        report.count(
            "use", USE, f"uses that did not read the store, {known:,} known", missing, aim=0
        )
    each = times.of(USE).scaled(1e3)
    report.add("use", USE, f"in SQLite, {known:,} known", each, unit="ms", aim=1)
    each = computed.of(USE).scaled(1e3)
    what = f"in SQLite, CPU of all threads, {known:,} known"
    report.add("use", USE, what, each, unit="ms")
    report.point("use-sqlite", USE, known, each.median)
    ratio = computed.ratio(USE, _SELECT)
    report.ratio("use", USE, f"in SQLite, CPU over {_SELECT}, {known:,} known", ratio)


def _timed(action: Callable[[], Awaitable[Any]], clock: Callable[[], float]) -> Work:
    """Make a turn of what waits for a thread; counts seconds of a clock each."""

    async def work() -> float:
        started = clock()
        for _ in range(_OPENINGS):
            await action()
        return (clock() - started) / _OPENINGS

    return work


# --- a request -----------------------------------------------------------------------------


async def _requests(report: Report, path: Path, floor: str) -> None:
    """Compare a request of one of many users, whose session or client is in memory."""
    world, keys = World(), keys_of(20 if report.effort == "count" else _USERS)
    store = await stored(path, keys)
    names = [name for name, its in _FLOORS.items() if its == floor]
    names = [name for name in names if name != AUTHLIBS or report.effort != "count"]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(OPENERS[floor](world))
        turns = {floor: repeated(partial(client.get, "/me"), _REQUESTS)}
        for name in names:
            keeper = await stack.enter_async_context(SIDES[name](world, store))
            await open_all(keeper, keys)
            get = partial(_get, keeper)
            turns[name] = repeated(in_turn(get, keys), _REQUESTS)
        times = await interleave(turns, report.rounds(100))
    for name in names:
        ratio = times.ratio(name, floor)
        what = f"a request of one of {len(keys):,}, time over a fixed header"
        report.ratio("use", name, what, ratio)


async def _get(keeper: Any, key: str) -> None:
    response = await keeper.get(key, "/me")
    assert response.status_code == 200, response
