"""Keeper: the inside of a session. It keeps the tokens, and the flights that bring newer ones.

How it works. `Keeper.state` is one of the frozen states of `trioauth._state`,
and `Keeper.become` is the only place that assigns it: state first, observers
second, wake-up last, so that nobody wakes up into the past. Who needs a token
asks `on_demand` what to do, and boards a flight if it says so; the flight runs
in the session's nursery, not in the task that asked. Between reading the state
and writing it there is never an ``await``: in trio that is the lock. The
`trio.Lock` is for what does await: every change of credentials goes through it.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
from typing import TYPE_CHECKING, NoReturn, TypeAlias, assert_never, final

import attrs
import trio

from . import events
from ._clock import Clock
from ._errors import (
    GrantMisconfiguredError,
    LoggedOutError,
    RefreshUnavailableError,
    StoreError,
    careful,
)
from ._flight import Flight, Generation, Login
from ._journal import PASSING, Journal
from ._log import log, wants_waits
from ._outcomes import REASONS, REMEDIES, UNREMARKABLE
from ._renewal import log_in, log_out, renew, restore, save_again
from ._retry import retry_after
from ._state import (
    Board,
    Closed,
    Current,
    Failure,
    Landing,
    LoggedOut,
    Refreshing,
    Rejected,
    Setback,
    State,
    TakeOff,
    Use,
    UseAndRefresh,
    Vacant,
    airborne,
    held,
    on_close,
    on_demand,
    on_landing,
    on_log_in,
    on_log_out,
    on_rejection,
    on_take_off,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._endpoint import TokenEndpoint
    from ._grant import Grant
    from ._policy import RefreshPolicy
    from ._tokens import Tokens
    from ._vault import Vault

    Procedure: TypeAlias = Callable[["Keeper", Flight[Landing]], Awaitable[Landing | None]]

_logger = logging.getLogger("trioauth")

# The flight that this task is a part of: a grant that asked its own session for a token would wait
# for itself.
_flying: contextvars.ContextVar[Flight[Landing] | None] = contextvars.ContextVar(
    "_flying", default=None
)

# A token that is born old must not make a busy loop of a timer.
_SHORTEST_NAP = 0.5
# Trio's timers stand still while the machine sleeps: so it is looked up now and then, too.
_LONGEST_NAP = 30.0
# A nap may end so much too early, because seconds are added up in another order.
_ROUNDING = 1e-6


@final
@attrs.define(eq=False)
class Keeper:
    """The state of a session, its flights, and its waiting tasks."""

    grant: Grant
    vault: Vault
    endpoint: TokenEndpoint
    policy: RefreshPolicy
    nursery: trio.Nursery
    observers: tuple[events.Observer, ...]
    forget_cookies: Callable[[], None]

    state: State = attrs.field(init=False)
    login: Login | None = attrs.field(default=None, init=False)
    """The current login, or the last one if it has ended."""
    number: int = attrs.field(default=0, init=False)
    """The generation counter: the highest number given to anything, here or in the store."""
    clock: Clock = attrs.field(factory=Clock, init=False)
    lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    unattended: bool = attrs.field(init=False)
    refreshes: int = attrs.field(default=0, init=False)
    rejections: int = attrs.field(default=0, init=False)
    last_failure: Exception | None = attrs.field(default=None, init=False)
    journal: Journal = attrs.field(default=Journal(), init=False)
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _flights: set[Flight[Landing]] = attrs.field(factory=set[Flight[Landing]], init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _saving_later: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.unattended = getattr(self.grant, "unattended", False)
        self.state = Vacant() if self.unattended else LoggedOut("never_logged_in")

    # --- for whoever needs a token ---------------------------------------------------------

    def fresh(self, valid_for: float = 0.0) -> Generation | None:
        """Return the generation to use if there is nothing to think about. Not a checkpoint."""
        state = self.state
        if isinstance(state, Current) and self.clock.now() + valid_for < state.generation.early_at:
            return state.generation
        return None

    def at_hand(self) -> Generation:
        """Return a generation to use, or raise `trio.WouldBlock`. Not a checkpoint."""
        if (generation := self.fresh()) is not None:
            return generation
        decision = on_demand(self.state, now=self.clock.now())
        match decision:
            case Use(generation):
                return generation
            case UseAndRefresh(generation):
                self.take_off("clock")
                return generation
            case TakeOff(cause):
                self.take_off(cause)
                raise trio.WouldBlock
            case Board():
                raise trio.WouldBlock
            case Setback() | LoggedOut() | Closed():
                self.fail(decision)
        assert_never(decision)

    async def obtain(
        self, login: Login | None = None, *, valid_for: float = 0.0, one_shot: bool = False
    ) -> Generation:
        """Return a generation to use, of ``login`` if one is given; wait if need be.

        Cancellation:
          Safe. You leave; a flight that you waited for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        landed = 0
        while True:
            if login is not None and login.outcome is not None:
                self.fail(login.outcome)
            decision = on_demand(
                self.state,
                now=self.clock.now(),
                valid_for=valid_for,
                one_shot=one_shot,
                landed=landed,
            )
            match decision:
                case Use(generation):
                    return generation
                case UseAndRefresh(generation):
                    self.take_off("clock")
                    return generation
                case Board(flight):
                    pass
                case TakeOff(cause):
                    flight = self.take_off(cause)
                case failure:
                    self.fail(failure)
            replaced = held(self.state)
            login = login or (replaced and replaced.login)
            landing = await self.board(flight)
            match landing:
                case Generation(number=landed):
                    login = login or landing.login
                case Setback():
                    if login is not None and login.outcome is not None:
                        self.fail(login.outcome)
                    usable = self.usable(valid_for)
                    if usable is None or usable.login is not login:
                        self.fail(landing)
                    return usable
                case logged_out:
                    self.fail(logged_out)

    def usable(self, valid_for: float = 0.0) -> Generation | None:
        """Return what still works although it could not be renewed. Not a checkpoint."""
        match self.state:
            case Current(generation) | Refreshing(generation, _, False):
                expired = generation.freshness(self.clock.now(), valid_for=valid_for) == "expired"
                return None if expired else generation
            case _:
                return None

    async def board(self, flight: Flight[Landing]) -> Landing:
        """Wait for a flight.

        Cancellation:
          Safe. You leave; the flight goes on.
        """
        if _flying.get() in self._flights:
            raise RuntimeError(
                "a grant or store can't use the session it works for, it would wait for itself; "
                "use the endpoint it is given"
            )
        task = trio.lowlevel.current_task().name
        flight.board(task)
        if not (self.observers or wants_waits()):
            return await flight.wait_landed()
        self.tell(events.WaitStarted(time=trio.current_time(), flight=flight.number, task=task))
        cancelled = True
        try:
            landing = await flight.wait_landed()
            cancelled = False
        finally:
            now = trio.current_time()
            self.tell(
                events.WaitEnded(time=now, flight=flight.number, task=task, cancelled=cancelled)
            )
        return landing

    # --- what the signer reports -----------------------------------------------------------

    def reject(self, number: int) -> None:
        """Take in that a generation was refused; late news is ignored. Not a checkpoint."""
        state = on_rejection(self.state, number)
        if state is not self.state:
            self.rejections += 1
            self.become(state)

    def renew_behind(self) -> None:
        """Start a flight that nobody waits for, if one is due. Not a checkpoint."""
        if isinstance(on_demand(self.state, now=self.clock.now()), TakeOff):
            self.take_off("rejected")

    # --- flights ---------------------------------------------------------------------------

    def take_off(self, cause: events.RefreshCause) -> Flight[Landing]:
        """Start a refresh. Not a checkpoint: state and flight change together."""
        self.refreshes += 1
        now = trio.current_time()
        flight = Flight[Landing](self.refreshes, cause, now)
        replaced = held(self.state)
        self.become(
            on_take_off(self.state, flight),
            events.RefreshStarted(
                time=now,
                flight=flight.number,
                cause=cause,
                generation=0 if replaced is None else replaced.number,
            ),
        )
        return self.launch(renew, flight)

    def launch(
        self, procedure: Procedure, flight: Flight[Landing] | None = None
    ) -> Flight[Landing]:
        """Run a procedure as a flight of the session's own, in the context of its opener."""
        flight = flight or Flight(0)
        self._flights.add(flight)
        # start_soon, never start, which would tie it to the task that happens to be here.
        self._context.run(self.nursery.start_soon, self._fly, procedure, flight)
        return flight

    async def _fly(self, procedure: Procedure, flight: Flight[Landing]) -> None:
        landing: Landing | None = None
        failure: Exception | None = None
        _flying.set(flight)
        flight.scope.deadline = trio.current_time() + self.policy.timeout
        try:
            with flight.scope:
                landing = await procedure(self, flight)
        except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
            failure = exc
        finally:
            # The worst is assumed, so that nobody is left waiting whatever happened.
            landing = landing or flight.brought or self._setback_of(flight, failure)
            try:
                self._land(flight, landing)
            finally:
                # Control-C may have come in an observer, and leaving waits for this.
                flight.land(landing)
                self._flights.discard(flight)
                flight.over.set()

    def _setback_of(self, flight: Flight[Landing], failure: Exception | None) -> Setback:
        cause = failure or trio.TooSlowError(
            flight.grounded or f"no end within {self.policy.timeout} seconds, RefreshPolicy.timeout"
        )
        return self.set_back(cause, flight)

    def _land(self, flight: Flight[Landing], landing: Landing) -> None:
        """Take in what a flight brought, and wake its passengers. Not a checkpoint."""
        if flight.cause is not None:
            if isinstance(landing, Generation) and flight.landed:
                # Its login is over: what it brought is nobody's.
                landing = LoggedOut("replaced")
            landing = self._last_straw(landing)
            report = self._report(flight, landing)
            self.become(on_landing(self.state, flight, landing), report, landing=landing)
        elif isinstance(landing, Generation) and not flight.landed:
            if landing.number < self.number:
                # Cut short, or without a store, and meanwhile a refresh has landed.
                self.number += 1
                landing = attrs.evolve(landing, number=self.number)
                landing.login.generation = self.number
            self.become(on_log_in(self.state, landing), landing=landing)
            if isinstance(self.state, Closed):
                self._supersede()
        elif isinstance(landing, LoggedOut):
            self.become(on_log_out(self.state, landing), landing=landing)
        # For those who did not wait for a state: it had changed without this flight.
        flight.land(landing)

    def _supersede(self) -> None:
        """Land the refreshes of an older login, which would overwrite the new one in the store."""
        for flight in self._flights:
            if flight.cause is not None:
                flight.land(LoggedOut("replaced"))

    def _last_straw(self, landing: Landing) -> Landing:
        """Make a log-out of a setback, if the policy says so and nothing works any more."""
        if (
            isinstance(landing, Setback)
            and self.policy.when_unavailable == "log_out"
            and not isinstance(landing.cause, GrantMisconfiguredError)
            and held(self.state) is not None
            and self.usable() is None
        ):
            return LoggedOut("unavailable", landing.cause)
        return landing

    def _report(self, flight: Flight[Landing], landing: Landing) -> events.Event:
        now, number = trio.current_time(), flight.number
        took, waited, tasks = now - flight.began, flight.boarded, flight.first
        if isinstance(landing, Generation):
            self.last_failure = None
            return events.RefreshLanded(
                time=now,
                flight=number,
                generation=landing.number,
                adopted=flight.brought is not landing,
                took=took,
                waited=waited,
                tasks=tasks,
            )
        self.last_failure = landing.cause
        return events.RefreshFailed(
            time=now,
            flight=number,
            error=type(landing.cause or LoggedOutError("")).__name__,
            retry_at=self.clock.to_trio(landing.retry_at) if isinstance(landing, Setback) else now,
            words=careful(landing.cause),
            took=took,
            waited=waited,
            tasks=tasks,
        )

    def ground(self) -> None:
        """Cancel the refreshes in the air, because somebody logs in or out. Not a checkpoint."""
        for flight in self._flights:
            if flight.cause is not None:
                flight.ground("somebody logged in or out")
        if held(self.state) is not None:
            # Its passengers have waited for a login that is about to be replaced.
            self.become(on_log_out(self.state, LoggedOut("replaced")))

    def set_back(self, cause: Exception, flight: Flight[Landing]) -> Setback:
        """Make a setback, to be remembered for the cool-down, or as long as the server asked."""
        pause = max(self.policy.cooldown, retry_after(cause))
        return Setback(cause, max(self.clock.now() + pause, flight.quiet_until))

    # --- the one place where the state changes ---------------------------------------------

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
            self.login, outcome = generation.login, LoggedOut("replaced")
        if login is not None and outcome is not None and login.outcome is None:
            self.forget_cookies()
            self.tell(
                events.LoggedOut(
                    time=trio.current_time(), reason=outcome.reason, words=careful(outcome.cause)
                )
            )
            login.end(outcome)
        if generation is not None and begins:
            self.tell(events.LoggedIn(time=trio.current_time(), generation=generation.number))
        flight = airborne(before)
        if flight is not None and airborne(state) is not flight:
            flight.land(landing or outcome or LoggedOut("replaced"))
        self._changed.set()

    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers, and remember what explains. Not a checkpoint."""
        if not isinstance(event, PASSING):
            self.journal = self.journal.noting(event, at=self.clock.now())
        # A task that an observer starts is no part of the flight, and may wait for it.
        flying = _flying.set(None)
        try:
            for observer in (log, *self.observers):
                try:
                    observer(event)
                except Exception:
                    # A handler of the program's that raises is not to end the session either.
                    with contextlib.suppress(Exception):
                        _logger.exception("an observer raised; the session goes on")
        finally:
            _flying.reset(flying)

    def fail(self, why: Failure) -> NoReturn:
        """Raise what this means to the task at hand: an exception of its own, a shared cause."""
        match why:
            case Setback() if isinstance(self.state, Closed):
                self.fail(self.state)
            case Setback(GrantMisconfiguredError() as cause):
                raise GrantMisconfiguredError(cause.error, cause.description) from cause
            case Setback(cause, retry_at):
                lasts = "" if held(self.state) is None else "still logged in, "
                # It need not be told by a name that it has itself.
                said = careful(cause).removeprefix(f"{RefreshUnavailableError.__name__}: ")
                error = RefreshUnavailableError(
                    f"no new token can be had now ({said}); {lasts}try later"
                )
                error.retry_at = self.clock.to_trio(retry_at)
                raise error from cause
            case LoggedOut(reason, cause):
                more = "" if reason in UNREMARKABLE else " (session.explain() says what happened)"
                remedy = REMEDIES.get(reason, "log in again")
                raise LoggedOutError(f"{REASONS[reason]}; {remedy}{more}", reason) from cause
            case Closed():
                raise trio.ClosedResourceError(
                    "this session is closed: its async with block was left"
                )
        assert_never(why)

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if the session is closed."""
        if isinstance(self.state, Closed):
            self.fail(self.state)

    # --- opening, chores and closing -------------------------------------------------------

    async def open(self, tokens: Tokens | None) -> None:
        """Start as ``tokens`` say, or else as the store says.

        Raises:
          StoreError: The store can't be read.

        Cancellation:
          All or nothing, as `Session.log_in`.
        """
        asked_at = self.clock.now()
        try:
            with trio.fail_after(self.policy.timeout):
                record = await self.vault.look()
        except trio.TooSlowError:
            raise StoreError(
                f"the token store gave no answer within {self.policy.timeout} seconds "
                "(RefreshPolicy.timeout); see why it hangs"
            ) from None
        if tokens is not None:
            await self.begin(tokens, asked_at=asked_at)
        elif record is not None and record.tokens is not None:
            self.become(on_log_in(self.state, restore(self, record, record.tokens)))
        elif record is not None and not self.unattended:
            self.become(LoggedOut("elsewhere"))
        if self.policy.keep_fresh:
            self.nursery.start_soon(self._keep_fresh)

    async def begin(self, tokens: Tokens, *, asked_at: float) -> None:
        """Begin a login with these tokens.

        Cancellation:
          Safe. The login is completed without you.
        """

        async def procedure(keeper: Keeper, flight: Flight[Landing]) -> Landing:
            return await log_in(keeper, flight, tokens, asked_at)

        flight = self.launch(procedure)
        landing = await flight.wait_landed()
        if not isinstance(landing, Generation):
            self.fail(landing)

    def log_out(self, *, revoke: bool) -> Flight[Landing] | None:
        """End the login, and those that are about to begin; return the flight that tells others.

        Not a checkpoint.
        """
        generation, outcome = held(self.state), LoggedOut("asked")
        logins = [] if generation is None else [generation.login]
        for flight in self._flights:
            if flight.cause is None and isinstance(flight.brought, Generation):
                logins.append(flight.brought.login)
                flight.brought.login.end(outcome)
                flight.land(outcome)
        self.become(on_log_out(self.state, outcome))

        async def procedure(keeper: Keeper, _: Flight[Landing]) -> Landing:
            return await log_out(keeper, logins, revoke=revoke)

        return self.launch(procedure) if logins else None

    async def _keep_fresh(self) -> None:
        """Refresh by the clock without being asked, until cancelled."""
        while True:
            self._changed = trio.Event()
            nap = max(min(self._until_refresh(), _LONGEST_NAP), _SHORTEST_NAP)
            with trio.move_on_after(nap):
                await self._changed.wait()
                continue
            # Somebody else may have started a flight in the moment in which the nap ended.
            if self._until_refresh() <= _ROUNDING:
                self.take_off("rejected" if isinstance(self.state, Rejected) else "clock")

    def _until_refresh(self) -> float:
        """Return the seconds until a refresh is due; infinity if none is."""
        match self.state:
            case Current(generation, setback):
                due = max(generation.early_at, setback.retry_at if setback else -math.inf)
            case Rejected(_, setback):
                due = setback.retry_at if setback else -math.inf
            case _:
                return math.inf
        return due - self.clock.now()

    def save_later(self) -> None:
        """Save what could not be saved in a while, and again until it is. Not a checkpoint."""
        if not self._saving_later and not isinstance(self.state, Closed):
            self._saving_later = True
            self._context.run(self.nursery.start_soon, self._keep_saving)

    async def _keep_saving(self) -> None:
        while self.vault.pending is not None:
            await trio.sleep(max(self.policy.cooldown, _SHORTEST_NAP))
            if isinstance(self.state, Closed):
                break
            await self.launch(save_again).over.wait()
        self._saving_later = False

    async def close(self) -> None:
        """Let what is in the air land, for ``close_grace`` seconds, then cancel it.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds: a server that rotates has already forgotten
          the old token.
        """
        self.state = on_close(self.state)
        self._changed.set()
        if self.login is not None:
            self.login.end(None)
        with trio.CancelScope(shield=True):
            try:
                with trio.move_on_after(self.policy.close_grace):
                    for flight in list(self._flights):
                        await flight.over.wait()
                    if self.vault.pending is not None:
                        await self.launch(save_again).over.wait()
            finally:
                # Or sooner, if somebody presses Control-C once more.
                for flight in self._flights:
                    flight.ground(
                        f"no end within {self.policy.close_grace} seconds of leaving the session, "
                        "RefreshPolicy.close_grace"
                    )
            for flight in list(self._flights):
                await flight.over.wait()
