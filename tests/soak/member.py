"""One session and its tasks: they ask and rest, are cancelled, logged out, and begin again."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx
import httpx2
import trio

from trioauth import (
    LoggedOutError,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    Session,
    Tokens,
    events,
    open_session,
)
from trioauth.stores import FileStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from trioauth import Grant

# What one request may take, waits and all, before it counts as waiting for ever.
FOR_EVER = 30.0
TIMEOUT = 5.0

_LIMITS = {"max_connections": 40, "max_keepalive_connections": 20}
_NETWORK = (httpx.TransportError, httpx2.TransportError)
# How often, in seconds, on average.
_LOG_OUT, _LOG_IN_OVER, _REVOKE_ACCESS = 40.0, 40.0, 10.0
_CANCELLED_A_SECOND = 0.02
_REOPEN = 0.3


def policy(*, keep_fresh: bool = False) -> RefreshPolicy:
    """Return a policy that is quick to try again."""
    return RefreshPolicy(
        timeout=TIMEOUT,
        attempts=3,
        backoff=0.2,
        cooldown=0.4,
        close_grace=2,
        keep_fresh=keep_fresh,
    )


def make_grant(url: str) -> Grant:
    """Return a grant for the server of the soak, which can revoke, too."""
    return RefreshTokenGrant(
        f"{url}/oauth/token", client_id="client", revocation_endpoint=f"{url}/oauth/revoke"
    )


@final
@attrs.define(eq=False, kw_only=True)
class Member:
    """One session and its tasks. It is an observer of the session, too."""

    url: str
    folder: Path
    """Where the store is; members with the same folder share it."""
    tasks: int
    pause: float
    """Seconds that a task rests between two requests, on average."""
    log_in: Callable[[], Awaitable[Tokens]] | None = None
    """How it logs in again; None: it waits for another to do so."""
    keep_fresh: bool = False
    make_grant: Callable[[str], Grant] = make_grant
    keep: Callable[[Any], object] = attrs.field(default=lambda _: None)
    """Is given each response: where a test leaks them."""
    count: Counter[str] = attrs.field(factory=Counter[str], init=False)
    most_attempts: int = attrs.field(default=0, init=False)
    """How often a request was sent; not counting one sending after an adopted token (P4)."""
    slowest_exit: float = attrs.field(default=0.0, init=False)
    problems: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """What no task should ever see, and how often one did."""
    _scopes: dict[int, trio.CancelScope] = attrs.field(
        factory=dict[int, trio.CancelScope], init=False
    )
    _cancelled_at: dict[int, float] = attrs.field(factory=dict[int, float], init=False)
    _saved: int = attrs.field(default=0, init=False)
    _adopted: dict[int, bool] = attrs.field(factory=dict[int, bool], init=False)
    """The generations that landed, and whether they were only found in the store."""

    async def live(self) -> None:
        """Open sessions and let the tasks work, until cancelled."""
        while True:
            async with self._open() as (session, clients):
                await self._work(session, clients)
            # Logged out, and somebody else's turn to log in.
            await trio.sleep(_REOPEN)

    def facts(self) -> dict[str, Any]:
        """Return what was counted."""
        return {
            "count": self.count,
            "problems": self.problems,
            "most_attempts": self.most_attempts,
            "slowest_exit": self.slowest_exit,
        }

    # --- the session -----------------------------------------------------------------------

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[tuple[Session, list[Any]], None]:
        self._saved = 0
        self._adopted.clear()
        async with open_session(
            self.make_grant(self.url),
            store=FileStore(self.folder / "tokens.json"),
            base_url=self.url,
            policy=policy(keep_fresh=self.keep_fresh),
            observers=[self],
            limits=httpx.Limits(**_LIMITS),
            verify=False,
            trust_env=False,
        ) as session:
            client = httpx2.AsyncClient(
                base_url=self.url, limits=httpx2.Limits(**_LIMITS), verify=False, trust_env=False
            )
            async with session.attach(client) as http:
                yield session, [session, http]

    async def _work(self, session: Session, clients: list[Any]) -> None:
        """Let the tasks work through login after login of one session."""
        while session.generation or self.log_in is not None:
            try:
                if not session.generation and self.log_in is not None:
                    await session.log_in(await self.log_in())
                async with session.open_nursery() as nursery:
                    for slot in range(self.tasks):
                        nursery.start_soon(self._live, slot, clients[slot % 2])
                    nursery.start_soon(self._cancel_now_and_then)
                    if self.log_in is not None:
                        nursery.start_soon(self._end_now_and_then, session)
                        nursery.start_soon(self._revoke_now_and_then, session)
            except LoggedOutError as exc:
                self.count[f"logged out: {exc.reason}"] += 1

    async def _end_now_and_then(self, session: Session) -> None:
        assert self.log_in is not None
        await trio.sleep(random.uniform(0, 2 * _LOG_OUT))
        if random.random() < _LOG_OUT / (_LOG_OUT + _LOG_IN_OVER):
            await session.log_out()
        else:
            await session.log_in(await self.log_in())

    async def _revoke_now_and_then(self, session: Session) -> None:
        """Let the API forget the access token, as an administrator may (RFC 7009)."""
        while True:
            await trio.sleep(random.uniform(0, 2 * _REVOKE_ACCESS))
            try:
                form = {"token": await session.token(), "client_id": "client"}
                await session.post(f"{self.url}/oauth/revoke", data=form, auth=httpx.Auth())
            except (RefreshUnavailableError, *_NETWORK):
                self.count["not revoked"] += 1

    # --- the tasks -------------------------------------------------------------------------

    async def _live(self, slot: int, http: Any) -> None:
        while True:
            with trio.CancelScope() as self._scopes[slot]:
                await self._ask_and_rest(http)
            took = trio.current_time() - self._cancelled_at.pop(slot)
            self.slowest_exit = max(self.slowest_exit, took)

    async def _cancel_now_and_then(self) -> None:
        while True:
            await trio.sleep(random.uniform(0, 2 / (_CANCELLED_A_SECOND * self.tasks)))
            slot, scope = random.choice(list(self._scopes.items()))
            if not scope.cancel_called:
                self.count["cancelled"] += 1
                self._cancelled_at[slot] = trio.current_time()
                scope.cancel(reason="the soak cancels at random")

    async def _ask_and_rest(self, http: Any) -> None:
        await trio.sleep(self.pause * random.random())
        while True:
            rest = self.pause * random.uniform(0.5, 1.5)
            try:
                with trio.fail_after(FOR_EVER):
                    await self._ask(http)
            except RefreshUnavailableError as exc:
                self.count["unavailable"] += 1
                rest += max((exc.retry_at or 0.0) - trio.current_time(), 0.0)
            except _NETWORK as exc:
                self.count[f"network: {type(exc).__name__}"] += 1
            except LoggedOutError:
                raise
            except Exception as exc:  # whatever it is: it is told at the end
                self.problems[f"{type(exc).__name__}: {exc}"[:200]] += 1
            await trio.sleep(rest)

    async def _ask(self, http: Any) -> None:
        """Send one request, of one kind or another."""
        match random.randrange(10):
            case 0:
                response = await http.post("/notes", json={"text": "hello"})
            case 1:
                # Its body can't be sent twice.
                response = await http.post("/notes", content=_body())
            case 2:
                async with http.stream("GET", "/stream?chunks=20&seconds=0.1") as response:
                    async for _ in response.aiter_raw():
                        pass
            case 3:
                response = await http.get("/slow?seconds=1")
            case _:
                response = await http.get("/notes")
        self.keep(response)
        how = response.extensions["trioauth"]
        before = max((each for each in self._adopted if each < how.generation), default=0)
        spared = how.attempts == 3 and self._adopted.get(before, False)  # P4 allows a third sending
        self.most_attempts = max(self.most_attempts, how.attempts - spared)
        self.count["requests"] += 1
        if response.status_code == 401:
            self.count[f"401 handed back: {how.not_resent}"] += 1
        elif response.status_code != 200:
            self.problems[f"status {response.status_code}"] += 1

    # --- observing -------------------------------------------------------------------------

    def __call__(self, event: events.Event) -> None:
        """Count what the session tells."""
        count = self.count
        match event:
            case events.RefreshStarted():
                count["flights"] += 1
            case events.RefreshLanded(generation=number, adopted=True):
                count["flights adopted"] += 1
                self._adopted[number] = True
            case events.RefreshLanded(generation=number):
                count["flights landed"] += 1
                self._adopted[number] = False
                # Saved, or told that it could not be, before anybody woke up (P7).
                count["unsaved"] += number != self._saved
            case events.RefreshFailed(error=error):
                count["flights failed"] += 1
                count[f"flight failed: {error}"] += 1
            case events.RequestResent():
                count["resent"] += 1
            case events.Saved(generation=number):
                self._saved = number
            case events.NotSaved(generation=number):
                count["not saved"] += 1
                self._saved = number
            case _:
                pass


async def _body() -> AsyncIterator[bytes]:  # noqa: ASYNC900
    yield json.dumps({"text": "once"}).encode()
