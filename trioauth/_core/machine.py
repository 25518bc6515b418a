"""Machine: the state of a session, and the one place where it changes.

`Machine.state` is one of the frozen states of `trioauth._core.state`, and
`Machine.become` is the only place that assigns it (but for `Flights.mark_closed`,
the last change). The order of a change:

1. The state is assigned.
2. The log is told, then the observers.
3. If a login ended: its cookies are dropped, its nurseries are cancelled, and the tasks that wait
   for its end wake.
4. If the new state does not wait for the flight of the old one: its passengers wake.
5. The tasks that wait for any change of the state wake: the timers, `Session.wait_logged_in`.

So a task that wakes sees the new state, and observers have seen it before. There
is never an ``await`` between reading the state and writing it: trio switches tasks
only there, so no lock is needed.

Control-C can arrive on any line, and an observer may raise anything. So each
method that must not be cut in two is decorated with `bookkeeping`. Control-C is
held back until it returns. An observer's `Exception` is logged; what else an
observer raises (`SystemExit`, `KeyboardInterrupt`) is raised after it.
"""

from __future__ import annotations

import contextvars
import logging
import math
import sys
from functools import wraps
from inspect import isawaitable, iscoroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeVar,
    assert_never,
    final,
)

import attrs
import trio

from trioauth import events
from trioauth._errors import (
    GrantMisconfiguredError,
    IdentityError,
    LoggedOutError,
    MetadataError,
    RefreshUnavailableError,
    careful,
)
from trioauth._outcomes import REASONS, REMEDIES, UNREMARKABLE
from trioauth.watch._journal import PASSING, Journal
from trioauth.watch._log import Log

from .clock import Clock
from .here import Here
from .login_state import LoggedOut
from .state import Closed, Setback, flight_of, generation_of, public_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .flight import Flight, Login
    from .key import Key
    from .policy import RefreshPolicy
    from .state import Failure, Landing, State

_logger = logging.getLogger("trioauth")

# How many links of a chain of exceptions are followed.
_LONGEST_CHAIN = 50

# The flight that the present task runs, to detect a deadlock: a grant that asks its own session for
# a token would wait for the flight that it runs in.
current_flight: contextvars.ContextVar[Flight[Any] | None] = contextvars.ContextVar(
    "current_flight", default=None
)


class _HasMachine(Protocol):
    @property
    def machine(self) -> Machine: ...


P = ParamSpec("P")
ResultT = TypeVar("ResultT")
OwnerT = TypeVar("OwnerT", bound=_HasMachine)


def bookkeeping(
    method: Callable[Concatenate[OwnerT, P], ResultT],
) -> Callable[Concatenate[OwnerT, P], ResultT]:
    """Make a method one step, which neither Control-C nor an observer can cut in two.

    Control-C is delivered at the program's next checkpoint; or in a function of the program that
    the method calls, see `call`.
    """

    @wraps(method)
    @trio.lowlevel.enable_ki_protection
    def whole(self: OwnerT, /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        machine = self.machine
        machine.depth += 1
        try:
            return method(self, *args, **kwargs)
        finally:
            machine.depth -= 1
            machine.raise_interrupt()

    return whole


@trio.lowlevel.disable_ki_protection
def call(function: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> ResultT:
    """Call a function of the program, which Control-C may interrupt."""
    return function(*args, **kwargs)


@trio.lowlevel.disable_ki_protection
async def ask(
    function: Callable[P, Awaitable[ResultT]], *args: P.args, **kwargs: P.kwargs
) -> ResultT:
    """Await a function of the program, which Control-C may interrupt.

    Cancellation:
      As the function.
    """
    return await function(*args, **kwargs)


def _drop_context(raised: BaseException, handled: BaseException | None) -> None:
    """Remove the exception that the session was handling from the ``__context__`` of another.

    Python sets it when an observer raises, and the handled exception may quote a secret (P17).
    """
    each: BaseException | None = raised
    for _ in range(_LONGEST_CHAIN):
        if each is None:
            return
        if each.__context__ is handled:
            each.__context__ = None
        each = each.__context__


@final
@attrs.define(eq=False, repr=False)
class Machine:
    """The state of a session, its counters, and its observers."""

    policy: RefreshPolicy
    state: State
    observers: tuple[events.Observer, ...] = ()
    forget_cookies: Callable[[], None] = attrs.field(default=lambda: None)
    here: Here = attrs.field(factory=Here)
    key: Key | None = None
    """Whose session this is, if the program has many."""

    login: Login | None = attrs.field(default=None, init=False)
    """The current login, or the last one if it has ended."""
    ended_at: float = attrs.field(default=-math.inf, init=False)
    """When the last login ended, on trio's clock."""
    number: int = attrs.field(default=0, init=False)
    """The generation counter: the highest number given to anything, here or in the store."""
    clock: Clock = attrs.field(factory=Clock, init=False)
    ended_logins: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """The ids of logins that have ended here: the store may still hold a record of one."""
    refreshes: int = attrs.field(default=0, init=False)
    rejections: int = attrs.field(default=0, init=False)
    last_failure: Exception | None = attrs.field(default=None, init=False)
    journal: Journal = attrs.field(default=Journal(), init=False)
    _changed: trio.Event | None = attrs.field(default=None, init=False)
    log: Log = attrs.field(factory=Log, init=False)
    depth: int = attrs.field(default=0, init=False)
    """How many calls of `bookkeeping` methods are under way, one inside another."""
    _interrupt: BaseException | None = attrs.field(default=None, init=False)

    @property
    def machine(self) -> Machine:
        """Itself: for `bookkeeping`."""
        return self

    @property
    def changed(self) -> trio.Event:
        """An event that is set at the next change of the state; made when a task waits for it."""
        if self._changed is None:
            self._changed = trio.Event()
        return self._changed

    # --- changing --------------------------------------------------------------------------

    @bookkeeping
    def become(self, state: State, *news: events.Event, landing: Landing | None = None) -> None:
        """Change to a state, tell the observers, then wake the tasks. Not a checkpoint.

        Args:
          state: The new state.
          news: What happened, for the observers.
          landing: What the passengers get if the new state does not wait for their flight.
        """
        # No await in here: every task sees either the old state or the new one.
        before, self.state = self.state, state
        for event in news:
            self.tell(event)
        # A generation of another login begins that login, and ends the one before ("replaced").
        login, generation = self.login, generation_of(state)
        outcome = state if isinstance(state, LoggedOut) else None
        begins = generation is not None and generation.login is not login
        if generation is not None and begins:
            self.login, outcome = generation.login, LoggedOut("replaced", at_unix=self.unix())
        if login is not None and outcome is not None and login.outcome is None:
            self._end(login, outcome)
        if generation is not None and begins:
            self.tell(events.LoggedIn(time=trio.current_time(), generation=generation.number))
        # Last, so that passengers wake after everything above is done.
        flight = flight_of(before)
        if flight is not None and flight_of(state) is not flight:
            flight.land(landing or outcome or LoggedOut("replaced"))
        self.wake()

    def wake(self) -> None:
        """Wake the tasks that wait for a change of the state. Not a checkpoint."""
        # Forgotten first: a task that wakes may wait for the next change at once.
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    def _end(self, login: Login, outcome: LoggedOut) -> None:
        self.ended_at = trio.current_time()
        # Before any task wakes: its next request must not carry a cookie of the ended login.
        self.forget_cookies()
        self.tell(
            events.LoggedOut(
                time=trio.current_time(), reason=outcome.reason, words=careful(outcome.cause)
            )
        )
        self.ended_logins |= {login.id}
        login.end(outcome)

    @bookkeeping
    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers, and note the event in the journal. Not a checkpoint.

        An `Exception` of an observer is logged. Any other exception of one, such as `SystemExit`,
        is raised when the outermost `bookkeeping` is done.
        """
        if not isinstance(event, PASSING):
            self.journal = self.journal.noting(event, at=self.clock.now())
        if self.key is not None:
            event = attrs.evolve(event, key=self.key.name, shown_key=self.key.shown)
        # A task that an observer starts inherits this context. It is not part of the flight, so it
        # may wait for it.
        token = current_flight.set(None)
        try:
            self._tell_one(self.log, event)
            for observer in self.observers:
                self._tell_one(observer, event)
        finally:
            current_flight.reset(token)

    def _tell_one(self, observer: events.Observer, event: events.Event) -> None:
        handled = sys.exception()
        try:
            answer = call(observer, event)
            if isawaitable(answer):
                if iscoroutine(answer):
                    answer.close()  # Or Python warns that it was never awaited.
                raise TypeError(  # logged below, with the observers that raise
                    "an observer must not be async: it is called, and not awaited"
                )
        except Exception as exc:  # noqa: BLE001  # logged
            _drop_context(exc, handled)
            self._log_raised()
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # raised by `raise_interrupt`
            _drop_context(exc, handled)
            self._interrupt = self._interrupt or exc

    def _log_raised(self) -> None:
        try:
            call(_logger.exception, "an observer raised; the session goes on")
        except Exception:  # noqa: BLE001, S110  # the log handler raised: nowhere is left to log it
            pass
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # raised by `raise_interrupt`
            self._interrupt = self._interrupt or exc

    def raise_interrupt(self) -> None:
        """Raise what an observer raised, if no bookkeeping is under way. Not a checkpoint."""
        if self.depth == 0 and self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            context = interrupt.__context__
            try:
                raise interrupt
            finally:
                # Not the exception that is being handled here, as in `_drop_context`.
                interrupt.__context__ = context
                # Else traceback and frame keep each other alive.
                del interrupt, context

    # --- times and errors ------------------------------------------------------------------

    def unix(self) -> float:
        """Return the current time, in seconds since 1970."""
        return self.clock.to_unix(self.clock.now())

    def set_back(self, cause: Exception, pause: float, quiet_until: float) -> Setback:
        """Return a setback that lasts for ``pause`` seconds, and until ``quiet_until`` at least."""
        return Setback(cause, max(self.clock.now() + pause, quiet_until))

    def raise_failure(self, why: Failure) -> NoReturn:
        """Raise a failure in the present task: a new exception each time, from the shared cause."""
        match why:
            case Setback() if isinstance(self.state, Closed):
                self.raise_failure(self.state)
            case Setback(GrantMisconfiguredError() | IdentityError() as cause):
                # A copy, because each task raises an exception of its own. It has the original's
                # traceback; with the original as its cause, the message would be there twice.
                raise _copy(cause).with_traceback(cause.__traceback__) from cause.__cause__
            case Setback(cause, retry_at):
                lasts = "" if generation_of(self.state) is None else "still logged in, "
                # The new exception is of the same class: don't repeat its name in the message.
                said = careful(cause).removeprefix(f"{RefreshUnavailableError.__name__}: ")
                error = RefreshUnavailableError(
                    f"no new token can be had now ({said}); {lasts}try later"
                )
                error.retry_at = self.clock.to_trio(retry_at)
                raise error from cause
            case LoggedOut(reason, cause, at_unix):
                more = "" if reason in UNREMARKABLE else " (session.explain() says what happened)"
                remedy = REMEDIES.get(reason, "log in again")
                raise LoggedOutError(
                    f"{REASONS[reason]}; {remedy}{more}", reason, at_unix=at_unix
                ) from cause
            case Closed():
                raise trio.ClosedResourceError(
                    "this session is closed: its async with block was left"
                )
        assert_never(why)

    def raise_ended(self, login: Login) -> NoReturn:
        """Raise in a task whose login has ended, or whose session was closed before it ended."""
        if login.outcome is not None:
            self.raise_failure(login.outcome)
        self.raise_failure(Closed(public_state(self.state)))

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the session is closed."""
        if isinstance(self.state, Closed):
            self.raise_failure(self.state)

    def check_here(self) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio, than the session's."""
        self.here.check(self.check_open)


def _copy(error: GrantMisconfiguredError | IdentityError) -> Exception:
    match error:
        case IdentityError():
            return IdentityError(str(error), claim=error.claim)
        case MetadataError():
            return MetadataError(error.description or "", member=error.member)
        case _:
            return GrantMisconfiguredError(error.error, error.description)
