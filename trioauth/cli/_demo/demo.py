"""Demo: a server on this machine, a session, its tasks, and what cancels them; start to end."""

from __future__ import annotations

import importlib
import math
import random
import signal
import tempfile
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import attrs
import httpx
import trio

from trioauth._core.policy import RefreshPolicy
from trioauth._errors import LoggedOutError
from trioauth.stores import FileStore
from trioauth.testing import AuthServer
from trioauth.timeline import Timeline

from .crowd import Crowd
from .report import LONGEST_WAIT, Counts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from trioauth._session import Session

    Plan: TypeAlias = Callable[["Demo", trio.Nursery], Awaitable[None]]

API_DELAY, TOKEN_DELAY = 0.02, 0.15
"""Seconds that the API and the token endpoint take for an answer when all is well."""

# Quick to try again, so that an outage of three seconds is worth watching.
_POLICY = RefreshPolicy(backoff=0.2, attempts=3, cooldown=0.4, timeout=LONGEST_WAIT)
_LIMITS: Any = {"max_connections": 50, "max_keepalive_connections": 20}
_REUSE_GRACE = 10.0
# Requests a second that one process can send and answer without sweating.
_RATE = 250.0
# Of all tasks, so many are cancelled in a second.
_CANCELLED_A_SECOND = 0.04
# In seconds: between two requests of a task, for a phase, and at the end.
_SHORTEST_PAUSE, _SHORTEST_PHASE, _LAST_LOOK = 0.3, 0.2, 0.6


@final
@attrs.define(eq=False, kw_only=True)
class Demo:
    """The demo while it runs."""

    tasks: int = 200
    seconds: float = 15.0
    lifetime: float = 2.0
    """Seconds that an access token lives."""
    httpx2: bool = False
    seed: int | None = None
    counts: Counts = attrs.field(factory=Counts, init=False)
    timeline: Timeline = attrs.field(factory=Timeline, init=False)
    server: AuthServer = attrs.field(init=False)
    crowd: Crowd = attrs.field(init=False)
    session: Session = attrs.field(init=False)
    phase: str = attrs.field(default="the server starts", init=False)
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
        self.server = AuthServer(lifetime=self.lifetime, reuse_grace=_REUSE_GRACE)
        pause = max(_SHORTEST_PAUSE, self.tasks / _RATE)
        self.crowd = Crowd(self._random, pause, self._library.RequestError, self.counts)

    @property
    def _library(self) -> Any:
        return importlib.import_module("httpx2" if self.httpx2 else "httpx")

    async def play(self, plan: Plan) -> None:
        """Play it to the end, while things go wrong as the plan says.

        Cancellation:
          Delayed, as leaving a session is. Everything is closed.
        """
        self.started = trio.current_time()
        before = trio.lowlevel.current_statistics().tasks_living
        async with self._open() as self.session:
            self.ready = trio.current_time()
            await self._occupy(plan)
            await trio.sleep(_LAST_LOOK)
            self.explanation = self.session.explain()
        self.counts.left_running += trio.lowlevel.current_statistics().tasks_living - before
        self.counts.add_server(self.server.ledger)

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Session, None]:
        """Open a session that is logged in, and the client that the tasks ask with."""
        server, library = self.server, self._library
        with tempfile.TemporaryDirectory(prefix="trioauth-demo-") as folder:
            async with (
                server.serve() as url,
                server.open_session(
                    store=FileStore(Path(folder) / "tokens.json"),
                    policy=_POLICY,
                    observers=[self.crowd, self.timeline],
                    limits=httpx.Limits(**_LIMITS),
                ) as session,
            ):
                server.api_delay(API_DELAY)
                server.delay(TOKEN_DELAY)
                client: Any = nullcontext(session.http)
                if self.httpx2:
                    limits = library.Limits(**_LIMITS)
                    client = session.attach(library.AsyncClient(base_url=url, limits=limits))
                async with client as http:
                    self.crowd.get = self.timeline.watch(http).get
                    yield session

    async def _occupy(self, plan: Plan) -> None:  # noqa: ASYNC910  # to open the nursery is a checkpoint
        try:
            async with self.session.open_nursery() as nursery:
                for slot in range(self.tasks):
                    self.crowd.start(nursery, slot)
                nursery.start_soon(self._disturb, nursery)
                await plan(self, nursery)
                nursery.cancel_scope.cancel(reason="the login did not end")
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

    # --- for the plan ----------------------------------------------------------------------

    @property
    def share(self) -> float:
        """How much of the plan is over."""
        return min(max(trio.current_time() - self.ready, 0.0) / self.seconds, 1.0)

    async def until(self, share: float, phase: str) -> None:
        """Say what happens, until that share of the plan is over.

        Cancellation:
          Safe.
        """
        self.phase = phase
        now, end = trio.current_time(), self.ready + share * self.seconds
        # Where the one before took long, it is short, but it is seen.
        await trio.sleep_until(max(end, now + _SHORTEST_PHASE))


async def run(demo: Demo, plan: Plan, watch: Callable[[Demo], Awaitable[None]]) -> bool:
    """Play a demo while something watches it; return False if it was interrupted (Ctrl-C).

    Cancellation:
      Delayed, as leaving a session is. Everything is closed.
    """
    is_over = False
    # A signal instead of a KeyboardInterrupt, which would be raised wherever we happen to be. The
    # receiver stays to the end: a second Ctrl-C does not cut off the closing that the first began.
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_interrupt, signals, nursery.cancel_scope)
            nursery.start_soon(watch, demo)
            await demo.play(plan)
            is_over = True
            nursery.cancel_scope.cancel(reason="the demo is over")
    return is_over


async def _stop_on_interrupt(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel(reason="interrupted")
