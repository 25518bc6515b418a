"""The flow alone, without a client; and the token without a request."""

from __future__ import annotations

import sys
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import trio
import trio.testing

from ._measure import cpu, interleave, repeated
from ._sides import IN_MEMORY, World, session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from ._measure import Work
    from ._report import Report

_TIMES = 500
_CHECKPOINT = "trio.lowlevel.checkpoint()"
_FIXED = "a flow that sets a header"


async def _fixed(request: Any) -> AsyncGenerator[Any, Any]:
    """Do the least that an auth flow can do."""
    request.headers["Authorization"] = "Bearer access"
    yield request


def run(report: Report) -> None:
    """Measure it."""
    trio.run(_flow, report)
    trio.run(_token, report)


async def _flow(report: Report) -> None:
    async with session(World()) as opened:
        flows: dict[str, Callable[[], None]] = {}
        libraries: list[Any] = [httpx, httpx2]
        for library in libraries:
            name = library.__name__
            request = library.Request("GET", f"{IN_MEMORY}/me")
            response = library.Response(200, request=request, content=b"ok")
            # The flow as httpx gets it. Nothing is sent, so nothing is open.
            auth = opened.attach(library.AsyncClient()).auth
            flows[f"trioauth on {name}"] = _by_hand(
                partial(auth.async_auth_flow, request), response
            )
            flows[f"{_FIXED}, {name}"] = _by_hand(partial(_fixed, request), response)
        with trio.testing.assert_no_checkpoints():
            times = await interleave(
                {name: _often(flow) for name, flow in flows.items()}, report.rounds(200)
            )
        for name, flow in flows.items():
            aim = 5 if name.startswith("trioauth") else None
            report.add(
                "flow", name, "the flow alone", times.of(name).scaled(1e6), unit="µs", aim=aim
            )
            report.add("flow", name, "memory at its peak", _peak(flow), unit="B")
            left = _blocks_left(flow)
            report.count("flow", name, "blocks of memory left behind by 1,000", left)
            if name.startswith("trioauth"):
                # Driving it by hand would have ended in an error, had it awaited anything.
                report.count("flow", name, "awaits, locks and checkpoints", 0, aim=0)


def _by_hand(start: Callable[[], AsyncGenerator[Any, Any]], response: Any) -> Callable[[], None]:
    """Do what httpx does with a flow, without an event loop: no step may have to wait."""

    def flow() -> None:
        steps = start()
        try:
            steps.__anext__().send(None)
        except StopIteration:
            pass  # That is how a coroutine that waited for nothing returns.
        else:
            raise AssertionError("the flow waited before the request")
        try:
            steps.asend(response).send(None)
        except StopAsyncIteration:
            return
        raise AssertionError("the flow waited, or wanted another request")

    return flow


def _often(flow: Callable[[], None]) -> Work:
    async def work() -> float:  # as all work is
        started = cpu()
        for _ in range(_TIMES):
            flow()
        return (cpu() - started) / _TIMES

    return work


def _peak(flow: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        flow()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        flow()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _blocks_left(flow: Callable[[], None]) -> int:
    flow()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        flow()
    # Give or take what the interpreter itself keeps for later.
    return max(0, sys.getallocatedblocks() - before) // 1000


async def _token(report: Report) -> None:
    async with session(World()) as opened:

        async def nowait() -> None:  # to be timed like the others
            opened.token_nowait()

        async def nothing() -> None:
            pass

        sides = {
            "token_nowait()": repeated(nowait, _TIMES),
            "nothing": repeated(nothing, _TIMES),
            "await token()": repeated(opened.token, _TIMES),
            _CHECKPOINT: repeated(trio.lowlevel.checkpoint, _TIMES),
        }
        times = await interleave(sides, report.rounds(200))
    nowait_takes = times.added("token_nowait()", "nothing").scaled(1e6)
    report.add("token", "token_nowait()", "one call", nowait_takes, unit="µs", aim=1)
    for name in ("await token()", _CHECKPOINT):
        report.add("token", name, "one call", times.of(name).scaled(1e6), unit="µs")
    ratio = times.ratio("await token()", _CHECKPOINT)
    report.ratio("token", "await token()", "time over a bare checkpoint", ratio, aim=1.5)
