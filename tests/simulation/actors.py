"""Actors: what tasks do with a session, and what they must see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
import httpx2
import trio

from trioauth import (
    Error,
    GrantMisconfiguredError,
    LoggedOut,
    LoggedOutError,
    OriginError,
    RefreshUnavailableError,
    StoreError,
    TokenEndpoint,
    Tokens,
)
from trioauth._core.state import on_rejection
from trioauth._http.limiter import PATIENCE

from .server import FOREIGN
from .world import REQUESTS, SERIES, Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import Session

    from .invariants import Judge
    from .ledger import Ledger, Stay
    from .server import Server

_TINY: Final = 1e-6
_LONGEST_PAUSE: Final = 300.0
_OURS: Final = (
    LoggedOutError,
    RefreshUnavailableError,
    GrantMisconfiguredError,
    trio.ClosedResourceError,
)
_BROKEN: Final = (httpx.ReadError, httpx2.ReadError)
_AT_ONCE: Final = frozenset(
    {*REQUESTS, "token", "token_nowait", "refresh", "nursery"} - {"foreign"}
)


@attrs.define(eq=False)
class Actor:
    """One task, at one step."""

    id: str
    step: Step
    stay: Stay
    session: Session
    client: Any
    ledger: Ledger
    judge: Judge
    server: Server
    asking: str = ""
    """The name of the request that is under way."""

    async def act(self) -> None:
        """Do the step, and check how it ends."""
        what, patience, started = self.step.what, self.step.patience, trio.current_time()
        self._ask(self.id)
        out = isinstance(self.session.state, LoggedOut)
        begun = self.stay.begun
        self.ledger.count(f"did: {what}")
        self.ledger.note(self.stay.name, self.id, what, "begins")
        failure: Exception | None = None
        with trio.CancelScope() as scope:
            if patience is not None:
                scope.deadline = started + patience
            try:
                await self._do(what)
            except Exception as exc:
                failure = exc
                self._failed(what, exc, started)
            except BaseException as exc:  # noqa: ASYNC103  # but for what observers raise
                if self.judge.without_interrupts(exc) is not None:
                    raise
                self.ledger.count(f"interrupted: {what}")
                return  # noqa: ASYNC104
        took = trio.current_time() - started
        self.ledger.note(
            self.stay.name,
            self.id,
            what,
            type(failure).__name__ if failure else "ends",
            f"{took:.3f}",
        )
        if scope.cancelled_caught:
            self.ledger.count(f"cancelled: {what}")
        stopped = self.judge.weather.stopped_since(started)
        if patience is not None and took > patience + _TINY and not stopped:
            self.ledger.violate("P6", f"{self.id} ({what}) left {took - patience:.3f} s late")
        if out and what in _AT_ONCE and not scope.cancelled_caught and begun == self.stay.begun:
            if not isinstance(failure, LoggedOutError | trio.ClosedResourceError):
                self.ledger.violate("P11", f"{self.id} ({what}) on a session that is logged out")
            store = self.judge.stores[self.stay.name]
            looked = store.dawdling > 0 or store.dawdled_at > started
            if not stopped and took > (self.stay.program.policy.timeout + _TINY if looked else 0):
                self.ledger.violate("P11", f"{self.id} ({what}) learns late that it is logged out")

    async def _do(self, what: str) -> None:
        if what in REQUESTS:
            await self._request(what)
        else:
            await getattr(self, f"_{what}")()

    def _store_may_fail(self, started: float) -> bool:
        """Say whether the store has failed, or was busy for as long as one waits for it."""
        late = trio.current_time() + _TINY >= started + self.stay.program.policy.timeout
        store = self.judge.stores[self.stay.name]
        # What an observer raises ends the session, and perhaps before it has saved.
        cut_off = self.stay.interrupted_at >= started and self.stay.signed_in not in store.saved
        return late or store.mixed or store.troubled > 0 or cut_off

    def _failed(self, what: str, exc: Exception, started: float) -> None:
        allowed: tuple[type, ...] = _OURS
        if what in REQUESTS or what in SERIES:
            allowed = (*_OURS, *_BROKEN)
            if self.stay.program.slots and trio.current_time() >= started + PATIENCE:
                allowed = (*allowed, httpx.PoolTimeout)
            last = self.judge.last.get(self.asking)
            if last is not None and isinstance(exc, _OURS):
                last.kept = False
        if what == "foreign":
            allowed = (OriginError, trio.ClosedResourceError)
        if what == "token_nowait":
            allowed = (*_OURS, trio.WouldBlock)
        if what in ("log_in", "log_out"):
            allowed = (LoggedOutError, trio.ClosedResourceError)
        if what == "log_in" and self._store_may_fail(started):
            allowed = (*allowed, StoreError)
        if what == "log_in" and self.judge.has_seen(exc.__cause__):
            # Another task's log-in, which this one has waited for, failed so, and was judged then.
            # It may have begun before this one, and have waited for longer.
            allowed = (*allowed, Error)
        if what == "wait_logged_out":
            allowed = (trio.ClosedResourceError,)
        self.judge.raised(self.stay, f"{self.id} ({what})", exc, allowed)
        if isinstance(exc, RefreshUnavailableError) and what in (
            *REQUESTS,
            *SERIES,
            "token_nowait",
        ):
            self.judge.unavailable_although_good(self.stay, self.id)

    # --- requests ------------------------------------------------------------------------------

    async def _request(self, what: str) -> None:
        headers = {"x-sim-id": self.id}
        match what:
            case "stream":
                async with self.client.stream("GET", "/stream", headers=headers) as response:
                    async for _ in response.aiter_bytes():
                        pass
            case "post":
                content = b"0123456789"
                response = await self._send("/ok", headers | {"x-sim-length": "10"}, content)
            case "once":
                response = await self._send("/ok", headers | {"x-sim-length": "30"}, _once())
            case "form":
                response = await self.client.post("/form", headers=headers, data={"a": "b"})
            case "foreign":
                response = await self.client.get(f"{FOREIGN}/other", headers=headers)
            case "denied" | "away":
                response = await self.client.get(f"/{what}", headers=headers)
            case _:
                response = await self.client.get("/ok", headers=headers)
        self._answered(what, response)

    def _is_late(self, ended: float) -> bool:
        return trio.current_time() > ended and not self.judge.weather.stopped_since(ended)

    def _ask(self, number: str) -> None:
        """Take note that a request is asked for, or whatever else begins."""
        self.asking = number
        self.judge.reading.pop(self.id.partition(".")[0], None)
        held = self.ledger.issue_held_by(self.stay)
        if held is not None:
            self.judge.born[number] = held.login

    async def _poll(self) -> None:
        for number in range(6):
            with trio.move_on_after(0.02 + self.step.amount / 50):
                await self._one_of_many("poll", number, "/denied", None)
            await trio.sleep(0.2)

    async def _upload(self) -> None:
        for number in range(5):
            await self._one_of_many("upload", number, "/denied", _once())

    async def _items(self) -> None:
        for number in range(24):
            await self._one_of_many("items", number, f"/item/{self.id}.{number}", None)

    async def _one_of_many(self, what: str, number: int, path: str, content: Any) -> None:
        self._ask(f"{self.id}.{number}")
        headers = {"x-sim-id": self.asking}
        try:
            response = await self.client.request("POST", path, headers=headers, content=content)
        except _BROKEN:
            return
        self._answered(what, response)

    async def _send(self, path: str, headers: dict[str, str], content: Any) -> Any:
        return await self.client.post(path, headers=headers, content=content)

    def _answered(self, what: str, response: Any) -> None:
        last = self.judge.last[self.asking]
        said = response.extensions.get("trioauth")
        if said is None:
            self.ledger.violate("P4", f"{self.id} does not say how it was authenticated")
            return
        if response.status_code != 401 or not last.curable or response.url.host != "api.sim":
            return
        last.kept = said.not_resent in ("futile", "again")
        self.ledger.count(f"handed back: {said.not_resent}")
        if said.not_resent == "futile":
            self.judge.futility.handed_back(last)
        if said.not_resent is None:
            self.ledger.violate("P4", f"{self.id} got a 401 back for no reason")
        if said.not_resent == "body" and what not in ("once", "upload"):
            self.ledger.violate("P4", f"{self.id} ({what}) could have been sent again")

    # --- tokens --------------------------------------------------------------------------------

    async def _token(self) -> None:
        valid_for = self.step.amount
        if valid_for <= self.judge.lifetime:
            self.stay.most_wanted = max(self.stay.most_wanted, valid_for)
        self.judge.given(self.stay, await self.session.token(valid_for), valid_for)

    async def _token_nowait(self) -> None:
        self.judge.given(self.stay, self.session.token_nowait(), 0.0)

    async def _refresh(self) -> None:
        self.stay.refresh_calls.append(trio.current_time())
        await self.session.refresh()

    async def _reject(self) -> None:
        held, stay = self.ledger.issue_held_by(self.stay), self.stay
        generation, before = self.session.generation, self.session.statistics().rejections
        order, state = self.ledger.order(), self.session._machine.state
        news = on_rejection(state, generation) is not state
        self.session.reject(generation)
        heeded = self.session.statistics().rejections > before
        if news:
            self.judge.futility.reported(stay, heeded=heeded)
        if held is not None and heeded:
            stay.rejected[held.name] = order
        self.session.reject(generation - 1)

    # --- logins --------------------------------------------------------------------------------

    async def _nursery(self) -> None:
        entered, running = 0, 0

        async def child() -> None:
            nonlocal running
            running += 1
            try:
                await trio.sleep_forever()
            finally:
                running -= 1

        try:
            async with self.session.open_nursery() as nursery:
                entered = self.ledger.order()
                nursery.start_soon(child)
                nursery.start_soon(child)
                await trio.sleep(self.step.amount)
                nursery.cancel_scope.cancel()
        finally:
            ended = self.judge.ended_at(self.stay, entered) if entered else None
            if running:
                self.ledger.violate("P12", f"{self.id}: tasks outlive the nursery")
            if ended is not None and self._is_late(ended):
                self.ledger.violate("P12", f"{self.id}: the nursery outlives the login")

    async def _wait_logged_out(self) -> None:
        began = self.ledger.order()
        out = await self.session.wait_logged_out()
        ended = self.judge.ended_at(self.stay, began)
        if ended is not None and self._is_late(ended):
            self.ledger.violate("P11", f"{self.id} learns late that the login is over")
        if not isinstance(out, LoggedOut):
            self.ledger.violate("P11", f"{self.id} was told {out}")

    async def _log_out(self) -> None:
        self.stay.log_outs += 1
        self.stay.ended |= self.stay.held | self.stay.given
        self._changing(1)
        try:
            await self.session.log_out(revoke=self.step.amount < 5)
        finally:
            self._changing(-1)

    async def _log_in(self) -> None:
        begun = self.stay.begun
        self.stay.log_ins += 1
        self._changing(1)

        async def human(_: TokenEndpoint) -> Tokens:
            await trio.sleep(0.3)
            return self._sign_in()

        try:
            await self.session.log_in(human if self.step.amount > 1 else self._sign_in())
        finally:
            self._changing(-1)
        if self.stay.begun == begun:
            self.ledger.violate("P13", f"{self.id}: no new login began")

    def _sign_in(self) -> Tokens:
        tokens = self.server.sign_in(self.stay)
        self.stay.signed_in = tokens.access_token
        return tokens

    def _changing(self, by: int) -> None:
        self.stay.changing += by
        weather = self.judge.weather
        self.stay.changed_at, self.stay.changed_stops = weather.awake(), weather.stops


async def _once() -> AsyncGenerator[bytes, None]:
    for _ in range(3):
        await trio.lowlevel.checkpoint()
        yield b"0123456789"


async def final_request(actor: Actor) -> None:
    """P14, and the sense of it all: when the weather is fair, every session works again."""
    session, ledger = actor.session, actor.ledger
    for number in range(4):
        if isinstance(session.state, LoggedOut):
            actor.stay.log_ins += 1
            try:
                await session.log_in(actor.server.sign_in(actor.stay))
            except StoreError:
                if not actor.judge.stores[actor.stay.name].mixed:
                    raise
        headers = {"x-sim-id": f"{actor.id}.{number}"}
        try:
            response = await actor.client.get("/ok", headers=headers)
        except LoggedOutError:
            continue
        except RefreshUnavailableError as exc:
            # Another session's answer was lost, and its pause, up to five minutes, holds for all.
            pause = (exc.retry_at or 0.0) - trio.current_time()
            if not -_TINY < pause <= _LONGEST_PAUSE + _TINY:
                ledger.violate("P20", f"{actor.stay.name} asks for a pause of {pause} s")
            ledger.count("final: quiet")
            await trio.sleep(max(pause, 0.0) + _TINY)
            continue
        if response.status_code == 200:
            ledger.count("final requests")
            return
        if response.extensions["trioauth"].not_resent == "futile":
            # The API refused whatever the token, until the session gave up refreshing for it.
            ledger.count("final: futile")
            actor.stay.refresh_calls.append(trio.current_time())
            try:
                await session.refresh()
            except LoggedOutError:
                continue
    if actor.judge.stores[actor.stay.name].mixed:
        ledger.count("kept out by another client's record")
        return
    ledger.violate("P14", f"{actor.stay.name} does not work although the weather is fair")
