"""Guests: what the tasks of a host do with its logins, and what they must see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
import httpx2
import trio

from trioauth import (
    GrantMisconfiguredError,
    LoggedOut,
    LoggedOutError,
    RefreshUnavailableError,
    StoreError,
)

if TYPE_CHECKING:
    from tests.simulation.ledger import Ledger, Stay
    from tests.simulation.server import Server
    from tests.simulation.world import Step
    from trioauth import Session, Sessions

    from .judge import FleetJudge

_TINY: Final = 1e-6
_OURS: Final = (LoggedOutError, RefreshUnavailableError, GrantMisconfiguredError)
_BROKEN: Final = (httpx.ReadError, httpx2.ReadError)
_CROWD: Final = 4
_LONGEST_PAUSE: Final = 300.0


@attrs.define(eq=False)
class Guest:
    """One task, at one step."""

    id: str
    """It begins with the key: ``key/task.step``."""
    key: str
    step: Step
    stay: Stay
    sessions: Sessions
    client: Any
    """A client of the program, which the sessions sign."""
    idle: float
    ledger: Ledger
    judge: FleetJudge
    server: Server
    _pinned: bool = False
    _asked: int = 0

    async def act(self) -> None:
        """Do the step, and check how it ends."""
        what, patience, started = self.step.what, self.step.patience, trio.current_time()
        self.judge.seen[self.stay, self.key].used = True
        self.ledger.count(f"did: {what}")
        self.ledger.note(self.stay.name, self.id, what, "begins")
        failure: Exception | None = None
        with trio.CancelScope() as scope:
            if patience is not None:
                scope.deadline = started + patience
            try:
                await getattr(self, f"_{what}")()
            except Exception as exc:
                failure = exc
                self._failed(what, exc, started)
        took = trio.current_time() - started
        ends = type(failure).__name__ if failure else "ends"
        self.ledger.note(self.stay.name, self.id, what, ends, f"{took:.3f}")
        if scope.cancelled_caught:
            self.ledger.count(f"cancelled: {what}")
        stopped = self.judge.weather.stopped_since(started)
        if patience is not None and took > patience + _TINY and not stopped:
            self.ledger.violate("P6", f"{self.id} ({what}) left {took - patience:.3f} s late")

    def _failed(self, what: str, exc: Exception, started: float) -> None:
        allowed: tuple[type, ...] = (*_OURS, *_BROKEN)
        if self.stay.closing_at is not None:
            allowed = (*allowed, trio.ClosedResourceError)
        link = self.judge.links[self.stay]
        store = link.failed_at >= started or self.judge.redis.losses
        patience = self.stay.program.policy.timeout
        late = trio.current_time() + _TINY >= started + min(patience, link.world.store_timeout)
        if (not self._pinned or what in ("log_in", "log_out")) and (store or late):
            # Its session could not be opened, or its log-in not be saved.
            allowed = (*allowed, StoreError)
        self.judge.raised(self.stay, f"{self.id} ({what})", exc, allowed)
        if isinstance(exc, RefreshUnavailableError) and what not in ("refresh", "token"):
            self.judge.unavailable(self.stay, self.key, f"{self.id} ({what})")

    # --- requests ------------------------------------------------------------------------------

    def _ask(self, session: Session | None = None) -> dict[str, str]:
        """Return the headers of a new request, which name it."""
        self._asked += 1
        name = f"{self.id}.{self._asked}"
        issue = session and self.ledger.issue_of(session)
        if issue:
            self.judge.born[name] = issue.login
        return {"x-sim-id": name}

    def _pin(self) -> None:
        self._pinned = True
        self.judge.note_held(self.stay, self.key)

    async def _get(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            await session.get("/ok", headers=self._ask(session))

    async def _crowd(self) -> None:
        errors: list[Exception] = []

        async def one(session: Session) -> None:
            try:
                await session.post("/ok", headers=self._ask(session), content=b"0123456789")
            except Exception as exc:
                errors.append(exc)

        async with self.sessions.use(self.key) as session:
            self._pin()
            async with trio.open_nursery() as nursery:
                for _ in range(_CROWD):
                    nursery.start_soon(one, session)
        for exc in errors:
            raise exc

    async def _stream(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            headers = self._ask(session)
            async with session.stream("GET", "/stream", headers=headers) as response:
                async for _ in response.aiter_bytes():
                    pass

    async def _lent(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            await session.http.get("/ok", headers=self._ask(session))

    async def _attached(self) -> None:
        extensions = {"trioauth.key": self.key}
        await self.client.get("/ok", headers=self._ask(), extensions=extensions)

    async def _attached_stream(self) -> None:
        extensions = {"trioauth.key": self.key}
        async with self.client.stream(
            "GET", "/stream", headers=self._ask(), extensions=extensions
        ) as response:
            await trio.sleep(self.idle + 1)
            async for _ in response.aiter_bytes():
                pass

    async def _hold(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            async with self.sessions.use(self.key) as same:
                if same is not session:
                    self.ledger.violate("P33", f"{self.id}: two sessions of one key")
            await trio.sleep(self.idle + self.step.amount)
            await session.get("/ok", headers=self._ask(session))

    # --- tokens and logins -----------------------------------------------------------------------

    async def _token(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            issue = self.ledger.by_access[await session.token()]
            if issue.login.key != self.key:
                self.ledger.violate("P30", f"{self.id} was given {issue.name}")

    async def _refresh(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            await session.refresh()

    async def _reject(self) -> None:
        async with self.sessions.use(self.key) as session:
            self._pin()
            issue = self.ledger.issue_of(session)
            if issue is not None:
                self.judge.seen[self.stay, self.key].rejected.add(issue)
            session.reject(session.generation)
            await session.get("/ok", headers=self._ask(session))

    async def _log_in(self) -> None:
        self.judge.seen[self.stay, self.key].log_ins += 1
        await self.sessions.log_in(self.key, self.server.sign_in(self.stay, self.key))

    async def _log_out(self) -> None:
        seen = self.judge.seen[self.stay, self.key]
        # Opened before, to see what it is that is ended.
        async with self.sessions.use(self.key):
            self._pin()
            seen.log_outs += 1
            given = {each for each in self.stay.given if each.key == self.key}
            seen.ended |= seen.held | given
            await self.sessions.log_out(self.key, revoke=self.step.amount < 5)

    # --- the end ---------------------------------------------------------------------------------

    async def works(self) -> None:
        """P32, P33: when the weather is fair, every login of every host works again."""
        self.judge.seen[self.stay, self.key].used = True
        for _ in range(4):
            async with self.sessions.use(self.key) as session:
                if isinstance(session.state, LoggedOut):
                    await self._log_in()
                try:
                    response = await session.get("/ok", headers=self._ask(session))
                except LoggedOutError:
                    continue
                except RefreshUnavailableError as exc:
                    # An answer was lost: the pause, up to five minutes, holds for all hosts.
                    pause = (exc.retry_at or 0.0) - trio.current_time()
                    if not -_TINY < pause <= _LONGEST_PAUSE + _TINY:
                        self.ledger.violate("P20", f"{self.id}: a pause of {pause} s")
                    await trio.sleep(max(pause, 0.0) + _TINY)
                    continue
                if response.status_code == 200:
                    self.ledger.count("final requests")
                    return
                await session.refresh()
        self.ledger.violate("P32", f"{self.id} does not work although the weather is fair")

    async def is_logged_out(self) -> bool:
        """Say whether the host knows that the login has ended."""
        self.judge.seen[self.stay, self.key].used = True
        async with self.sessions.use(self.key) as session:
            try:
                await session.token()
            except LoggedOutError:
                return True
        return False
