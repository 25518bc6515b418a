"""How many slots the session's own client should have; not part of the usual run.

Sockets are real, a server takes 1, 20 or 200 ms, and 100 to 3,000 requests want to go at once. A
slot count is set as anybody can set it: ``limits=httpx.Limits(max_connections=..., ...)``.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

import httpx
import trio

from ._measure import interleave, together, wall
from ._server import serving
from ._sides import OWN, World, session

if TYPE_CHECKING:
    from ._measure import Work
    from ._report import Report

_SIZES = (10, 20, 50, 100)
_LATENCIES = (1, 20, 200)
_CROWDS = (100, 1000, 3000)
_KEPT = 20
"""How many idle connections httpx keeps by default."""
_LONGEST = 30.0


def run(report: Report) -> None:
    """Measure it."""
    with serving() as url:
        trio.run(_run, report, World(url))


async def _run(report: Report, world: World) -> None:
    for latency in _LATENCIES:
        for tasks in _CROWDS:
            sides: dict[str, Work] = {}
            for size in _SIZES:
                # Where latency alone would take longer than anybody wants to wait for a figure.
                if tasks / size * latency / 1000 > _LONGEST / 3:
                    continue
                for kept in sorted({min(size, _KEPT), size}):
                    limits = httpx.Limits(max_connections=size, max_keepalive_connections=kept)
                    name = f"{size} slots, {kept} kept"
                    sides[name] = partial(_crowd, world, limits, tasks, latency)
            times = await interleave(
                sides, 1 if tasks > 1000 or report.effort != "full" else 3, warm=False
            )
            for name in sides:
                what = f"{tasks:,} requests of {latency} ms, {name}"
                report.add("limiter", OWN, what, statistics.median(times.rounds[name]), unit="s")


async def _crowd(world: World, limits: httpx.Limits, tasks: int, latency: int) -> float:
    async with session(world, limits=limits) as opened:
        client = opened.http
        started = wall()
        await together(partial(client.get, f"/wait/{latency}"), tasks)()
        return wall() - started
