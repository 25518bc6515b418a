"""Asking: how `Session.log_in` begins a login.

1. With tokens: a flight saves them and begins the login.
2. With a function that asks a person: one task calls it, and other tasks that call `log_in`
   wait for that log-in instead of asking the person again.
3. With neither: a flight asks the grant, which needs no human. One task at a time, as in case 2.

In cases 2 and 3: if the task is cancelled before there are tokens, the next task that waits asks
instead. If it fails, every task that waits gets an error. Once there are tokens, the login is
completed by a flight, whatever becomes of the task.
"""

from __future__ import annotations

import contextvars
import math
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import trio

from trioauth._errors import Error, LoggedOutError, StoreError, careful
from trioauth._tokens import Tokens, no_tokens

from .flight import Flight
from .login_state import LoggedOut
from .logins import checked
from .machine import ask, call
from .state import Setback, public_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth.oauth._endpoint import TokenEndpoint

    from .flights import Flights
    from .machine import Machine
    from .state import Landing

    Obtain: TypeAlias = Callable[[TokenEndpoint], Awaitable[Tokens]]


@final
@attrs.define(eq=False, repr=False)
class _PendingLogIn:
    """A log-in that one task makes and for which other tasks wait."""

    done: trio.Event = attrs.field(factory=trio.Event)
    flight: Flight[Landing] | None = None
    """The flight that completes the login; None as long as there are no tokens."""
    error: Exception | None = None


# The log-in that the present task makes, to detect a deadlock: if its function called log_in(), it
# would wait for itself.
_current_log_in: contextvars.ContextVar[_PendingLogIn | None] = contextvars.ContextVar(
    "current_log_in", default=None
)


@final
@attrs.define(eq=False, repr=False)
class Asking:
    """How a session begins a login: with tokens, with its grant, or by asking a person."""

    machine: Machine
    flights: Flights
    endpoint: TokenEndpoint
    _pending: _PendingLogIn | None = attrs.field(default=None, init=False)

    async def begin(self, tokens: Tokens, *, asked_at: float) -> None:
        """Begin a login with these tokens.

        Cancellation:
          Safe. The login is completed without you.

        Raises:
          LoggedOutError: `Session.log_out` was called before it was complete.
          StoreError: It can't be kept; it lasts as long as the session.
        """
        await self._wait(self.flights.begin(tokens, asked_at=asked_at))

    @trio.lowlevel.enable_ki_protection
    async def obtain(self, obtain: Obtain | None) -> None:
        """Begin a login with what a function or the grant obtains; one task at a time.

        Cancellation:
          All or nothing. While tokens are being obtained, nothing has happened yet, and the next
          task that waits asks instead. From then on the login is completed without you.
        """
        while (pending := self._pending) is not None:
            if pending is _current_log_in.get():
                raise RuntimeError(
                    "what obtains the tokens can't call log_in() of the same session, it would "
                    "wait for itself; return the tokens"
                )
            await pending.done.wait()
            if pending.flight is not None:
                await self._wait(pending.flight)
                return
            if pending.error is not None:
                raise _failed(pending.error, public_state(self.machine.state))
        # The session may have been closed while this task waited.
        self.machine.check_open()
        pending = self._pending = _PendingLogIn()
        token = _current_log_in.set(pending)
        try:
            if obtain is None:
                await self._obtain_by_grant(pending)
            else:
                await self._obtain_by(obtain, pending)
        except Exception as exc:
            pending.error = exc
            raise
        finally:
            self._pending = None
            pending.done.set()
            _current_log_in.reset(token)

    async def _obtain_by_grant(self, pending: _PendingLogIn) -> None:
        flights = self.flights
        flight = flights.launch(flights.logins.obtain_first, Flight("log_in"))
        try:
            await self._wait(flight)
        finally:
            # Without tokens the log-in is over with this task; with tokens the flight completes it.
            pending.flight = None if flight.brought is None else flight
            if flight.brought is None and not flight.landed:
                flight.cancel("the task that logged in was cancelled")

    async def _obtain_by(self, obtain: Obtain, pending: _PendingLogIn) -> None:
        # Not the session's own: a refresh that uses that one meanwhile must not look like this one.
        machine, endpoint = self.machine, self.endpoint._for_one_log_in()
        # Before a person is asked: otherwise the answer could not be kept (P23).
        await self.flights.logins.prove_writable()
        took = 0.0
        answer = call(obtain, endpoint)
        if not isinstance(answer, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(
                "what obtains the tokens must be async; "
                f"it returned a {type(answer).__name__} at once"
            )
        # No deadline: a person may take any time.
        tokens = checked(await ask(_answered, answer))
        machine.check_open()
        if math.isfinite(endpoint.asked_at):
            # The function has used the endpoint. The lifetime of the tokens began with its last
            # request there, perhaps half an hour after the person was asked.
            took = trio.current_time() - endpoint.asked_at
        pending.flight = self.flights.begin(tokens, asked_at=machine.clock.now() - took)
        await self._wait(pending.flight)

    async def _wait(self, flight: Flight[Landing]) -> None:
        landing = await flight.wait_landed()
        if isinstance(landing, Setback):
            # Case 3: what the grant raised. No other task raises the same object.
            raise landing.cause
        if isinstance(landing, LoggedOut):
            self.machine.raise_failure(landing)
        self.machine.check_open()
        if not self.flights.renewal.vault.shared:
            return  # The program has passed no store, so memory is where the login is kept.
        unsaved = flight.unsaved
        if unsaved is None and flight.late:
            unsaved = trio.TooSlowError("the token store did not take it in time")
        if unsaved is not None:
            raise StoreError(
                f"logged in, but the login could not be saved ({careful(unsaved)}); it lasts as "
                "long as this session, and is saved as soon as the store works again",
                path=getattr(unsaved, "path", None),
            ) from unsaved


async def _answered(answer: Awaitable[Tokens]) -> Tokens:
    """Await an awaitable of the program: `ask` takes a function.

    Cancellation:
      As the function.
    """
    return await answer


def check_obtains(obtain: object, *, unattended: bool) -> None:
    """Raise `TypeError` if this can't obtain the first tokens, before anything happens."""
    if obtain is None and not unattended:
        raise TypeError("log_in() needs tokens=: this grant can't get the first ones itself")
    if obtain is not None and not callable(obtain):
        kind = no_tokens(obtain)
        raise TypeError(f"tokens must be trioauth.Tokens or an async function, not {kind}")


def _failed(cause: Exception, state: object) -> Error:
    message = "the log-in that another task had begun failed; call log_in() to try again"
    error = (
        LoggedOutError(message, state.reason, at_unix=state.at_unix)
        if isinstance(state, LoggedOut)
        else Error(message)
    )
    error.__cause__ = cause
    return error
