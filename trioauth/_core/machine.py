"""Machine: the state of a session, and the one place where it changes.

How it works. `Machine.state` is one of the frozen states of `trioauth._core.state`,
and `Machine.become` is the only place that assigns it. The order in which the
world is told:

1. the state is assigned;
2. the observers are told, the log first;
3. what lives no longer than an ended login is cancelled, and those who wait for its end wake;
4. the passengers of a flight that the state no longer waits for wake, then the timers.

So no task wakes up into the past. Between reading the state and writing it there
is never an ``await``: in trio that is the lock.

Control-C can come on any line, and an observer may raise anything. So what
belongs together is `bookkeeping`: Control-C waits until it is done, and what an
observer raises beyond an `Exception` is raised after it.
"""

from __future__ import annotations

import contextvars
import logging
import math
import sys
import threading
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
from .login_state import LoggedOut
from .state import Closed, Setback, airborne, held, seen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .flight import Flight, Login
    from .policy import RefreshPolicy
    from .state import Failure, Landing, State

_logger = logging.getLogger("trioauth")

# How far the contexts of an exception are followed.
_LONGEST_CHAIN = 50

# The flight that this task is a part of: a grant that asked its own session for a token would wait
# for itself.
flying: contextvars.ContextVar[Flight[Any] | None] = contextvars.ContextVar("flying", default=None)


class _HasMachine(Protocol):
    @property
    def machine(self) -> Machine: ...


P = ParamSpec("P")
ResultT = TypeVar("ResultT")
OwnerT = TypeVar("OwnerT", bound=_HasMachine)


def bookkeeping(
    method: Callable[Concatenate[OwnerT, P], ResultT],
) -> Callable[Concatenate[OwnerT, P], ResultT]:
    """Make a method one step that Control-C and observers can't break into.

    Control-C is delivered at the program's next checkpoint, but for the functions of the
    program that are called inside, see `call`.
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
            machine.surface()

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


def _take_from(raised: BaseException, handled: BaseException | None) -> None:
    """Take the exception that the session was handling out of the context of another.

    Python puts it there when an observer raises, and it may quote a secret (P17).
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
    """The state of a session, what it remembers, and who is told."""

    policy: RefreshPolicy
    state: State
    observers: tuple[events.Observer, ...] = ()
    forget_cookies: Callable[[], None] = attrs.field(default=lambda: None)

    login: Login | None = attrs.field(default=None, init=False)
    """The current login, or the last one if it has ended."""
    ended_at: float = attrs.field(default=-math.inf, init=False)
    """When the last login ended, on trio's clock."""
    number: int = attrs.field(default=0, init=False)
    """The generation counter: the highest number given to anything, here or in the store."""
    clock: Clock = attrs.field(factory=Clock, init=False)
    over: set[str] = attrs.field(factory=set[str], init=False)
    """The names of logins that have ended here: others may still have them in the store."""
    refreshes: int = attrs.field(default=0, init=False)
    rejections: int = attrs.field(default=0, init=False)
    last_failure: Exception | None = attrs.field(default=None, init=False)
    journal: Journal = attrs.field(default=Journal(), init=False)
    changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set at the next change of the state."""
    log: Log = attrs.field(factory=Log, init=False)
    depth: int = attrs.field(default=0, init=False)
    """How many steps of `bookkeeping` are under way, one inside another."""
    _interrupt: BaseException | None = attrs.field(default=None, init=False)
    _thread: int = attrs.field(factory=threading.get_ident, init=False)
    _run: trio.lowlevel.TrioToken = attrs.field(
        factory=trio.lowlevel.current_trio_token, init=False
    )

    @property
    def machine(self) -> Machine:
        """Itself: for `bookkeeping`."""
        return self

    # --- changing --------------------------------------------------------------------------

    @bookkeeping
    def become(self, state: State, *news: events.Event, landing: Landing | None = None) -> None:
        """Take on a state, tell the observers, then wake who waited. Not a checkpoint.

        Args:
          state: The new state.
          news: What happened, for the observers.
          landing: What passengers get if the new state no longer waits for their flight.
        """
        before, self.state = self.state, state
        for event in news:
            self.tell(event)
        login, generation = self.login, held(state)
        outcome = state if isinstance(state, LoggedOut) else None
        begins = generation is not None and generation.login is not login
        if generation is not None and begins:
            self.login, outcome = generation.login, LoggedOut("replaced", at_unix=self.unix())
        if login is not None and outcome is not None and login.outcome is None:
            self._end(login, outcome)
        if generation is not None and begins:
            self.tell(events.LoggedIn(time=trio.current_time(), generation=generation.number))
        flight = airborne(before)
        if flight is not None and airborne(state) is not flight:
            flight.land(landing or outcome or LoggedOut("replaced"))
        self.wake()

    def wake(self) -> None:
        """Wake those who wait for a change of the state. Not a checkpoint."""
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def _end(self, login: Login, outcome: LoggedOut) -> None:
        self.ended_at = trio.current_time()
        self.forget_cookies()
        self.tell(
            events.LoggedOut(
                time=trio.current_time(), reason=outcome.reason, words=careful(outcome.cause)
            )
        )
        self.over.add(login.id)
        login.end(outcome)

    @bookkeeping
    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers, and remember what explains. Not a checkpoint.

        An observer that raises an `Exception` is logged. Control-C in one, `SystemExit` and their
        like wait until the bookkeeping is done.
        """
        if not isinstance(event, PASSING):
            self.journal = self.journal.noting(event, at=self.clock.now())
        # A task that an observer starts is no part of the flight, and may wait for it.
        token = flying.set(None)
        try:
            self._tell_one(self.log, event)
            for observer in self.observers:
                self._tell_one(observer, event)
        finally:
            flying.reset(token)

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
            _take_from(exc, handled)
            self._log_raised()
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # raised by `surface`
            _take_from(exc, handled)
            self._interrupt = self._interrupt or exc

    def _log_raised(self) -> None:
        try:
            call(_logger.exception, "an observer raised; the session goes on")
        except Exception:  # noqa: BLE001, S110  # a handler of the program's log: there is no other place to say it
            pass
        except BaseException as exc:  # noqa: ASYNC103, BLE001  # raised by `surface`
            self._interrupt = self._interrupt or exc

    def surface(self) -> None:
        """Raise what an observer raised, once the bookkeeping is done. Not a checkpoint."""
        if self.depth == 0 and self._interrupt is not None:
            interrupt, self._interrupt = self._interrupt, None
            context = interrupt.__context__
            try:
                raise interrupt
            finally:
                # Without what is being handled here, as above.
                interrupt.__context__ = context
                # Or the traceback holds the frame, and the frame the exception.
                del interrupt, context

    # --- looking ---------------------------------------------------------------------------

    def unix(self) -> float:
        """Return the time of now, in seconds since 1970."""
        return self.clock.to_unix(self.clock.now())

    def set_back(self, cause: Exception, pause: float, quiet_until: float) -> Setback:
        """Make a setback, to be remembered for a pause, and while a refresh token is left alone."""
        return Setback(cause, max(self.clock.now() + pause, quiet_until))

    def fail(self, why: Failure) -> NoReturn:
        """Raise what this means to the task at hand: an exception of its own, a shared cause."""
        match why:
            case Setback() if isinstance(self.state, Closed):
                self.fail(self.state)
            case Setback(GrantMisconfiguredError() | IdentityError() as cause):
                # A copy with the original's traceback, since each task gets an exception of its
                # own; as its cause, the original would say the same once more.
                raise _copy(cause).with_traceback(cause.__traceback__) from cause.__cause__
            case Setback(cause, retry_at):
                lasts = "" if held(self.state) is None else "still logged in, "
                # It need not be told by a name that it has itself.
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

    def fail_ended(self, login: Login) -> NoReturn:
        """Raise to a task whose login has ended, or whose session was closed with it."""
        if login.outcome is not None:
            self.fail(login.outcome)
        self.fail(Closed(seen(self.state)))

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the session is closed."""
        if isinstance(self.state, Closed):
            self.fail(self.state)

    def check_here(self) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio, than the session's."""
        # First what each request with a fresh token pays for. No other thread has this token.
        try:
            if trio.lowlevel.current_trio_token() is self._run:
                return
        except RuntimeError:
            pass  # There is no trio here.
        if threading.get_ident() != self._thread:
            self.check_open()
            raise RuntimeError(
                "this session belongs to another thread; from this one use "
                "trio.from_thread.run(session.get, ...), or run_sync for what is not async"
            )
        raise RuntimeError(
            "this session belongs to another run of trio; open one in each trio.run()"
        )


def _copy(error: GrantMisconfiguredError | IdentityError) -> Exception:
    match error:
        case IdentityError():
            return IdentityError(str(error), claim=error.claim)
        case MetadataError():
            return MetadataError(error.description or "", member=error.member)
        case _:
            return GrantMisconfiguredError(error.error, error.description)
