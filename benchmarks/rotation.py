"""A rotation under steady load, over real sockets: does anybody notice it?"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import trio

import trioauth

from ._measure import Spread, wall
from ._report import say
from ._server import serving
from ._sides import FLOOR, LOCK, OURS, World, attached, bare, locked

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ._report import Report

_RATE = 200
"""Requests a second, whatever becomes of those before."""
_LATENCY = 20
_REFRESH = 100
"""Milliseconds that the API and the token endpoint take."""
_LIFETIME = 2.5
"""Short, so that there are many rotations: one each two seconds or so."""
_SECONDS, _FLOOR_SECONDS = 50, 20
_COUNT_RATE, _COUNT_LIFETIME, _COUNT_SECONDS = 20, 10.0, 9
"""For counting alone: a busy machine may stall for two seconds, and still no request waits."""
_PERCENTILES = (50, 99, 99.9)
_RESAMPLES = 300


@attrs.define
class Load:
    """Requests at a steady rate, and when the token was rotated meanwhile."""

    rate: int = _RATE
    sent: list[tuple[float, float]] = attrs.field(factory=list)
    """When each was due, and how long it took from then."""
    rotations: list[float] = attrs.field(factory=list)
    waited: int = 0

    def note(self, event: trioauth.events.Event) -> None:
        """Observe a session."""
        match event:
            case trioauth.events.RefreshStarted():
                self.rotations.append(wall())
            case trioauth.events.WaitStarted():
                self.waited += 1
            case _:
                pass

    async def run(self, client: Any, seconds: float) -> None:
        """Send them."""

        async def request(due: float) -> None:
            await client.get(f"/wait/{_LATENCY}")
            self.sent.append((due, wall() - due))

        await client.get("/wait/0")
        started = wall()
        async with trio.open_nursery() as nursery:
            for number in range(int(seconds * self.rate)):
                due = started + number / self.rate
                await trio.sleep(max(0.0, due - wall()))
                nursery.start_soon(request, due)

    def seconds(self) -> tuple[list[list[float]], list[list[float]]]:
        """Return the durations in each second with a rotation, and in each second without."""
        begun, last = min(self.sent)[0], max(self.sent)[0]
        with_one = [(max(begun, at - 0.05), at + 0.95) for at in self.rotations]
        # The second before the next one begins.
        without = [(start - 1.0, start) for start, _ in with_one[1:]]
        return tuple(  # type: ignore[return-value]
            [
                [took for due, took in self.sent if start <= due < end]
                for start, end in spans
                if begun <= start and end <= last
            ]
            for spans in (with_one, without)
        )


def run(report: Report) -> None:
    """Measure it."""
    counting = report.effort == "count"
    seconds = {"full": _SECONDS, "quick": 12, "count": _COUNT_SECONDS}[report.effort]
    rate, lifetime = (_COUNT_RATE, _COUNT_LIFETIME) if counting else (_RATE, _LIFETIME)
    names = (FLOOR["httpx2"], OURS["httpx2"], LOCK["httpx2"])
    with serving() as url:
        path = f"/token/{_REFRESH}?lifetime={lifetime}"
        world = World(url, expires_in=lifetime, lifetime=lifetime, token_path=path)
        for name in names if not counting else (OURS["httpx2"],):
            # Of the floor a part is enough: nothing happens in it.
            floor = name == FLOOR["httpx2"]
            load = Load(rate)
            trio.run(_one, name, world, load, min(seconds, _FLOOR_SECONDS) if floor else seconds)
            _say(report, name, load)


async def _one(name: str, world: World, load: Load, seconds: float) -> None:
    opened: AbstractAsyncContextManager[Any]
    if name == OURS["httpx2"]:
        opened = attached(world, httpx2, observers=[load.note])
    elif name == LOCK["httpx2"]:
        opened = locked(world, httpx2)
    else:
        opened = bare(world, httpx2)
        # For the floor the same seconds, but nothing happens in them.
        load.rotations = [wall() + 2.0 * n for n in range(1, int(seconds / 2))]
    async with opened as client:
        if name == LOCK["httpx2"]:
            _watch(client.auth, load)
        await load.run(client, seconds)


def _watch(auth: Any, load: Load) -> None:
    """Note when a pasted lock refreshes, and who waits for it."""
    renew = auth.renew

    async def watched(used: str) -> None:
        if auth.lock.locked():
            load.waited += 1
        elif time.monotonic() >= auth.expires_at:
            load.rotations.append(wall())
            load.waited += 1
        await renew(used)

    auth.renew = watched


def _say(report: Report, name: str, load: Load) -> None:
    ours = name == OURS["httpx2"]
    if name != FLOOR["httpx2"]:
        aim = 0 if ours else None
        note = "" if ours else "a request that comes during a rotation waits for it"
        what = "requests that waited for a refresh"
        report.add("rotation", name, what, load.waited, aim=aim, guard=ours, note=note)
    assert load.rotations, "nothing was rotated"
    with_one, without = load.seconds()
    if len(with_one) < 2 or not without:
        say(f"{name}: too few rotations")
        return
    report.add("rotation", name, "rotations looked at", len(with_one))
    if ours:
        # In it the client for the token endpoint is made, TLS context and all.
        slowest = max(with_one[0]) * 1e3
        what = "slowest request in the second of the first rotation"
        report.add("rotation", name, what, slowest, unit="ms")
    for percent in _PERCENTILES:
        took = _percentile(_flat(with_one), percent) * 1e3
        report.add("rotation", name, f"p{percent} in a second with one", took, unit="ms")
        usual = _percentile(_flat(without), percent) * 1e3
        report.add("rotation", name, f"p{percent} in a second without", usual, unit="ms")
        most = 1.2 if ours else None
        what = f"p{percent} with one over without"
        ratio = _ratio(with_one, without, percent)
        report.add("rotation", name, what, ratio, unit="times", aim=most, guard=percent < 99)


def _ratio(with_one: list[list[float]], without: list[list[float]], percent: float) -> Spread:
    """Compare percentiles; whole seconds are drawn anew, because neighbours are alike."""
    draw = random.Random(0).choices  # noqa: S311  # statistics
    at = partial(_percentile, percent=percent)
    ratios = sorted(
        at(_flat(draw(with_one, k=len(with_one)))) / at(_flat(draw(without, k=len(without))))
        for _ in range(_RESAMPLES)
    )
    edge = round(_RESAMPLES * 0.025)
    return Spread(at(_flat(with_one)) / at(_flat(without)), ratios[edge], ratios[-1 - edge])


def _flat(seconds: list[list[float]]) -> list[float]:
    return [took for second in seconds for took in second]


def _percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
