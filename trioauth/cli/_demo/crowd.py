"""The tasks of the demo, and what they, and an observer, count."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs
import trio

from trioauth import events
from trioauth._errors import LoggedOutError, RefreshUnavailableError
from trioauth.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from trioauth._core.authentication import Authentication
    from trioauth._session import Session

    from .client import Get

_POLITENESS, _SLOWEST = 10, 0.2

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
    choose: Callable[[Random], str]
    """Returns the path of the next request."""
    network_error: type[Exception]
    """What the HTTP library raises when the network fails."""
    timeline: Timeline = attrs.field(factory=Timeline, init=False)
    slots: dict[int, Worker] = attrs.field(factory=dict[int, Worker], init=False)
    """The last worker in each place."""
    alive: dict[str, Worker] = attrs.field(factory=dict[str, Worker], init=False)
    """By name."""
    count: Counter[str] = attrs.field(factory=Counter[str], init=False)
    news: deque[tuple[float, str]] = attrs.field(
        factory=lambda: deque[tuple[float, str]](maxlen=6), init=False
    )
    """What happened last, and when."""
    generation: int = attrs.field(default=0, init=False)
    most_attempts: int = attrs.field(default=0, init=False)
    slowest_exit: float = attrs.field(default=0.0, init=False)
    longest_wait: float = attrs.field(default=0.0, init=False)
    ended: str | None = attrs.field(default=None, init=False)
    """Why the login ended, if it did."""
    present: int = attrs.field(default=0, init=False)
    """How many were there when it ended."""
    saved: set[int] = attrs.field(factory=set[int], init=False)
    """The generations that the store has, or had."""
    rejected: int = attrs.field(default=0, init=False)
    """The last generation that somebody here has reported as refused."""

    # --- coming and going ------------------------------------------------------------------

    def hire(self, nursery: trio.Nursery, slot: int, get: Get) -> None:
        """Start a task in a place, which may have been another's. Not a checkpoint."""
        worker = Worker(f"task {slot + 1}", "rests")
        if slot in self.slots:
            worker = Worker(f"task {slot + 1}, again {self.count['cancelled']}", "new")
        self.slots[slot] = self.alive[worker.name] = worker
        nursery.start_soon(self._live, worker, get, name=worker.name)

    def replace(self, nursery: trio.Nursery, slot: int, get: Get) -> None:
        """Cancel the task in a place, whatever it is doing, and start another.

        Not a checkpoint.
        """
        worker = self.slots[slot]
        self.count["cancelled"] += 1
        self.count["cancelled_waiting"] += worker.doing == "waits"
        worker.cancelled_at = trio.current_time()
        worker.scope.cancel(reason="the demo cancels at random")
        self.hire(nursery, slot, get)

    @property
    def waiting(self) -> list[int]:
        """The places of those who wait for a refresh."""
        return [slot for slot, worker in self.slots.items() if worker.doing == "waits"]

    async def _live(self, worker: Worker, get: Get) -> None:
        try:
            with worker.scope:
                try:
                    await self._work(worker, get)
                except (LoggedOutError, trio.Cancelled):
                    if self.ended is not None:
                        worker.doing = "told"
                        self.count["told"] += 1
                    raise
            # Only who was replaced gets here: everybody else leaves by an exception.
            took = trio.current_time() - worker.cancelled_at
            self.slowest_exit = max(self.slowest_exit, took)
        finally:
            del self.alive[worker.name]

    # --- working ---------------------------------------------------------------------------

    async def _work(self, worker: Worker, get: Get) -> None:
        rest = self.pause * self.random.uniform(0.0, 1.5)
        while True:
            await trio.sleep(rest)
            worker.doing, began = "asks", trio.current_time()
            try:
                await self._ask(get)
            except RefreshUnavailableError as exc:
                self.count["unavailable"] += 1
                await trio.sleep_until(exc.retry_at or 0.0)
            except self.network_error:
                self.count["faults"] += 1
            # Who is served slowly asks less, so that a slow machine has no more to do than it can.
            took = min(trio.current_time() - began, _SLOWEST)
            rest = max(self.pause, _POLITENESS * took) * self.random.uniform(0.5, 1.5)
            worker.doing = "rests"

    async def _ask(self, get: Get) -> None:
        path, rejected = self.choose(self.random), self.rejected
        # There may be a secret in a query.
        with self.timeline.request(f"GET {path.partition('?')[0]}") as request:
            response = await get(path)
            request.outcome = response.status_code
        how: Authentication = response.extensions["trioauth"]
        self.most_attempts = max(self.most_attempts, how.attempts)
        self.count["known to be bad"] += how.generation <= rejected
        if response.is_success:
            self.count["requests"] += 1
        elif response.status_code == 401:
            self.count[f"refused {how.attempts}"] += 1
        else:
            self.count["odd"] += 1

    def reject(self, session: Session) -> None:
        """Report the token as refused, once for each task. Not a checkpoint."""
        self.rejected = session.generation
        for _ in self.slots:
            session.reject(self.rejected)

    # --- observing -------------------------------------------------------------------------

    def __call__(self, event: events.Event) -> None:
        """Count an event, and make news of it."""
        self.timeline(event)
        match event:
            case events.WaitStarted(task=task) if task in self.alive:
                self.alive[task].doing = "waits"
                self.alive[task].waits_since = event.time
            case events.WaitEnded(task=task) if task in self.alive:
                self.alive[task].doing = "asks"
                took = event.time - self.alive[task].waits_since
                self.longest_wait = max(self.longest_wait, took)
            case events.RequestResent():
                self.count["resent"] += 1
            case events.Saved(generation=number):
                self.saved.add(number)
            case events.LoggedIn(generation=number):
                self._renewed(number)
                self._tell(event, f"logged in: generation {number}")
            case events.RefreshStarted(flight=flight, cause=cause):
                self.count["refreshes"] += 1
                self._tell(event, f"refresh {flight} starts ({_CAUSES[cause]})")
            case events.RefreshLanded(flight=flight, generation=number, waited=waited):
                self.count["landed"] += 1
                if event.adopted:
                    self.count["adopted"] += 1
                    self.saved.add(number)
                self._renewed(number)
                self._tell(event, f"refresh {flight} lands: generation {number}{_for(waited)}")
            case events.RefreshFailed(flight=flight, error=error, words=words):
                self.count["failed"] += 1
                why = words.removeprefix(f"{error}: ") or error
                self._tell(event, f"refresh {flight} fails: {why}")
            case events.LoggedOut(reason=reason):
                self.ended, self.present = reason, len(self.alive)
                self._tell(event, f"logged out ({reason}); {self.present} tasks are told")
            case events.NotSaved() | events.Revoked() | events.NotRevoked():
                self.count[type(event).__name__] += 1
                self._tell(event, str(event))
            case _:
                pass

    def _renewed(self, generation: int) -> None:
        self.generation = generation
        self.count["generations"] += 1
        self.count["unsaved"] += generation not in self.saved

    def _tell(self, event: events.Event, text: str) -> None:
        self.news.append((event.time, text))


def _for(waited: int) -> str:
    return f"; {waited} waited" if waited else ""


_CAUSES: dict[events.RefreshCause, str] = {
    "clock": "the token is old",
    "rejected": "it was refused",
    "asked_for": "asked for",
}
