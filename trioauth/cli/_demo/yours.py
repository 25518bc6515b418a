"""The stage at a person's own server, where nothing can be told to go wrong, and nothing may."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, final

import attrs
import trio

from trioauth import _challenge, events
from trioauth._core.policy import RefreshPolicy
from trioauth._errors import GrantMisconfiguredError, RefreshUnavailableError, StoreError
from trioauth._opening import open_session

from . import mishaps
from .client import Pace, library, open_client
from .line import Line
from .remedies import (
    NO_TOKEN,
    NoShow,
    login_over,
    no_answer,
    no_token,
    not_saved,
    wrong_answer,
)
from .rescue import rescue
from .show import seen
from .yours_report import Result, report

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from trioauth._session import Session

    from .client import Get
    from .crowd import Crowd
    from .report import Report
    from .show import Show
    from .visit import Visit

# Somebody's server is not to be asked in quick succession. Leaving waits for a refresh as long as
# it may take, so that no rotated token is lost. The show reports good tokens as refused, more often
# than a session would believe.
_POLICY = RefreshPolicy(
    attempts=3, backoff=0.5, cooldown=1.0, timeout=30, close_grace=30, max_futile=1000
)
# After so many answers in a row that were none, it is no use to go on asking.
_ENOUGH = 5
# Seconds without requests after the API has said that there were too many (429, 503).
_HOLD = 5.0


def _make_line(stage: Yours) -> Line:
    return Line(stage.visit.grant)


def _make_pace(stage: Yours) -> Pace:
    return Pace(stage.visit.rate)


@final
@attrs.define(eq=False)
class Yours:
    """A person's own server."""

    visit: Visit
    line: Line = attrs.field(default=attrs.Factory(_make_line, takes_self=True), init=False)
    pace: Pace = attrs.field(default=attrs.Factory(_make_pace, takes_self=True), init=False)
    left_in_the_air: bool = attrs.field(default=False, init=False)
    """The session was left while a refresh was in the air."""
    odd: int = attrs.field(default=0, init=False)
    """Requests in a row that were not answered as they should be."""

    @property
    def rate(self) -> float:
        """Requests that all tasks together should send in a second."""
        return self.visit.rate

    @property
    def subtitle(self) -> str:
        """A few words about it."""
        return f"at {self.visit.host}, {self.visit.rate:g} requests a second at most"

    def choose(self, chance: random.Random) -> str:  # noqa: ARG002  # as all stages
        """Return the path of the next request."""
        return self.visit.path

    def unauthorized(self, crowd: Crowd) -> int:
        """Return how many 401s there were so far."""
        return crowd.count["401"]

    @contextlib.asynccontextmanager
    async def open(self, show: Show) -> AsyncGenerator[tuple[Session, Get], None]:
        """Open a session, and see whether it has a token that the API takes.

        Cancellation:
          Delayed, by the refresh that is in the air. Everything is closed.

        Raises:
          NoShow: It has none, or the API does not take it.
          StoreError: The file can't be read.
        """
        visit, crowd, httpx2 = self.visit, show.crowd, show.options.httpx2
        record = await visit.store.load()
        if record is not None:
            crowd.saved.add(record.generation)

        def is_rejected(response: Any) -> bool:
            crowd.count["401"] += response.status_code == 401
            return _challenge.is_rejected(response)

        def heed(event: events.Event) -> None:
            if isinstance(event, events.RequestResent):
                self.pace.charge()
            elif isinstance(event, events.NotSaved):
                show.stop(not_saved(event.words))
            elif isinstance(event, events.LoggedOut) and event.reason != "asked":
                show.problem = show.problem or login_over(event.words or event.reason)

        limits = {"max_connections": max(round(visit.rate), 1)}
        show.act = "a token is asked for, and whether the API takes it"
        async with (
            open_session(
                self.line,
                tokens=visit.tokens,
                store=visit.store,
                base_url=visit.origin,
                policy=_POLICY,
                observers=[crowd, heed],
                is_rejected=is_rejected,
                limits=library(httpx2=False).Limits(**limits),
            ) as session,
            open_client(
                session,
                visit.origin,
                httpx2=httpx2,
                limits=library(httpx2=httpx2).Limits(**limits),
            ) as get,
        ):
            await self._try(show, session, get)
            yield session, self._careful(show, session, get)

    async def _try(self, show: Show, session: Session, get: Get) -> None:
        """See whether there is a token, and whether the API takes it."""
        try:
            # If the first tokens could not be saved, nothing is sent either.
            if show.problem is None:
                await session.token()
            await self.pace.turn()
            if show.problem is not None:
                raise NoShow(show.problem)
            response = await get(self.visit.path)
        except NO_TOKEN as exc:
            raise NoShow(no_token(exc)) from None
        except show.crowd.network_error as exc:
            raise NoShow(no_answer(exc)) from None
        if not response.is_success:
            raise NoShow(wrong_answer(response))

    def _careful(self, show: Show, session: Session, get: Get) -> Get:
        """Return a ``get`` that keeps to the pace, and ends the show when it has no point."""

        async def careful(path: str) -> Any:
            try:
                await self._turn(session)
                response = await get(path)
            except GrantMisconfiguredError as exc:
                show.stop(no_token(exc))
                await trio.sleep_forever()
            except RefreshUnavailableError as exc:
                if self.line.failures >= _ENOUGH:
                    show.stop(no_token(exc))
                raise
            except show.crowd.network_error as exc:
                self._count(show, no_answer(exc))
                raise
            if response.is_success:
                self.odd = 0
                return response
            if response.status_code in (429, 503):
                self.pace.hold(_HOLD)
            self._count(show, wrong_answer(response))
            return response

        return careful

    async def _turn(self, session: Session) -> None:
        """Wait for a token, then for one's turn: or all who wait for a token would ask at once."""
        while True:
            await session.token()
            await self.pace.turn()
            try:
                session.token_nowait()
            except trio.WouldBlock:
                continue
            return

    def _count(self, show: Show, problem: str) -> None:
        self.odd += 1
        if self.odd >= _ENOUGH:
            show.stop(problem)

    async def direct(self, show: Show, nursery: trio.Nursery) -> None:
        """Follow the script, in shares of the whole time.

        Cancellation:
          Safe. A refresh that is in the air goes on.
        """
        await mishaps.play(show, nursery, self.line)
        if self.visit.log_out:
            show.act = "the login ends: every task is told"
            await show.session.log_out(revoke=self.visit.revoke_url is not None)
        self.left_in_the_air = await mishaps.leave(show, nursery, self.line)

    async def report(self, show: Show) -> Report:
        """Say what came of it, and where the tokens are.

        Cancellation:
          Safe. The tokens are where they were.
        """
        crowd, line, visit = show.crowd, self.line, self.visit
        count = crowd.count
        stored, rescued = await self._whereabouts(crowd), None
        if not stored and line.newest is not None:
            rescued = await rescue(line.newest)
        return report(
            Result(
                **seen(show, unauthorized=count["401"], wait_limit=_POLICY.timeout),
                problem=show.problem,
                performed=bool(crowd.slots),
                odd=count["odd"],
                known_to_be_bad=count["known to be bad"],
                asked=line.asked,
                most_at_once=line.most_at_once,
                brought=line.brought,
                adopted=count["adopted"],
                asked_at_once=count["asked for at once"],
                refreshes_for_that=count["refreshes for that"],
                late=count["late"],
                late_heeded=count["late heeded"],
                rotates=line.rotates,
                lost=line.lost,
                repeated=line.repeated,
                reused=line.reused,
                left_in_the_air=self.left_in_the_air,
                revoked=None if visit.revoke_url is None else bool(count["Revoked"]),
                goes_on=visit.tokens is None,
                path=visit.store.path,
                stored=stored,
                rescued=rescued,
            )
        )

    async def _whereabouts(self, crowd: Crowd) -> bool:
        """Look whether the store has the newest."""
        record = None
        with contextlib.suppress(StoreError):
            record = await self.visit.store.load()
        await trio.lowlevel.checkpoint()
        if record is None:
            return False
        if crowd.ended is not None:
            return record.tokens is None
        return record.tokens is not None and record.generation >= crowd.generation > 0
