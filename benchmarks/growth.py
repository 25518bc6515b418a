"""How the cost grows: waiters on one flight, and sessions in one program."""

from __future__ import annotations

import gc
import ssl
import tracemalloc
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

import trioauth

from ._measure import cpu, interleave
from ._sides import World, session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._measure import Work
    from ._report import Report

_WAITERS = {10: 60, 100: 60, 1000: 20, 10_000: 5, 100_000: 3}
"""How many tasks, and how many rounds of them."""
_SESSIONS = {1: 100, 10: 30, 100: 10, 1000: 3}
_EVENT, _FLIGHT = "a bare trio.Event", "await token()"


def run(report: Report) -> None:
    """Measure it."""
    for tasks, rounds in report.sizes(_WAITERS, quick=4).items():
        trio.run(_waiters, report, tasks, rounds)
    for sessions, rounds in report.sizes(_SESSIONS, quick=len(_SESSIONS)).items():
        trio.run(_sessions, report, sessions, rounds)
    trio.run(_memory, report)


# --- waiters -------------------------------------------------------------------------------


async def _waiters(report: Report, tasks: int, rounds: int) -> None:
    sides: dict[str, Callable[[Callable[[], None]], Awaitable[float]]] = {
        _EVENT: partial(_on_event, tasks),
        _FLIGHT: partial(_on_flight, tasks),
    }
    timed: dict[str, Work] = {name: partial(side, _nothing) for name, side in sides.items()}
    times = await interleave(timed, rounds, warm=tasks < 10_000)
    for name, side in sides.items():
        each = times.of(name).scaled(1e6 / tasks)
        report.add("waiters", name, f"each of {tasks:,}", each, unit="µs")
        report.point("waiters", name, tasks, each.median)
        if tasks <= 10_000:
            size = await _bytes(side) / tasks
            report.add("waiters", name, f"memory for each of {tasks:,}", size, unit="B")
            report.point("waiters-bytes", name, tasks, size)
    ratio = times.ratio(_FLIGHT, _EVENT)
    report.ratio("waiters", _FLIGHT, f"time over a bare trio.Event, {tasks:,}", ratio)


def _nothing() -> None:
    pass


async def _on_event(tasks: int, all_wait: Callable[[], None]) -> float:
    event = trio.Event()
    return await _crowd(event.wait, tasks, event.set, all_wait)


async def _on_flight(tasks: int, all_wait: Callable[[], None]) -> float:
    landing = trio.Event()

    async def grant(*_: object) -> trioauth.Tokens:
        await landing.wait()
        return trioauth.Tokens("access", "refresh", 3600)

    tokens = trioauth.Tokens("access-0", "refresh-0", 0)
    async with trioauth.open_session(grant, tokens=tokens, origins=["https://api.test"]) as opened:
        return await _crowd(opened.token, tasks, landing.set, all_wait)


async def _crowd(
    wait: Callable[[], Awaitable[Any]],
    tasks: int,
    wake: Callable[[], None],
    all_wait: Callable[[], None],
) -> float:
    """Return how long it takes to start tasks that wait, to wake them, and to see them end."""
    started = cpu()
    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(wait)
        # Until everybody has come to rest; a flight takes a few steps more than the tasks.
        for _ in range(6):
            await trio.lowlevel.checkpoint()
        all_wait()
        wake()
    return cpu() - started


async def _bytes(side: Callable[[Callable[[], None]], Awaitable[float]]) -> float:
    """Return the memory in use while everybody waits."""
    used = 0

    def look() -> None:
        nonlocal used
        used = tracemalloc.get_traced_memory()[0]

    gc.collect()
    tracemalloc.start()
    try:
        await side(look)
    finally:
        tracemalloc.stop()
    return used


# --- sessions ------------------------------------------------------------------------------


async def _sessions(report: Report, sessions: int, rounds: int) -> None:
    times = await interleave({"sessions": partial(_open_and_leave, sessions)}, rounds)
    each = times.of("sessions").scaled(1e6 / sessions)
    aim = 300 if sessions == 1 else None
    what = f"opening and leaving, each of {sessions:,}"
    report.add("session", "trioauth", what, each, unit="µs", aim=aim)
    report.point("sessions", "trioauth", sessions, each.median)


async def _open_and_leave(sessions: int) -> float:
    started = cpu()
    async with AsyncExitStack() as stack:
        for _ in range(sessions):
            await stack.enter_async_context(session(World()))
    return cpu() - started


async def _memory(report: Report) -> None:
    count = 100
    gc.collect()
    tracemalloc.start()
    try:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_on_the_network())
            contexts = _ssl_contexts()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                await stack.enter_async_context(_on_the_network())
            used = tracemalloc.get_traced_memory()[0] - before
            contexts = _ssl_contexts() - contexts
    finally:
        tracemalloc.stop()
    report.add("session", "trioauth", "memory of an idle one", used / count / 1024, unit="KB")
    what = f"SSL contexts of {count} idle ones beside another"
    report.count("session", "trioauth", what, contexts, aim=0)


def _on_the_network() -> Any:
    async def grant(*_: object) -> trioauth.Tokens:
        raise AssertionError("the token is fresh")

    tokens = trioauth.Tokens("access-0", "refresh-0", 3600)
    return trioauth.open_session(grant, tokens=tokens, base_url="https://api.example.com")


def _ssl_contexts() -> int:
    return sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects())
