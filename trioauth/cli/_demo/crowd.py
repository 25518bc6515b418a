"""The tasks of the demo, and what they, and an observer, count."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import attrs
import trio

from trioauth import events
from trioauth._errors import LoggedOutError, RefreshUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from trioauth._core.authentication import Authentication

    from .report import Counts

_POLITENESS, _SLOWEST = 10, 0.2
# In seconds: how often a number of tasks is looked at.
_GLANCE = 0.005

Doing: TypeAlias = Literal["new", "rests", "asks", "waits", "told"]
"""``new``: took the place of a cancelled one. ``waits``: for a refresh. ``told``: it is over."""


@final
@attrs.define(eq=False)
class Worker:
    """One task."""

    name: str
    doing: Doing
    waits_since: float = 0.0
    cancelled_at: float = 0.0
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)


@final
@attrs.define(eq=False)
class Crowd:
    """All tasks: they ask and rest, until they are cancelled or the login is over.

    It is an observer of the session, too.
    """

    random: Random
    pause: float
    """Seconds that a task rests between two requests, on average."""
    network_error: type[Exception]
    """What the HTTP library raises when the network fails."""
    counts: Counts
    url: str | None = attrs.field(default=None, kw_only=True)
    """What all tasks ask for; None: each for a note of its own."""
    get: Callable[[str], Awaitable[Any]] = attrs.field(init=False)
    """What a task asks with: like `Session.get`, of either library."""
    slots: dict[int, Worker] = attrs.field(factory=dict[int, Worker], init=False)
    """The last worker in each place."""
    alive: dict[str, Worker] = attrs.field(factory=dict[str, Worker], init=False)
    """By name."""
    news: deque[tuple[float, str]] = attrs.field(
        factory=lambda: deque[tuple[float, str]](maxlen=6), init=False
    )
    """What happened last, and when."""
    generation: int = attrs.field(default=0, init=False)
    landing: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the first refresh is over, or the login."""
    _bell: trio.Event = attrs.field(factory=trio.Event, init=False)
    _saved: set[int] = attrs.field(factory=set[int], init=False)
    """The generations that the store has, or had."""

    # --- coming and going ------------------------------------------------------------------

    def begin(self) -> None:
        """Count from the generation that the store had before. Not a checkpoint."""
        self.counts.generations, self.counts.unsaved = 1, 0

    def ring(self) -> None:
        """Let the tasks that rest ask at once. Not a checkpoint."""
        self._bell.set()
        self._bell = trio.Event()

    def start(self, nursery: trio.Nursery, slot: int) -> None:
        """Start a task in a place, which may have been another's. Not a checkpoint."""
        worker = Worker(f"task {slot + 1}", "rests")
        if slot in self.slots:
            worker = Worker(f"task {slot + 1}, again {self.counts.cancelled}", "new")
        self.slots[slot] = self.alive[worker.name] = worker
        nursery.start_soon(self._live, worker, name=worker.name)

    def replace(self, nursery: trio.Nursery, slot: int) -> None:
        """Cancel the task in a place, whatever it is doing, and start another.

        Not a checkpoint.
        """
        worker = self.slots[slot]
        self.counts.cancelled += 1
        self.counts.cancelled_waiting += worker.doing == "waits"
        worker.cancelled_at = trio.current_time()
        worker.scope.cancel(reason="the demo cancels at random")
        self.start(nursery, slot)

    @property
    def waiting(self) -> list[int]:
        """The places of the tasks that wait for a refresh."""
        return [slot for slot, worker in self.slots.items() if worker.doing == "waits"]

    async def wait_all_wait(self, tasks: int) -> None:
        """Wait until so many tasks wait for a refresh, or it is over.

        Cancellation:
          Safe.
        """
        await trio.lowlevel.checkpoint()
        while len(self.waiting) < tasks and not self.landing.is_set():  # noqa: ASYNC110  # a count
            await trio.sleep(_GLANCE)

    async def _live(self, worker: Worker) -> None:
        try:
            with worker.scope:
                try:
                    await self._work(worker)
                except (LoggedOutError, trio.Cancelled):
                    if self.counts.ended is not None:
                        worker.doing = "told"
                        self.counts.told += 1
                    raise
            # Only a task that was replaced gets here: all others leave by an exception.
            took = trio.current_time() - worker.cancelled_at
            self.counts.slowest_exit = max(self.counts.slowest_exit, took)
        finally:
            del self.alive[worker.name]

    # --- working ---------------------------------------------------------------------------

    async def _work(self, worker: Worker) -> None:
        rest, bell = self.pause * self.random.uniform(0.0, 1.5), self._bell
        while True:
            with trio.move_on_after(rest):
                await bell.wait()
            # Before it asks: if the bell rings while it does, it does not rest afterwards.
            bell = self._bell
            worker.doing, began = "asks", trio.current_time()
            try:
                await self._ask()
            except RefreshUnavailableError as exc:
                self.counts.unavailable += 1
                await trio.sleep_until(exc.retry_at or 0.0)
            except self.network_error:
                self.counts.faults += 1
            # A task that is served slowly asks less: a slow machine has no more to do than it can.
            took = min(trio.current_time() - began, _SLOWEST)
            rest = max(self.pause, _POLITENESS * took) * self.random.uniform(0.5, 1.5)
            worker.doing = "rests"

    async def _ask(self) -> None:
        response = await self.get(self.url or f"/notes/{self.random.randrange(1000)}")
        how: Authentication = response.extensions["trioauth"]
        self.counts.most_attempts = max(self.counts.most_attempts, how.attempts)
        if response.is_success:
            self.counts.requests += 1
        elif response.status_code != 401:
            self.counts.otherwise += 1
        elif how.attempts == 1:
            self.counts.refused_once += 1
        else:
            self.counts.refused_twice += 1

    # --- observing -------------------------------------------------------------------------

    def __call__(self, event: events.Event) -> None:
        """Count an event, and make news of it."""
        counts = self.counts
        match event:
            case events.WaitStarted(task=task) if task in self.alive:
                self.alive[task].doing = "waits"
                self.alive[task].waits_since = event.time
            case events.WaitEnded(task=task) if task in self.alive:
                self.alive[task].doing = "asks"
                took = event.time - self.alive[task].waits_since
                counts.longest_wait = max(counts.longest_wait, took)
            case events.RequestResent():
                counts.resent += 1
            case events.Saved(generation=number):
                self._saved.add(number)
            case events.LoggedIn(generation=number):
                self._renewed(number)
                self._tell(event, f"logged in: generation {number}")
            case events.RefreshStarted(flight=flight, cause=cause):
                counts.refreshes += 1
                self._tell(event, f"refresh {flight} starts ({_CAUSES[cause]})")
            case events.RefreshLanded():
                self._land(event)
            case events.RefreshFailed(flight=flight, error=error, words=words):
                counts.failed += 1
                self.landing.set()
                why = words.removeprefix(f"{error}: ") or error
                self._tell(event, f"refresh {flight} fails: {why}")
            case events.LoggedOut(reason=reason):
                counts.ended, counts.present = reason, len(self.alive)
                self.landing.set()
                self._tell(event, f"logged out ({reason}); {counts.present} tasks are told")
            case _:
                pass

    def _land(self, event: events.RefreshLanded) -> None:
        counts, number = self.counts, event.generation
        counts.landed += 1
        counts.most_served = max(counts.most_served, event.waited)
        if event.adopted:
            # From the store, where another process has put it.
            counts.adopted += 1
            self._saved.add(number)
        self._renewed(number)
        self.landing.set()
        waits = f"; {event.waited} waited" if event.waited else ""
        self._tell(event, f"refresh {event.flight} lands: generation {number}{waits}")

    def _renewed(self, generation: int) -> None:
        self.generation = generation
        self.counts.generations += 1
        self.counts.unsaved += generation not in self._saved

    def _tell(self, event: events.Event, text: str) -> None:
        self.news.append((event.time, text))


_CAUSES: dict[events.RefreshCause, str] = {
    "clock": "the token is old",
    "rejected": "it was refused",
    "asked_for": "asked for",
}
