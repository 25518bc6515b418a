"""Show: a session, its tasks, and what cancels them; from start to end. Whose server it is differs.

``Demo`` is the show on a server of its own, where all goes wrong. ``Visit`` is the one with a
person's login, on their own servers.
"""

from __future__ import annotations

import importlib
import math
import random
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioauth._errors import LoggedOutError
from trioauth.timeline import Timeline

from .crowd import Crowd
from .report import Counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from trioauth._session import Session

    from .report import Check

    Plan: TypeAlias = Callable[[trio.Nursery], Awaitable[None]]
    """What happens, in the nursery of the tasks."""

LIMITS: Final[Any] = {"max_connections": 50, "max_keepalive_connections": 20}
# Of all tasks, so many are cancelled in a second.
_CANCELLED_A_SECOND = 0.04
# In seconds: between two requests of a task, for a phase, and at the end.
_SHORTEST_PAUSE, _SHORTEST_PHASE, _LAST_LOOK = 0.3, 0.2, 0.6


@attrs.define(eq=False, kw_only=True)
class Show(ABC):
    """A show while it runs."""

    tasks: int = 200
    seconds: float = 15.0
    httpx2: bool = False
    seed: int | None = None
    counts: Counts = attrs.field(factory=Counts, init=False)
    timeline: Timeline = attrs.field(factory=Timeline, init=False)
    crowd: Crowd = attrs.field(init=False)
    session: Session = attrs.field(init=False)
    phase: str = attrs.field(default="the session is opened", init=False)
    """What is happening now."""
    started: float = attrs.field(default=0.0, init=False)
    ready: float = attrs.field(default=math.inf, init=False)
    """When the session was open."""
    explanation: str = attrs.field(default="", init=False)
    """What the session said of itself at last."""
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Chance is for variety here, not for secrets.
        self._random = random.Random(self.seed)  # noqa: S311
        pause = max(_SHORTEST_PAUSE, self.tasks / self._rate)
        error = self._library.RequestError
        self.crowd = Crowd(self._random, pause, error, self.counts, url=self._url)

    # --- whose server it is ----------------------------------------------------------------

    @property
    @abstractmethod
    def _rate(self) -> float:
        """Requests a second that are asked at most."""

    @property
    def _url(self) -> str | None:
        """What all tasks ask for; None: each for a note of its own."""
        return None

    @abstractmethod
    def _open(self) -> AbstractAsyncContextManager[Session]:
        """Open a session that is logged in, and the client that the tasks ask with."""

    @abstractmethod
    def _count_at_the_end(self) -> None:
        """Count what is known when the session is closed."""

    @property
    @abstractmethod
    def subtitle(self) -> str:
        """What it is made of, in a few words."""

    @property
    @abstractmethod
    def unauthorized(self) -> int:
        """How many 401s there were until now."""

    @abstractmethod
    def checks(self) -> Sequence[Check]:
        """Hold what was counted against the promises."""

    @abstractmethod
    def numbers(self) -> Sequence[tuple[str, object]]:
        """Give the figures, each with its name."""

    # --- from start to end -----------------------------------------------------------------

    @property
    def _library(self) -> Any:
        return importlib.import_module("httpx2" if self.httpx2 else "httpx")

    async def play(self, plan: Plan) -> None:
        """Play it to the end, while what happens goes by a plan.

        Cancellation:
          Delayed, as leaving a session is. Everything is closed.

        Raises:
          Exception: Why it can't be shown.
        """
        self.started = trio.current_time()
        before = trio.lowlevel.current_statistics().tasks_living
        async with self._open() as self.session:
            self.ready = trio.current_time()
            await self._occupy(plan)
            await trio.sleep(_LAST_LOOK)
            self.explanation = self.session.explain()
        self.counts.left_running += trio.lowlevel.current_statistics().tasks_living - before
        self._count_at_the_end()

    async def _occupy(self, plan: Plan) -> None:  # noqa: ASYNC910  # to open the nursery is a checkpoint
        try:
            async with self.session.open_nursery() as nursery:
                for slot in range(self.tasks):
                    self.crowd.start(nursery, slot)
                nursery.start_soon(self._disturb, nursery)
                await plan(nursery)
                nursery.cancel_scope.cancel(reason="the show is over, and the login is not")
        except LoggedOutError:
            self.phase = "logged out, and every task was told"

    async def _disturb(self, nursery: trio.Nursery) -> None:
        """Cancel tasks at random, those that wait for a refresh sooner than others."""
        while True:
            pause = 1 / (_CANCELLED_A_SECOND * self.tasks)
            await trio.sleep(pause * self._random.uniform(0.5, 1.5))
            waiting = self.crowd.waiting
            if waiting and self._random.random() < 0.5:
                self.crowd.replace(nursery, self._random.choice(waiting))
            else:
                self.crowd.replace(nursery, self._random.randrange(self.tasks))

    @property
    def share(self) -> float:
        """How much of it is over."""
        return min(max(trio.current_time() - self.ready, 0.0) / self.seconds, 1.0)

    async def until(self, share: float, phase: str) -> None:
        """Say what happens, until that share of it is over.

        Cancellation:
          Safe.
        """
        self.phase = phase
        now, end = trio.current_time(), self.ready + share * self.seconds
        # Where the one before took long, it is short, but it is seen.
        await trio.sleep_until(max(end, now + _SHORTEST_PHASE))


async def run(show: Show, plan: Plan, watch: Callable[[Show], Awaitable[None]]) -> bool:
    """Play a show while something watches it; return False if it was interrupted (Ctrl-C).

    Cancellation:
      Delayed, as leaving a session is. Everything is closed.

    Raises:
      BaseExceptionGroup: Of why it can't be shown.
    """
    is_over = False
    # A signal instead of a KeyboardInterrupt, which would be raised wherever we happen to be. The
    # receiver stays to the end: a second Ctrl-C does not cut off the closing that the first began.
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_interrupt, signals, nursery.cancel_scope)
            nursery.start_soon(watch, show)
            await show.play(plan)
            is_over = True
            nursery.cancel_scope.cancel(reason="the show is over")
    return is_over


async def _stop_on_interrupt(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel(reason="interrupted")
