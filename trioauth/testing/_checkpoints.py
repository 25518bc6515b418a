"""every_checkpoint: cancel a task wherever it can be cancelled, once each, and see what is left."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, final

import attrs
import trio
import trio.testing

from ._scheduler import seeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

ResultT = TypeVar("ResultT")

Phase: TypeAlias = Literal["asleep", "woken"]
"""When a task is cancelled:

``asleep``
    While it waits: it is cancelled right there.
``woken``
    When what it waited for has just come, and it is about to go on: it is cancelled at the next
    checkpoint, with a result in hand. This is where answers get lost.
"""

# More than any scenario has: a scenario that never ends must not go unnoticed.
_MOST_STEPS = 10_000
# How many functions a place is named by, from its inner end and from its outer end.
_FRAMES_SHOWN = 3
# Frames of these modules are left out of the name of a place: a victim in there waits for the test
# server, which is not a part of the tested program.
_NOT_SHOWN = {"_core", Path(__file__).parent.name}


@final
@attrs.frozen
class CancelPoint:
    """Where a victim was cancelled."""

    seed: int
    """The schedule."""
    phase: Phase
    step: int
    """The how manieth time it was so, from 1."""
    where: str
    """The functions that the victim was in, the innermost first."""

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.phase}, step {self.step}: {self.where}"


@final
@attrs.frozen
class Exploration:
    """What `every_checkpoint` has tried, and what went wrong."""

    points: tuple[CancelPoint, ...]
    """Each of them was one run of the scenario."""
    failures: tuple[tuple[CancelPoint, BaseException], ...]
    """Those where the scenario raised, and what."""

    def __str__(self) -> str:
        return f"{len(self.failures)} of {len(self.points)} cancellations broke the scenario"


@final
class Victim:
    """Runs the code that is to be cancelled; a scenario gets one as its argument."""

    def __init__(self, phase: Phase, step: int) -> None:
        self._instrument = _CancelAtStep(phase, step)
        self._called = False
        self.cancelled_at: float | None = None
        """When it was cancelled (`trio.current_time`), or None."""

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled. It may have succeeded, or failed, all the same."""
        return self.cancelled_at is not None

    async def __call__(
        self, function: Callable[..., Awaitable[ResultT]], /, *args: Any, **kwargs: Any
    ) -> ResultT | None:
        """Run ``function(*args, **kwargs)``, to be called once in a scenario.

        Returns:
          Its result, or None if it ended as cancelled.

        Cancellation:
          Is what this is about.
        """
        if self._called:
            raise RuntimeError("a scenario must call its victim once; make it one function")
        self._called = True
        instrument = self._instrument
        with instrument.scope:
            instrument.task = trio.lowlevel.current_task()
            try:
                return await function(*args, **kwargs)
            finally:
                instrument.task = None
                self.cancelled_at = instrument.cancelled_at
        return None

    def _check(self) -> None:
        if not self._called:
            raise RuntimeError("the scenario never called its victim, so nothing was cancelled")


@final
class _CancelAtStep(trio.abc.Instrument):
    """Counts how often a task sleeps, or wakes, and cancels a scope at one of these."""

    def __init__(self, phase: Phase, step: int) -> None:
        self._phase, self._step, self._seen = phase, step, 0
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.cancelled_at: float | None = None
        self.where = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self._phase == "woken":
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self._phase == "asleep":
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        self._seen += 1
        if self._seen == self._step:
            self.where = _where(task)
            self.cancelled_at = trio.current_time()
            self.scope.cancel(reason=f"every_checkpoint: {self._phase}, step {self._step}")


def _where(task: trio.lowlevel.Task) -> str:
    stack = traceback.StackSummary.extract(task.iter_await_frames(), lookup_lines=False)
    names = [
        f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"
        for frame in stack
        if Path(frame.filename).parent.name not in _NOT_SHOWN
    ][::-1]
    if len(names) > 2 * _FRAMES_SHOWN:
        names[_FRAMES_SHOWN:-_FRAMES_SHOWN] = ["..."]
    return ", called by ".join(names) or "the victim itself"


def _jumping_clock() -> trio.abc.Clock:
    return trio.testing.MockClock(autojump_threshold=0)


def every_checkpoint(
    scenario: Callable[[Victim], Awaitable[object]],
    *,
    seeds: Iterable[int] = range(3),
    keep_going: bool = False,
    timeout: float = 3600.0,
    clock: Callable[[], trio.abc.Clock] = _jumping_clock,
) -> Exploration:
    """Run a scenario once for each checkpoint of its victim, and cancel the victim there.

    ::

        async def checkout(victim):
            server = AuthServer()
            async with server.open_session() as session:
                server.expire()
                await victim(session.post, "/orders", json={"item": 1})
                # Whatever was cancelled: the login is not lost.
                assert (await session.get("/orders")).status_code == 200

        def test_a_cancelled_checkout_does_not_log_us_out():
            every_checkpoint(checkout)

    Each run is a `trio.run` of its own, with a virtual clock that jumps to the next thing that
    happens, and with a repeatable schedule. Only the task that calls the victim is cancelled, and
    within the call; everything else of the scenario goes on. Then a last run for each schedule
    cancels nothing: it must succeed as well.

    Use nothing in the scenario that takes real time, such as a socket or a `FileStore`: that clock
    would jump past it. `AuthServer.transport` is in memory. Or pass another ``clock``.

    Args:
      scenario: An async function that gets a `Victim`, awaits ``victim(function, *args)`` once,
          and then checks what must hold.
      seeds: The schedules to try.
      keep_going: Return failures rather than raise the first one.
      timeout: Seconds on that clock for one run. One that takes longer hangs.
      clock: Makes the clock of a run.

    Returns:
      What was tried.

    Raises:
      Exception: What the scenario raised, with a note that says where the victim was cancelled.
      RuntimeError: The scenario is none (it never calls its victim, or twice), or this is called
          from async code: it starts trio itself.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("every_checkpoint() starts trio itself: call it from a synchronous test")
    trial = _Trial(scenario, timeout, clock)
    points: list[CancelPoint] = []
    failures: list[tuple[CancelPoint, BaseException]] = []
    for seed in seeds:
        for phase in ("asleep", "woken"):
            for step in range(1, _MOST_STEPS + 1):
                point, error = trial.run(seed, phase, step)
                if error is not None and (point is None or not keep_going):
                    place = str(point) if point else f"seed {seed}: without any cancellation"
                    error.add_note(f"every_checkpoint: {place}")
                    raise error
                if point is None:
                    break
                points.append(point)
                if error is not None:
                    failures.append((point, error))
            else:
                raise RuntimeError(f"the victim had {_MOST_STEPS} checkpoints, and more")
    return Exploration(tuple(points), tuple(failures))


@final
@attrs.frozen
class _Trial:
    """How a scenario is run once."""

    scenario: Callable[[Victim], Awaitable[object]]
    timeout: float
    make_clock: Callable[[], trio.abc.Clock]

    def run(
        self, seed: int, phase: Phase, step: int
    ) -> tuple[CancelPoint | None, BaseException | None]:
        """Return where the victim was cancelled, if it was, and what the scenario raised."""
        victim = Victim(phase, step)
        instrument = victim._instrument

        async def main() -> None:
            with trio.fail_after(self.timeout):
                await self.scenario(victim)
            victim._check()

        error: BaseException | None = None
        try:
            with seeded(seed):
                trio.run(main, clock=self.make_clock(), instruments=[instrument])
        except (KeyboardInterrupt, SystemExit):
            raise
        # A Cancelled, too: one that got out of its scope is a finding.
        except BaseException as exc:  # noqa: ASYNC103, BLE001
            error = exc
        if instrument.cancelled_at is None:
            return None, error
        return CancelPoint(seed, phase, step, instrument.where), error
