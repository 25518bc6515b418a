"""One request with a fresh token, over a transport in memory: what nearly all requests are."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from ._measure import interleave, repeated
from ._sides import AZURE, FLOOR_OF, OPENERS, OURS, OWN, World

if TYPE_CHECKING:
    from ._report import Report

_AIMS = {OURS["httpx"]: 1.02, OURS["httpx2"]: 1.02, OWN: 1.03}
# So many in a turn that it does not matter with whose code the caches were full before it.
_REQUESTS = 100


def run(report: Report) -> None:
    """Measure it, library by library.

    A program uses one of them. Python makes bytecode faster for the types that it meets, and what
    httpx and httpx2 share, such as our flow, would in turns be made for the other one.
    """
    for floor in report.sides(*dict.fromkeys(FLOOR_OF.values())):
        trio.run(_run, report, floor)


async def _run(report: Report, floor: str) -> None:
    world = World()
    sides = report.sides(*(side for side, its in FLOOR_OF.items() if its == floor))
    async with AsyncExitStack() as stack:
        turns = {}
        for name in (floor, *sides):
            client = await stack.enter_async_context(OPENERS[name](world))
            turns[name] = repeated(partial(client.get, "/me"), _REQUESTS)
        times = await interleave(turns, report.rounds(200))
    report.add("fresh", floor, "one request", times.of(floor).scaled(1e6), unit="µs")
    for side in sides:
        note = "over azure-core's own pipeline: it signs no httpx client" if side == AZURE else ""
        ratio = times.ratio(side, floor)
        report.ratio(
            "fresh", side, "time over a fixed header", ratio, aim=_AIMS.get(side), note=note
        )
        added = times.added(side, floor).scaled(1e6)
        report.add("fresh", side, "added to a request", added, unit="µs")
