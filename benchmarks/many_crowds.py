"""Many logins in one program: 1,000 in use at once, and 1,000 that expire in one second."""

from __future__ import annotations

import gc
import ssl
import statistics
import time
from collections import Counter
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import trio
import trio.testing

import trioauth
from trioauth import events

from ._many import AUTHLIBS, LIFETIME, SIDES, USE, keys_of, open_all, sessions, stored
from ._measure import collected, interleave, wall
from ._server import serving
from ._sides import World, session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._measure import Work
    from ._report import Report

_USERS, _FEW = 1000, 50
_OF_PEER = 200
"""So many Authlib clients: a thousand would take half a minute to open, and a gigabyte."""
_LATENCY, _REFRESH = 20, 100
"""How many milliseconds a request and a refresh take."""
_ONE = "trioauth, one session"
_LIFE = 62.0
"""How long the first token still lives: two seconds until one is early by the default policy."""
_SECONDS = 30.0
"""Then all have been early for longer than a user's pause, and none is stale yet."""
_PAUSE = 10.0
"""How often each user sends a request, in seconds."""


def run(report: Report) -> None:
    """Measure it."""
    users = _FEW if report.effort == "count" else _USERS
    with serving() as url:
        in_folder(_at_once, report, World(url), users)
    _in_virtual_time(report, users)
    if report.effort != "count":
        for side, count in ((USE, users), (AUTHLIBS, _OF_PEER)):
            with serving() as url:
                world = World(url, token_path=f"/token/{_REFRESH}")
                in_folder(_expiring, report, world, side, count)


def in_folder(function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run a function, with a path for a store as its last argument."""
    with TemporaryDirectory() as folder:
        trio.run(partial(function, *arguments, Path(folder, "logins.db")))


# --- in use at once ------------------------------------------------------------------------


async def _at_once(report: Report, world: World, users: int, path: Path) -> None:
    keys, outcome, peak = keys_of(users), Counter[int](), 0
    before = _contexts()
    async with (
        session(world) as one,
        sessions(world, await stored(path, keys), idle=3600) as many,
    ):
        # So that the client is not opened in one of the turns.
        await one.get("/wait/0")

        async def for_one(_: str) -> None:
            response = await one.get(f"/wait/{_LATENCY}")
            assert response.status_code == 200, response

        async def for_each(key: str) -> None:
            nonlocal peak
            async with many.use(key) as opened:
                figures = many.statistics()
                peak = max(peak, figures.in_memory - figures.idle - figures.opening)
                response = await opened.get(f"/wait/{_LATENCY}")
                outcome[response.status_code] += 1

        cold = await _crowd(for_each, keys)
        turns: dict[str, Work] = {
            _ONE: partial(_crowd, for_one, keys),
            USE: partial(_crowd, for_each, keys),
        }
        times = await interleave(turns, report.rounds(5))
        contexts = _contexts() - before
    case, n = "many at once", f"{users:,}"
    assert peak == users, peak
    errors = outcome.total() - outcome[200]
    report.count(case, USE, f"errors, {n} in use at once", errors, aim=0)
    report.count(case, USE, f"TLS contexts of {n} in use", contexts, aim=1)
    report.add(case, USE, f"{n} at once, opened from SQLite", cold, unit="s")
    for side in turns:
        report.add(case, side, f"{n} at once, in memory", times.of(side), unit="s")
    report.ratio(case, USE, f"time over one session, {n} at once", times.ratio(USE, _ONE))


async def _crowd(action: Callable[[str], Awaitable[None]], keys: Sequence[str]) -> float:
    started = wall()
    async with trio.open_nursery() as nursery:
        for key in keys:
            nursery.start_soon(action, key)
    return wall() - started


def _contexts() -> int:
    gc.collect()
    return sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects())


# --- expiring in one second: counted in virtual time ---------------------------------------


def _in_virtual_time(report: Report, users: int) -> None:
    case = "many expiring"
    for what, life, pause, aim in (
        # They go on using it while their tokens get early.
        ("in use", _LIFE, _PAUSE, 1.2),
        # They come back after their tokens have expired: evenly in one second, or all at once.
        ("asleep, back in one second", 0.0, 0.0, 1.2),
        ("asleep, back at once", 0.0, -1.0, None),
    ):
        clock = trio.testing.MockClock(autojump_threshold=0)
        crowd = trio.run(_counted, life, pause, users, clock=clock)
        n = f"{users:,} {what}"
        off = abs(crowd.refreshes - users)
        report.count(case, USE, f"refreshes more or less than one each, {n}", off, aim=0)
        longest = max(crowd.took) / (_REFRESH / 1000)
        if aim is not None:
            above = sum(took / (_REFRESH / 1000) > aim for took in crowd.took)
            report.count(case, USE, f"requests over {aim} refreshes, {n}", above, aim=0)
        note = "100 refreshes at once, the others wait their turn" if aim is None else ""
        report.add(
            case, USE, f"longest request over a refresh, {n}", longest,
            unit="times", guard=True, aim=aim, note=note,
        )  # fmt: skip
        if pause <= 0:
            # The count of those who waited counts.
            assert crowd.waited == users, crowd.waited
        else:
            report.count(case, USE, f"requests that waited for one, {n}", crowd.waited, aim=0)


@attrs.define
class _Crowd:
    """What a crowd of users saw."""

    took: list[float] = attrs.field(factory=list[float])
    """How long each request took, in seconds."""
    waited: int = 0
    refreshes: int = 0

    def note(self, event: events.Event) -> None:
        if isinstance(event, events.RefreshLanded):
            self.waited += event.waited


async def _counted(life: float, pause: float, users: int) -> _Crowd:
    world = World(waits=True, token_latency=_REFRESH / 1000)
    crowd, store, keys = _Crowd(), trioauth.KeyedMemoryStore(), keys_of(users)
    for number, key in enumerate(keys):
        tokens = trioauth.Tokens(f"access-{key}", f"refresh-{key}", LIFETIME)
        until = time.time() + life + number / users
        record = trioauth.Record(1, tokens, login=f"login-{key}", expires_at_unix=until)
        login = store.at(key)
        async with login.lock():
            await login.save(record, expected=0)
    if not life:
        await trio.sleep(1.0)
    async with sessions(world, store, idle=3600, observers=[crowd.note]) as opened:

        async def user(number: int) -> None:
            await trio.sleep(max(0.0, pause or 1.0) * number / users)
            for _ in range(round(_SECONDS / pause) if pause > 0 else 1):
                started = trio.current_time()
                async with opened.use(keys[number]) as its:
                    assert (await its.get("/me")).status_code == 200
                crowd.took.append(trio.current_time() - started)
                await trio.sleep(max(0.0, pause))

        async with trio.open_nursery() as nursery:
            for number in range(users):
                nursery.start_soon(user, number)
    crowd.refreshes = world.refreshes
    return crowd


# --- expiring in one second: timed on real sockets -----------------------------------------


async def _expiring(report: Report, world: World, side: str, users: int, path: Path) -> None:
    crowd, keys = _Crowd(), keys_of(users)
    lives = [_LIFE + number / users for number in range(users)]
    async with SIDES[side](world, await stored(path, keys, lives)) as keeper:
        await open_all(keeper, keys)
        # The client that all share, with its TLS context, is made for the first request.
        await keeper.get(keys[0], "/wait/0")

        async def user(number: int) -> None:
            await trio.sleep(_PAUSE * number / users)
            for _ in range(round(_SECONDS / _PAUSE)):
                started = wall()
                response = await keeper.get(keys[number], f"/wait/{_LATENCY}")
                assert response.status_code == 200, response
                crowd.took.append(wall() - started)
                await trio.sleep(max(0.0, _PAUSE - crowd.took[-1]))

        with collected():
            async with trio.open_nursery() as nursery:
                for number in range(users):
                    nursery.start_soon(user, number)
    async with httpx2.AsyncClient() as client:
        refreshes = int((await client.get(f"{world.base_url}/refreshes")).text)
    case, ours, n = "many expiring", side == USE, f"{users:,} in use, real sockets"
    what, off = f"refreshes more or less than one each, {n}", abs(refreshes - users)
    report.count(case, side, what, off, aim=0 if ours else None)
    refresh = _REFRESH / 1000
    half = statistics.median(crowd.took) / refresh
    report.add(case, side, f"median request over a refresh, {n}", half, unit="times")
    longest = max(crowd.took) / refresh
    aim = 1.2 if ours else None
    report.add(case, side, f"longest request over a refresh, {n}", longest, unit="times", aim=aim)
