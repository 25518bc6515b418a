"""Asking: one task asks a person to log in, the others wait for it."""

from __future__ import annotations

import contextvars
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
from .state import Setback, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth.oauth.channel import TokenEndpoint

    from .flights import Flights
    from .machine import Machine
    from .state import Landing

    Obtain: TypeAlias = Callable[[TokenEndpoint], Awaitable[Tokens]]


@final
@attrs.define(eq=False, repr=False)
class _Question:
    """A log-in that a task has begun, and for which others wait."""

    done: trio.Event = attrs.field(factory=trio.Event)
    flight: Flight[Landing] | None = None
    """What begins the login once there are tokens, whatever becomes of the task."""
    error: Exception | None = None


# The log-in that this task is a part of: one that began another would wait for itself.
_within: contextvars.ContextVar[_Question | None] = contextvars.ContextVar("within", default=None)


@final
@attrs.define(eq=False, repr=False)
class Asking:
    """How a session begins a login: with tokens, with its grant, or by asking a person."""

    machine: Machine
    flights: Flights
    endpoint: TokenEndpoint
    _question: _Question | None = attrs.field(default=None, init=False)

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
        while (question := self._question) is not None:
            if question is _within.get():
                raise RuntimeError(
                    "what obtains the tokens can't call log_in() of the same session, it would "
                    "wait for itself; return the tokens"
                )
            await question.done.wait()
            if question.flight is not None:
                await self._wait(question.flight)
                return
            if question.error is not None:
                raise _failed(question.error, seen(self.machine.state))
        # It may have been closed while this task waited.
        self.machine.check_open()
        question = self._question = _Question()
        token = _within.set(question)
        try:
            if obtain is None:
                await self._obtain_by_grant(question)
            else:
                await self._obtain_by(obtain, question)
        except Exception as exc:
            question.error = exc
            raise
        finally:
            self._question = None
            question.done.set()
            _within.reset(token)

    async def _obtain_by_grant(self, question: _Question) -> None:
        flights = self.flights
        flight = flights.launch(flights.logins.obtain_first, Flight("log_in"))
        try:
            await self._wait(flight)
        finally:
            question.flight = None if flight.brought is None else flight
            if flight.brought is None and not flight.landed:
                flight.ground("the task that logged in was cancelled")

    async def _obtain_by(self, obtain: Obtain, question: _Question) -> None:
        machine, endpoint = self.machine, self.endpoint
        # Nothing is asked of a person that could not be kept (P23).
        await self.flights.logins.prove_writable()
        began, took = trio.current_time(), 0.0
        answer = call(obtain, endpoint)
        if not isinstance(answer, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(
                "what obtains the tokens must be async; "
                f"it returned a {type(answer).__name__} at once"
            )
        # No deadline: a human takes the time it takes.
        tokens = checked(await ask(_answered, answer))
        machine.check_open()
        if endpoint.asked_at >= began:
            # The person may have taken half an hour: what counts is the last request.
            took = trio.current_time() - endpoint.asked_at
        question.flight = self.flights.begin(tokens, asked_at=machine.clock.now() - took)
        await self._wait(question.flight)

    async def _wait(self, flight: Flight[Landing]) -> None:
        landing = await flight.wait_landed()
        if isinstance(landing, Setback):
            # The flight has asked the grant; what it raised is this task's alone.
            raise landing.cause
        if isinstance(landing, LoggedOut):
            self.machine.fail(landing)
        self.machine.check_open()
        if not self.flights.renewal.vault.shared:
            return  # It is in memory, which is all that was asked for.
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
    """Await what a function of the program has returned, see `ask`.

    Cancellation:
      As the function.
    """
    return await answer


def check_obtains(obtain: object, *, unattended: bool) -> None:
    """Name what is not fit to obtain the first tokens, before anything happens."""
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
