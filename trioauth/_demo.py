"""The demo: many tasks, one refresh, and what goes wrong once a month in a quarter of a minute.

A `Show` is a real server on a real socket, a session, its tasks, and a script of mishaps.
"""

from __future__ import annotations

import importlib
import random
import signal
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx
import trio

from ._demo_crowd import Crowd
from ._demo_report import Result
from ._errors import LoggedOutError, RefreshUnavailableError
from ._policy import RefreshPolicy
from ._session import open_session
from .grants import RefreshTokenGrant
from .stores import FileStore
from .testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from ._demo_crowd import Get
    from ._session import Session

# Quick to try again, so that an outage of three seconds is worth watching.
_POLICY = RefreshPolicy(backoff=0.2, attempts=3, cooldown=0.4, timeout=10)
_API_DELAY, _TOKEN_DELAY, _SLOW = 0.02, 0.15, 0.6
_REUSE_GRACE = 10.0
_LONGEST_OUTAGE = 3.0
# What one process can send and answer without sweating.
_REQUESTS_A_SECOND = 250
_SHORTEST_PAUSE = 0.3
# Of all tasks, so many are cancelled in a second.
_CANCELLED_A_SECOND = 0.04
# How long all tasks may take to hear that the login is over, and how long the curtain falls.
_LAST_WORDS, _BOW = 10.0, 0.6


@final
@attrs.frozen(kw_only=True)
class Options:
    """What the command line says."""

    tasks: int = 200
    seconds: float = 15.0
    lifetime: float = 2.0
    httpx2: bool = False
    timeline: Path | None = None
    seed: int | None = None


@final
@attrs.define(eq=False)
class Show:
    """The demo while it runs."""

    options: Options
    server: AuthServer = attrs.field(init=False)
    crowd: Crowd = attrs.field(init=False)
    random: random.Random = attrs.field(init=False)
    act: str = attrs.field(default="the server starts", init=False)
    """What is happening now."""
    started: float = attrs.field(factory=trio.current_time, init=False)
    revoked: bool = attrs.field(default=False, init=False)
    """The login may end from now on."""

    def __attrs_post_init__(self) -> None:
        options = self.options
        # Chance is for variety here, not for secrets.
        self.random = random.Random(options.seed)  # noqa: S311
        pause = max(_SHORTEST_PAUSE, options.tasks / _REQUESTS_A_SECOND)
        library: Any = importlib.import_module("httpx2") if options.httpx2 else httpx
        self.crowd = Crowd(self.random, pause, library.TransportError)
        self.server = AuthServer(lifetime=options.lifetime, reuse_grace=_REUSE_GRACE)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started

    async def play(self) -> Result:
        """Play it to the end, and say what came of it.

        Cancellation:
          Safe. Everything is closed.
        """
        before = trio.lowlevel.current_statistics().tasks_living
        left_running = 0
        with tempfile.TemporaryDirectory(prefix="trioauth-demo-") as folder:
            async with self._open(Path(folder)) as (session, get):
                try:
                    async with session.open_nursery() as nursery:
                        for slot in range(self.options.tasks):
                            self.crowd.hire(nursery, slot, get)
                        replace = partial(self.crowd.replace, nursery, get=get)
                        nursery.start_soon(self._disturb, replace)
                        await self._direct(session, replace)
                        # Nobody should be here any more to do this.
                        left_running = len(self.crowd.alive)
                        nursery.cancel_scope.cancel(reason="the login did not end")
                except LoggedOutError:
                    self.act = "logged out, and every task was told"
                await trio.sleep(_BOW)
                explanation = session.explain()
        left_running += trio.lowlevel.current_statistics().tasks_living - before
        return self._result(left_running, explanation)

    @asynccontextmanager
    async def _open(self, folder: Path) -> AsyncGenerator[tuple[Session, Get], None]:
        server, options = self.server, self.options
        limits: Any = {"max_connections": 50, "max_keepalive_connections": 20}
        async with server.serve() as url:
            server.api_delay(_API_DELAY)
            server.delay(_TOKEN_DELAY)
            grant = RefreshTokenGrant(server.token_url, client_id=server.client_id)
            async with open_session(
                grant,
                tokens=server.log_in(),
                store=FileStore(folder / "tokens.json"),
                base_url=url,
                policy=_POLICY,
                observers=[self.crowd],
                limits=httpx.Limits(**limits),
            ) as session:
                if not options.httpx2:
                    yield session, session.get
                    return
                httpx2: Any = importlib.import_module("httpx2")
                client = httpx2.AsyncClient(base_url=url, limits=httpx2.Limits(**limits))
                async with session.attach(client) as http:
                    yield session, http.get

    # --- what goes wrong -------------------------------------------------------------------

    async def _direct(self, session: Session, replace: Callable[[int], None]) -> None:
        """Follow the script, in shares of the whole time."""
        server, crowd, seconds = self.server, self.crowd, self.options.seconds
        life = f"{self.options.lifetime:g} s"
        await self._until(0.14, f"all is well: a token lives {life}, renewed before it is old")
        server.expire()
        await self._until(0.32, "the API forgot the token before its time: 401s, one refresh")
        self.act = "the answer to a refresh gets lost: the token is rotated, and nobody knows"
        server.drop_answer()
        while not any(each.outcome == "dropped" for each in server.ledger.presented):
            await self._refresh(session)
        await self._until(0.47, "all is well")
        server.down()
        # As long as planned, even if what was before took longer than that.
        outage = min(_LONGEST_OUTAGE / seconds, 0.2)
        begins = max(0.47, self.elapsed / seconds)
        await self._until(begins + outage, "the token endpoint is down (503)")
        server.recover()
        server.delay(_TOKEN_DELAY)
        await self._until(0.75, "the token endpoint is back")
        server.delay(_SLOW)
        server.expire()
        self.act = "the token endpoint is slow: of those who wait, half are cancelled"
        await trio.sleep(_SLOW / 2)
        for slot in crowd.waiting[::2]:
            replace(slot)
        await self._until(0.86, self.act)
        server.delay(_TOKEN_DELAY)
        await self._until(1.0, "all is well, for a last time")
        self.revoked = True
        self.act = "the login is revoked"
        server.revoke()
        await trio.sleep(_LAST_WORDS)

    async def _until(self, share: float, act: str) -> None:
        self.act = act
        await trio.sleep_until(self.started + share * self.options.seconds)

    async def _refresh(self, session: Session) -> None:
        try:
            await session.refresh()
        except RefreshUnavailableError as exc:
            await trio.sleep_until(exc.retry_at or 0.0)

    async def _disturb(self, replace: Callable[[int], None]) -> None:
        """Cancel tasks at random, those that wait for a refresh sooner than others."""
        tasks = self.options.tasks
        while True:
            pause = 1 / (_CANCELLED_A_SECOND * tasks)
            await trio.sleep(pause * self.random.uniform(0.5, 1.5))
            waiting = self.crowd.waiting
            if waiting and self.random.random() < 0.5:
                replace(self.random.choice(waiting))
            else:
                replace(self.random.randrange(tasks))

    # --- what came of it -------------------------------------------------------------------

    def _result(self, left_running: int, explanation: str) -> Result:
        crowd, count, ledger = self.crowd, self.crowd.count, self.server.ledger
        outcomes = Counter(each.outcome for each in ledger.presented)
        return Result(
            requests=count["requests"],
            refused_once=count["refused 1"],
            refused_twice=count["refused 2"],
            unauthorized=ledger.unauthorized,
            resent=count["resent"],
            most_attempts=crowd.most_attempts,
            unavailable=count["unavailable"],
            faults=count["faults"],
            refreshes=count["refreshes"],
            landed=count["landed"],
            failed=count["failed"],
            generations=count["generations"],
            rotations=ledger.refreshes,
            most_in_flight=ledger.max_in_flight,
            dropped=outcomes["dropped"],
            repeated=outcomes["repeated"],
            reused=outcomes["reused"],
            unsaved=count["unsaved"],
            cancelled=count["cancelled"],
            cancelled_waiting=count["cancelled_waiting"],
            slowest_exit=crowd.slowest_exit,
            longest_wait=crowd.longest_wait,
            wait_limit=_POLICY.timeout,
            ended=crowd.ended,
            ended_early=crowd.ended is not None and not self.revoked,
            tasks=crowd.present,
            saw_collapse=count["told"],
            left_running=left_running,
            explanation=explanation,
        )


async def run(options: Options, watch: Callable[[Show], Awaitable[None]]) -> Result | None:
    """Play the demo and let somebody watch it; None if it was interrupted (Ctrl-C).

    Cancellation:
      Safe. Everything is closed.
    """
    show = Show(options)
    results: list[Result] = []
    # A signal instead of a KeyboardInterrupt, which would be raised wherever we happen to be.
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_interrupt, signals, nursery.cancel_scope)
            nursery.start_soon(watch, show)
            results.append(await show.play())
            nursery.cancel_scope.cancel(reason="the demo is over")
    if results and options.timeline is not None:
        show.crowd.timeline.save(options.timeline)
    return results[0] if results else None


async def _stop_on_interrupt(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel(reason="interrupted")
