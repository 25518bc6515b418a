"""Show: a session, its tasks, and somebody who cancels them; played on a stage, to the end."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING, Any, Protocol, final

import attrs
import trio

from trioauth._errors import LoggedOutError, StoreError

from .client import library
from .crowd import Crowd
from .remedies import NoShow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from trioauth._session import Session

    from .client import Get
    from .report import Report

# Of all tasks, so many are cancelled in a second.
_CANCELLED_A_SECOND = 0.04
_SHORTEST_PAUSE, _SHORTEST_ACT = 0.3, 0.2
# How long the curtain falls.
BOW = 0.6


@final
@attrs.frozen(kw_only=True)
class Options:
    """What the command line says about any show."""

    tasks: int = 200
    seconds: float = 15.0
    httpx2: bool = False
    timeline: Path | None = None
    seed: int | None = None


class Stage(Protocol):
    """Where a show is played: whose server it is, and what goes wrong there."""

    @property
    def subtitle(self) -> str:
        """A few words about it."""
        ...

    @property
    def rate(self) -> float:
        """Requests that all tasks together should send in a second."""
        ...

    def choose(self, chance: random.Random) -> str:
        """Return the path of the next request."""
        ...

    def unauthorized(self, crowd: Crowd) -> int:
        """Return how many 401s there were so far."""
        ...

    def open(self, show: Show) -> AbstractAsyncContextManager[tuple[Session, Get]]:
        """Open a session that is logged in; gives what its tasks ask with, too."""
        ...

    async def direct(self, show: Show, nursery: trio.Nursery) -> None:
        """Follow the script. The tasks that are still there at its end are cancelled."""
        ...

    async def report(self, show: Show) -> Report:
        """Say what came of it, after everything was closed."""
        ...


@final
@attrs.define(eq=False)
class Show:
    """The demo while it runs."""

    options: Options
    stage: Stage
    session: Session = attrs.field(init=False)
    get: Get = attrs.field(init=False)
    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    """Its tasks'; None before there were any."""
    crowd: Crowd = attrs.field(init=False)
    random: random.Random = attrs.field(init=False)
    act: str = attrs.field(default="the curtain rises", init=False)
    """What is happening now."""
    started: float = attrs.field(factory=trio.current_time, init=False)
    risen: float = attrs.field(factory=trio.current_time, init=False)
    """When the script began."""
    problem: str | None = attrs.field(default=None, init=False)
    """Why it ended before its time, and what to do."""
    explanation: str = attrs.field(default="", init=False)
    """What the session said of itself at last."""
    left_running: int = attrs.field(default=0, init=False)
    """Tasks that were there when nobody should have been."""

    def __attrs_post_init__(self) -> None:
        # Chance is for variety here, not for secrets.
        self.random = random.Random(self.options.seed)  # noqa: S311
        pause = max(_SHORTEST_PAUSE, self.options.tasks / self.stage.rate)
        network_error = library(httpx2=self.options.httpx2).RequestError
        self.crowd = Crowd(self.random, pause, self.stage.choose, network_error)

    async def play(self) -> Report:
        """Play it to the end, and say what came of it.

        Cancellation:
          Delayed, as leaving a session is. Everything is closed.
        """
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            async with self.stage.open(self) as (self.session, self.get):
                self.risen = trio.current_time()
                await self._perform()
                await trio.sleep(BOW)
                self.explanation = self.session.explain()
        except (NoShow, StoreError) as exc:
            self.problem = str(exc)
        self.left_running += trio.lowlevel.current_statistics().tasks_living - before
        return await self.stage.report(self)

    async def _perform(self) -> None:  # noqa: ASYNC910  # to open the nursery is a checkpoint
        try:
            async with self.session.open_nursery() as nursery:
                self.nursery = nursery
                for slot in range(self.options.tasks):
                    self.crowd.hire(nursery, slot, self.get)
                nursery.start_soon(self._disturb, nursery)
                await self.stage.direct(self, nursery)
                nursery.cancel_scope.cancel(reason="the script is at its end")
        except LoggedOutError:
            self.act = "logged out, and every task was told"

    async def _disturb(self, nursery: trio.Nursery) -> None:
        """Cancel tasks at random, those that wait for a refresh sooner than others."""
        tasks = self.options.tasks
        while True:
            pause = 1 / (_CANCELLED_A_SECOND * tasks)
            await trio.sleep(pause * self.random.uniform(0.5, 1.5))
            waiting = self.crowd.waiting
            if waiting and self.random.random() < 0.5:
                self.replace(nursery, self.random.choice(waiting))
            else:
                self.replace(nursery, self.random.randrange(tasks))

    # --- for the script --------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started

    @property
    def share(self) -> float:
        """How much of the script is over."""
        return min((trio.current_time() - self.risen) / self.options.seconds, 1.0)

    async def until(self, share: float, act: str) -> None:
        """Say what happens, until that share of the script is over.

        Cancellation:
          Safe.
        """
        self.act = act
        now, end = trio.current_time(), self.risen + share * self.options.seconds
        # Where the one before took long, it is short, but it is seen.
        await trio.sleep_until(max(end, now + _SHORTEST_ACT))

    def replace(self, nursery: trio.Nursery, slot: int) -> None:
        """Cancel a task, and start another in its place. Not a checkpoint."""
        self.crowd.replace(nursery, slot, self.get)

    def stop(self, problem: str) -> None:
        """End it before its time; only the first reason counts. Not a checkpoint."""
        self.problem = self.problem or problem
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel(reason="the demo can't go on")


def seen(show: Show, *, unauthorized: int, wait_limit: float) -> dict[str, Any]:
    """Collect the fields of `report.Seen` after a show."""
    crowd, count = show.crowd, show.crowd.count
    return {
        "requests": count["requests"],
        "refused_once": count["refused 1"],
        "refused_twice": count["refused 2"],
        "unauthorized": unauthorized,
        "resent": count["resent"],
        "most_attempts": crowd.most_attempts,
        "unavailable": count["unavailable"],
        "faults": count["faults"],
        "refreshes": count["refreshes"],
        "landed": count["landed"],
        "failed": count["failed"],
        "generations": count["generations"],
        "unsaved": count["unsaved"],
        "cancelled": count["cancelled"],
        "cancelled_waiting": count["cancelled_waiting"],
        "slowest_exit": crowd.slowest_exit,
        "longest_wait": crowd.longest_wait,
        "wait_limit": wait_limit,
        "ended": crowd.ended,
        "tasks": crowd.present,
        "saw_collapse": count["told"],
        "left_running": show.left_running,
        "explanation": show.explanation,
    }


async def run(show: Show, watch: Callable[[Show], Awaitable[None]]) -> Report:
    """Play a show and let somebody watch it, until it ends or is interrupted (Ctrl-C).

    Cancellation:
      Delayed, as leaving a session is. Everything is closed.
    """
    reports: list[Report] = []
    # A signal instead of a KeyboardInterrupt, which would be raised wherever we happen to be.
    scope = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as listening:
            # To the end, so that a second one does not cut off what the first has set off.
            listening.start_soon(_stop_on_interrupt, signals, scope)
            with scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch, show)
                    reports.append(await show.play())
                    nursery.cancel_scope.cancel(reason="the demo is over")
            report = reports[0] if reports else (await show.stage.report(show)).interrupted()
            listening.cancel_scope.cancel(reason="the demo is over")
    if reports and show.options.timeline is not None:
        show.crowd.timeline.save(show.options.timeline)
    return report


async def _stop_on_interrupt(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel(reason="interrupted")
