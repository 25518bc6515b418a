"""Many tasks meet a token that is refused, or expired, or can't be renewed, all at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

import trioauth

from ._measure import cpu, interleave, together
from ._sides import (
    AUTHLIB,
    AZURE,
    AZURE_FLOOR,
    FLOOR,
    FLOOR_OF,
    HTTPX_AUTH,
    LOCK,
    MCP,
    OPENERS,
    OURS,
    World,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._measure import Times, Work
    from ._report import Report

_SIZES = {100: 40, 1000: 10, 10_000: 3}
"""How many tasks, and how many rounds of them."""
_COMPARED = 1000
"""The storm that the peers are in, too."""
_WAITERS = 10_000


def run(report: Report) -> None:
    """Measure it."""
    trio.run(_refused, report)
    trio.run(_expired, report)
    _down(report)


# --- 401 -----------------------------------------------------------------------------------


async def _refused(report: Report) -> None:
    for tasks, rounds in report.sizes(_SIZES, quick=2).items():
        names = [*OURS.values(), *FLOOR.values()]
        if tasks == _COMPARED:
            names += LOCK.values()
        storms = {name: _Storm(name, tasks, twice=name in FLOOR.values()) for name in names}
        times = await _measured(storms, rounds, tasks)
        for name, storm in storms.items():
            _growth(report, "storm-401", name, tasks, times)
            if name in FLOOR_OF:
                assert storm.requests == 2 * tasks, storm.requests
                _say(report, "401 storm", name, tasks, storm, times, 1.10, "2N bare requests")
    for name in (AUTHLIB, HTTPX_AUTH, AZURE):
        report.cannot("401 storm", name, "hands the 401 back")
    report.cannot("401 storm", MCP, "a 401 asks for a new login, never for a refresh")


# --- expiry --------------------------------------------------------------------------------


async def _expired(report: Report) -> None:
    for tasks, rounds in report.sizes(_SIZES, quick=2).items():
        names = [*OURS.values(), *FLOOR.values()]
        if tasks == _COMPARED:
            names += [*LOCK.values(), AUTHLIB, MCP, HTTPX_AUTH, AZURE, AZURE_FLOOR]
        storms = {
            name: _Storm(name, tasks, expires_in=0, refreshes=name in FLOOR_OF.values())
            for name in names
        }
        times = await _measured(storms, rounds, tasks)
        for name, storm in storms.items():
            _growth(report, "storm-expiry", name, tasks, times)
            if name in FLOOR_OF:
                assert storm.requests == tasks, storm.requests
                _say(report, "expiry storm", name, tasks, storm, times, 1.15, "N + 1 requests")


class _Storm:
    """One side in a storm: each turn in a world of its own."""

    def __init__(
        self,
        name: str,
        tasks: int,
        *,
        twice: bool = False,
        refreshes: bool = False,
        expires_in: float = 3600,
    ) -> None:
        self.requests = self.refreshed = 0
        self._name, self._tasks, self._expires_in = name, tasks, expires_in
        self._twice, self._refreshes = twice, refreshes

    async def turn(self) -> float:
        """Run it once, and count."""
        refused = "access-0" if self._expires_in else ""
        world = World(waits=True, expires_in=self._expires_in, refused=refused)
        async with OPENERS[self._name](world) as client:
            started = cpu()
            if self._refreshes:
                # What the floor would have to do, too: to get tokens.
                await getattr(client, "post", client.get)("/token")
            await together(partial(self._task, client), self._tasks)()
            seconds = cpu() - started
        self.requests = world.requests
        self.refreshed = max(self.refreshed, world.refreshes)
        return seconds

    async def _task(self, client: Any) -> None:
        response = await client.get("/me")
        if self._twice:
            response = await client.get("/me")
        if response.status_code != 200:
            raise AssertionError(f"{self._name}: status {response.status_code}")


async def _measured(storms: dict[str, _Storm], rounds: int, tasks: int) -> Times:
    sides: dict[str, Work] = {name: storm.turn for name, storm in storms.items()}
    return await interleave(sides, rounds, warm=tasks <= _COMPARED)


def _say(  # noqa: PLR0917
    report: Report,
    case: str,
    name: str,
    tasks: int,
    storm: _Storm,
    times: Times,
    aim: float,
    floor: str,
) -> None:
    ours = name in OURS.values()
    report.count(case, name, f"refreshes, N = {tasks:,}", storm.refreshed, aim=1 if ours else None)
    ratio = times.ratio(name, FLOOR_OF[name])
    what = f"time over {floor}, N = {tasks:,}"
    report.ratio(case, name, what, ratio, aim=aim if ours else None)


def _growth(report: Report, chart: str, name: str, tasks: int, times: Times) -> None:
    if name in {*OURS.values(), *FLOOR.values()}:
        report.point(chart, name, tasks, times.of(name).median * 1e6 / tasks)


# --- a server that is down -----------------------------------------------------------------


def _down(report: Report) -> None:
    policy = trioauth.RefreshPolicy()
    names = report.sides(OURS["httpx2"], LOCK["httpx2"], AUTHLIB, MCP, HTTPX_AUTH, AZURE)
    tasks = {"full": _WAITERS, "quick": _WAITERS // 10, "count": 100}[report.effort]
    for name in names:
        # Virtual time, 20 ms for each call: pauses and latencies cost nothing but are counted.
        clock = trio.testing.MockClock(autojump_threshold=0)
        ours = name in OURS.values()
        calls, told, seconds, each = trio.run(_in_vain, name, tasks, clock=clock)
        case, who = "down", name
        report.count(case, who, "calls to it", calls, aim=policy.attempts if ours else None)
        note = "" if name != HTTPX_AUTH else "plus the calls themselves: they stop the event loop"
        report.add(case, who, "time until all know", seconds, unit="s", note=note)
        if ours:
            report.add(case, who, "CPU time for each waiter", each * 1e6, unit="µs")
        if told != tasks:
            note = "the others were let through without a token that works"
            report.add(case, who, f"tasks of {tasks:,} that were told", told, note=note)


async def _in_vain(name: str, tasks: int) -> tuple[int, int, float, float]:
    """Return calls, how many tasks got an error, virtual seconds, CPU seconds for each task."""
    world = World(waits=True, expires_in=0, token_status=503, token_latency=0.02)
    told = 0

    async def task() -> None:
        nonlocal told
        try:
            await client.get("/me")
        except Exception:  # noqa: BLE001  # each library has its own
            told += 1

    async with OPENERS[name](world) as client:
        started, computed = trio.current_time(), cpu()
        everybody: Callable[[], Awaitable[None]] = together(task, tasks)
        await everybody()
        return world.refreshes, told, trio.current_time() - started, (cpu() - computed) / tasks
