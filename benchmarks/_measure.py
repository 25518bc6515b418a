"""Fair comparison: sides take turns in one process, in an order that varies."""

from __future__ import annotations

import gc
import random
import statistics
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence

Work: TypeAlias = "Callable[[], Awaitable[float]]"
"""Does something once, and returns how many seconds of it count."""

_RESAMPLES = 1000
_CERTAINTY = 0.95

cpu = time.thread_time
"""For what only computes: other programs on the machine don't lengthen it."""

wall = time.perf_counter
"""For what waits."""


@attrs.frozen
class Spread:
    """A median, and where it would lie 95 times out of 100 if all were done again."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up measured values (bootstrap of the median)."""
        draw = random.Random(0).choices  # noqa: S311  # statistics
        medians = sorted(statistics.median(draw(values, k=len(values))) for _ in range(_RESAMPLES))
        edge = round(_RESAMPLES * (1 - _CERTAINTY) / 2)
        return cls(statistics.median(values), medians[edge], medians[-1 - edge])

    def scaled(self, factor: float) -> Spread:
        """Return the same in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)


@attrs.frozen
class Times:
    """What each side took, in seconds, round by round."""

    rounds: Mapping[str, list[float]]

    def of(self, side: str) -> Spread:
        """Sum up the seconds of one side."""
        return Spread.of(self.rounds[side])

    def ratio(self, side: str, floor: str) -> Spread:
        """Sum up how one side compares with another in the same round."""
        pairs = zip(self.rounds[side], self.rounds[floor], strict=True)
        return Spread.of([ours / theirs for ours, theirs in pairs])

    def added(self, side: str, floor: str) -> Spread:
        """Sum up the seconds that one side takes longer than another in the same round."""
        pairs = zip(self.rounds[side], self.rounds[floor], strict=True)
        return Spread.of([ours - theirs for ours, theirs in pairs])


async def interleave(sides: Mapping[str, Work], rounds: int, *, warm: bool = True) -> Times:
    """Let the sides take turns, after one turn each that does not count unless ``warm`` is false.

    The garbage collector runs before each turn and not in it, for all alike. Whoever comes after
    another finds warm or cold caches: so the order is drawn anew each round.
    """
    order, shuffle = list(sides), random.Random(0).shuffle  # noqa: S311  # no secret
    times: dict[str, list[float]] = {name: [] for name in order}
    for work in sides.values() if warm else ():
        await work()
    with collected():
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                gc.collect()
                times[name].append(await sides[name]())
    return Times(times)


@contextmanager
def collected() -> Generator[None, None, None]:
    """Run the garbage collector before the block, and not in it."""
    gc.collect()
    # What exists now stays: collecting looks at what the block leaves behind.
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def repeated(action: Callable[[], Awaitable[object]], times: int) -> Work:
    """Make a turn of something that is too short to be timed once; counts CPU seconds each."""

    async def work() -> float:
        started = cpu()
        for _ in range(times):
            await action()
        return (cpu() - started) / times

    return work


def together(action: Callable[[], Awaitable[object]], tasks: int) -> Callable[[], Awaitable[None]]:
    """Make one action of doing something in many tasks at once."""

    async def task() -> None:
        await action()

    async def everybody() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(task)

    return everybody
