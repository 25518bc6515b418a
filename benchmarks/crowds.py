"""Many requests at once, over real sockets: a long stream among them, and a crowd."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from ._measure import Spread, Times, interleave, together, wall
from ._server import serving
from ._sides import (
    AUTHLIB,
    AZURE,
    FLOOR,
    FLOOR_OF,
    HTTPX_AUTH,
    LOCK,
    MCP,
    OPENERS,
    OURS,
    OWN,
    World,
)

if TYPE_CHECKING:
    from ._measure import Work
    from ._report import Report

_LATENCY = 20
_STREAM = 20 * _LATENCY
_AT_ONCE = 20
_CROWDS = {100: 11, 1000: 5, 3000: 3}
_BORED = 60.0
_HOPELESS = 3000
_STORM = 1000
_CHECKPOINTS = (6, 7, 5, 8, 11, 12, 10, 4, 9) * 3
"""After so many, tasks connect on loopback, and bare httpx loses slots in one try of a few."""
_MANY = 50
_SHORT = 0.2


def run(report: Report) -> None:
    """Measure it."""
    with serving() as url:
        trio.run(_stream, report, World(url))
        trio.run(_crowd, report, World(url))
        trio.run(_expired, report, World(url, expires_in=0, token_path=f"/token/{_LATENCY}"))
        trio.run(_cancelled, report, World(url))


# --- one of them is long -------------------------------------------------------------------


async def _stream(report: Report, world: World) -> None:
    names = report.sides(
        *FLOOR.values(), *OURS.values(), OWN, *LOCK.values(), AUTHLIB, MCP, HTTPX_AUTH
    )
    async with AsyncExitStack() as stack:
        sides: dict[str, Work] = {}
        for name in names:
            client = await stack.enter_async_context(OPENERS[name](world))
            sides[name] = partial(_beside_a_stream, client)
        times = await interleave(sides, report.rounds(30))
    for name in names:
        report.add(
            "stream", name, "19 requests beside a stream", times.of(name).scaled(1e3), unit="ms"
        )
    for name in names:
        if name in FLOOR_OF:
            aim = 1.05 if name.startswith("trioauth") else None
            ratio = times.ratio(name, FLOOR_OF[name])
            report.ratio("stream", name, "time over a fixed header", ratio, aim=aim)
    report.cannot("stream", AZURE, "not measured: it signs no httpx client")


async def _beside_a_stream(client: Any) -> float:
    """Return how long 19 requests took while another one had been answered only in part."""
    begun = trio.Event()

    async def long_one() -> None:
        begun.set()
        async with client.stream("GET", f"/stream/{_STREAM}") as response:
            await response.aread()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(long_one)
        await begun.wait()
        await trio.sleep(_LATENCY / 1000 / 4)
        started = wall()
        await together(partial(client.get, f"/wait/{_LATENCY}"), _AT_ONCE - 1)()
        seconds = wall() - started
        nursery.cancel_scope.cancel()
    return seconds


# --- a crowd -------------------------------------------------------------------------------


async def _crowd(report: Report, world: World) -> None:
    for tasks, rounds in report.sizes(_CROWDS, quick=2).items():
        outcomes: dict[str, Counter[str]] = {}
        sides: dict[str, Work] = {}
        for name in (FLOOR["httpx2"], OURS["httpx2"], OWN):
            outcomes[name] = Counter()
            sides[name] = partial(_one_crowd, name, world, tasks, outcomes[name])
        times = await interleave(sides, rounds, warm=False)
        for name in sides:
            report.add("crowd", name, f"{tasks:,} at once", times.of(name), unit="s")
            report.point("crowd", name, tasks, times.of(name).median)
            errors = outcomes[name].total() - outcomes[name]["200"]
            aim = 0 if name == OWN else None
            report.add("crowd", name, f"errors, {tasks:,} at once", errors, guard=aim == 0, aim=aim)
        for name in (OURS["httpx2"], OWN):
            what = f"time over bare httpx2, {tasks:,} at once"
            report.ratio("crowd", name, what, times.ratio(name, FLOOR["httpx2"]))
        await _bare_httpx(report, world, tasks, times.of(OWN))


async def _bare_httpx(report: Report, world: World, tasks: int, ours: Spread) -> None:
    """Measure it once: it is slow, and the rounds would differ by little of that."""
    if tasks >= _HOPELESS:
        why = f"{tasks:,} at once: not run, it does not end within minutes"
        report.cannot("crowd", FLOOR["httpx"], why)
        return
    if report.effort != "full" and tasks > 100:
        return
    outcome: Counter[str] = Counter()
    seconds = await _one_crowd(FLOOR["httpx"], world, tasks, outcome)
    finished = outcome.total()
    note = "" if finished == tasks else f"given up after {_BORED:.0f} s: {finished:,} had ended"
    report.add("crowd", FLOOR["httpx"], f"{tasks:,} at once", seconds, unit="s", note=note)
    errors = finished - outcome["200"]
    report.add("crowd", FLOOR["httpx"], f"errors, {tasks:,} at once", errors, note=note)
    report.point("crowd", FLOOR["httpx"], tasks, seconds)
    what = f"time over bare httpx, {tasks:,} at once"
    report.add("crowd", OWN, what, ours.scaled(1 / seconds), unit="times", note=note)


async def _one_crowd(name: str, world: World, tasks: int, outcome: Counter[str]) -> float:
    """Return how long a crowd takes with a new client, connecting included."""

    async def task() -> None:
        try:
            response = await client.get(f"/wait/{_LATENCY}")
        except Exception as exc:  # noqa: BLE001  # counted
            outcome[type(exc).__name__] += 1
        else:
            outcome[str(response.status_code)] += 1

    async with OPENERS[name](world) as client:
        # The session's own client is made on first use; those of the others are there already.
        _ = getattr(client, "http", None)
        started = wall()
        with trio.move_on_after(_BORED):
            await together(task, tasks)()
        return wall() - started


# --- a crowd whose token has expired -------------------------------------------------------


async def _expired(report: Report, world: World) -> None:
    sides: dict[str, Work] = {}
    outcome: Counter[str] = Counter()
    tasks = 100 if report.effort == "count" else _STORM
    for name in (FLOOR["httpx2"], OURS["httpx2"], LOCK["httpx2"]):
        sides[name] = partial(_one_crowd, name, world, tasks, outcome)
    times = await interleave(sides, report.rounds(5), warm=False)
    floor = [seconds + _LATENCY / 1000 for seconds in times.rounds[FLOOR["httpx2"]]]
    times = Times({**times.rounds, FLOOR["httpx2"]: floor})
    for name in (OURS["httpx2"], LOCK["httpx2"]):
        what = f"time over N + 1 requests, N = {tasks:,}, real sockets"
        ratio = times.ratio(name, FLOOR["httpx2"])
        ours = name in OURS.values()
        note = "the first refresh of a session: its TLS context takes 50 ms" if ours else ""
        report.ratio("expiry storm", name, what, ratio, aim=1.15 if ours else None, note=note)
    assert outcome.keys() == {"200"}, outcome


# --- cancelled while connecting ------------------------------------------------------------


async def _cancelled(report: Report, world: World) -> None:
    tasks = 1000 if report.effort == "full" else 200
    ours = (OURS["httpx2"], OWN)
    for name in ours if report.effort == "count" else (*FLOOR.values(), *ours):
        lost, worst_status = 0, ""
        for checkpoints in _CHECKPOINTS[: 3 if report.effort == "count" else None]:
            slots, status = await _connect_and_cancel(name, world, tasks, checkpoints)
            if slots > lost:
                lost, worst_status = slots, status
            if lost > _MANY:
                break
        aim = 0 if name in ours else None
        note = f"the next request: {worst_status}" if lost else ""
        what = f"slots of 100 lost, {tasks:,} cancelled"
        report.add("cancelled", name, what, lost, guard=aim == 0, aim=aim, note=note)


async def _connect_and_cancel(
    name: str, world: World, tasks: int, checkpoints: int
) -> tuple[int, str]:
    async with OPENERS[name](world) as client:
        get = partial(client.get, f"/wait/{_LATENCY}", timeout=None)
        # Or the crowd might be cancelled while a pool is made, before anything connects; but with
        # no connection left in it.
        await client.get("/wait/0", headers={"Connection": "close"})
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(get)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        http: Any = getattr(client, "http", client)
        pool = _pool_of(http._transport)
        try:
            response = await client.get("/wait/0", timeout=_SHORT)
            outcome = str(response.status_code)
        except Exception as exc:  # noqa: BLE001  # told
            outcome = type(exc).__name__
        # A slot whose connection is neither at rest nor closed, although nobody is there any more.
        return sum(not (each.is_idle() or each.is_closed()) for each in pool.connections), outcome


def _pool_of(transport: Any) -> Any:
    """Return httpcore's pool, whatever stands before it."""
    while not hasattr(transport, "connections"):
        inner = "_pool" if hasattr(transport, "_pool") else "transport"
        transport = getattr(transport, inner)
    return transport
