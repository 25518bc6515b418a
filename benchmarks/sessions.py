"""Many sessions in one program, one for each user: 200 of them, and one request each."""

from __future__ import annotations

import gc
import ssl
import tracemalloc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from ._measure import wall
from ._server import serving
from ._sides import World, session

if TYPE_CHECKING:
    import trioauth

    from ._report import Report

_SESSIONS = 200
_LATENCY = 20
_BYTES = 25


def run(report: Report) -> None:
    """Measure it. Memory in a turn of its own: tracing it makes everything slow."""
    sessions = 20 if report.effort == "count" else _SESSIONS
    with serving() as url:
        program = trio.run(_watched, World(url), sessions)
        size = trio.run(_traced, World(url), sessions) / sessions / 1024
    what = f"TLS contexts made by {sessions}"
    report.count("sessions", "trioauth", what, program.contexts, aim=1)
    what = f"memory of each of {sessions}"
    report.add("sessions", "trioauth", what, size, unit="KB", aim=_BYTES, guard=True)
    what = f"{sessions} sessions, opened, used and left"
    report.add("sessions", "trioauth", what, program.seconds, unit="s")
    what = f"longest time that the event loop was blocked by {sessions}"
    report.add("sessions", "trioauth", what, program.blocked * 1e3, unit="ms")


@attrs.define(eq=False)
class _Program(trio.abc.Instrument):
    """What a program with many sessions makes, and how long it keeps the event loop waiting."""

    contexts: int = 0
    seconds: float = 0.0
    blocked: float = 0.0
    """The longest step of a task."""
    _step_began: float = attrs.field(factory=wall)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's
        self._step_began = wall()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # trio's
        self.blocked = max(self.blocked, wall() - self._step_began)


async def _watched(world: World, sessions: int) -> _Program:
    program = _Program()
    before, started = _contexts(), wall()
    trio.lowlevel.add_instrument(program)
    async with AsyncExitStack() as stack:
        await _use(world, sessions, stack)
        trio.lowlevel.remove_instrument(program)
        program.seconds = wall() - started
        # Counted while all are open: what is shared is one, whenever it was made.
        program.contexts = _contexts() - before
    return program


async def _traced(world: World, sessions: int) -> int:
    """Return the bytes in use when all have had their answers; what all share is not in it."""
    async with AsyncExitStack() as stack:
        await _use(world, 1, stack)
        gc.collect()
        tracemalloc.start()
        try:
            await _use(world, sessions, stack)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


async def _use(world: World, sessions: int, stack: AsyncExitStack) -> None:
    """Open sessions, and let all of them send a request at once."""
    opened = [await stack.enter_async_context(session(world)) for _ in range(sessions)]
    async with trio.open_nursery() as nursery:
        for each in opened:
            nursery.start_soon(_request, each)


async def _request(opened: trioauth.Session) -> None:
    response = await opened.get(f"/wait/{_LATENCY}")
    assert response.status_code == 200, response


def _contexts() -> int:
    gc.collect()
    return sum(isinstance(each, ssl.SSLContext) for each in gc.get_objects())
