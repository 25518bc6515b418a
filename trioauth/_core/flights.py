"""Flights: starts the changes of credentials, and lands them.

The way of one flight:

1. It takes off in the session's nursery, in the context of the task that opened the session; never
   in the task that needs it, whose cancellation would stop it. A renewal changes the state in the
   same step, so no second one can start.
2. Its procedure ends by itself: `Flights.land` puts the result into the state, and its passengers
   wake.
3. Or it reaches its deadline: it is cancelled, and lands with what it had by then.
4. Or its task can't be cancelled (a thread): it is landed at the deadline all the same, and marked
   ``late``. Tokens that it brings later are saved.
5. Or a log-in or log-out takes its place: its passengers are told that, and what it brings is
   dropped.
6. Or the session is closed: it gets ``close_grace`` seconds, then it is cancelled.

In each case it lands through `Flights.land`, and its passengers get the first result only. A
deadline counts the time awake: see `wait_awake`.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import trio

from trioauth import events
from trioauth._errors import GrantMisconfiguredError, LoggedOutError, careful
from trioauth._outcomes import REASONS

from .clock import wait_awake
from .flight import Flight, Generation
from .login_state import LoggedOut
from .machine import bookkeeping, current_flight
from .retry import one_more_loss, retry_after
from .state import (
    Closed,
    Landing,
    Setback,
    fallback,
    generation_of,
    on_close,
    on_landing,
    on_log_in,
    on_log_out,
    on_take_off,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth._outcomes import RefreshCause
    from trioauth._tokens import Tokens

    from .flight import Login
    from .logins import Logins
    from .machine import Machine
    from .renewal import Renewal

    Procedure: TypeAlias = Callable[[Flight[Landing]], Awaitable[Landing | None]]

# A cancelled task ends within so many steps of the scheduler, unless it can't be cancelled.
_STEPS_TO_LAND = 20


@final
@attrs.define(eq=False, repr=False)
class Flights:
    """The flights of one session."""

    machine: Machine
    renewal: Renewal
    logins: Logins
    nursery: trio.Nursery
    running: set[Flight[Landing]] = attrs.field(factory=set[Flight[Landing]], init=False)
    """The flights whose task has not ended; some may have landed."""
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _saved_last: bool = attrs.field(default=False, init=False)

    # --- taking off ------------------------------------------------------------------------

    @bookkeeping
    def take_off(self, cause: RefreshCause) -> Flight[Landing]:
        """Start a renewal, and change to the state that waits for it. Not a checkpoint."""
        machine = self.machine
        machine.refreshes += 1
        base = generation_of(machine.state)
        flight = Flight[Landing]("renewal", machine.refreshes, cause, base=base)
        # Decided first: if a flight is in the air already, this raises, and nothing has changed.
        state = on_take_off(machine.state, flight)
        self.launch(self.renewal.renew, flight)
        machine.become(
            state,
            events.RefreshStarted(
                time=flight.began,
                flight=flight.number,
                cause=cause,
                generation=0 if base is None else base.number,
            ),
        )
        return flight

    @bookkeeping
    def launch(self, procedure: Procedure, flight: Flight[Landing]) -> Flight[Landing]:
        """Run a procedure as a flight. Not a checkpoint."""
        flight.began = trio.current_time()
        flight.deadline = flight.began + self.machine.policy.timeout
        # start_soon, not start: start would make this task wait, and the flight end with it. In the
        # opener's context: a flight must not inherit context variables of one request.
        self._context.run(self.nursery.start_soon, self._fly, procedure, flight)
        self.running.add(flight)
        return flight

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start a task of the session's own, in the context of its opener. Not a checkpoint."""
        self._context.run(self.nursery.start_soon, task)

    def begin(self, tokens: Tokens, *, asked_at: float) -> Flight[Landing]:
        """Begin a login with these tokens. Not a checkpoint."""

        async def procedure(flight: Flight[Landing]) -> Landing:
            return await self.logins.log_in(flight, tokens, asked_at)

        return self.launch(procedure, Flight("log_in"))

    @bookkeeping
    def log_out(self, *, revoke: bool) -> Flight[Landing] | None:
        """End the login, and logins about to begin; return the flight that tells store and server.

        Not a checkpoint.
        """
        machine = self.machine
        generation = generation_of(machine.state)
        outcome = LoggedOut("asked", at_unix=machine.unix())
        # A log-in has its tokens in ``brought`` while it saves them: it must not begin after this.
        begun: list[Login] = []
        for flight in self.running:
            beginning = flight.kind == "log_in" and not flight.landed
            if beginning and isinstance(flight.brought, Generation):
                begun.append(flight.brought.login)
                machine.ended_logins.add(flight.brought.login.id)
                flight.brought.login.end(outcome)
                flight.land(outcome)
        # ``running`` is a set, so put them in the order in which they began.
        begun.sort(key=lambda login: login.generation)
        ended = begun if generation is None else [generation.login, *begun]
        machine.become(on_log_out(machine.state, outcome))

        async def procedure(_: Flight[Landing]) -> Landing:
            return await self.logins.log_out(ended, revoke=revoke)

        return self.launch(procedure, Flight("log_out")) if ended else None

    # --- flying ----------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _fly(self, procedure: Procedure, flight: Flight[Landing]) -> None:
        landing: Landing | None = None
        failure: Exception | None = None
        current_flight.set(flight)
        # The deadline counts from here: since the launch the process may have been stopped.
        flight.deadline += trio.current_time() - flight.began
        self._context.run(self.nursery.start_soon, self._watch, flight)
        try:
            with flight.scope:
                landing = await procedure(flight)
        except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
            failure = exc
        finally:
            try:
                # Also after Control-C or a cancellation: no passenger may stay asleep.
                self.land(flight, landing or self._result_so_far(flight, failure))
            finally:
                self.running.discard(flight)
                flight.done.set()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, flight: Flight[Landing]) -> None:
        """Land a flight at its deadline, even if its task can't be cancelled."""
        with trio.CancelScope(shield=True):
            if await wait_awake(flight.done.wait, lambda: flight.deadline):
                return
            flight.scope.cancel(reason="trioauth: RefreshPolicy.timeout")
            # A task that can be cancelled lands by itself, with what it had.
            for _ in range(_STEPS_TO_LAND):
                if flight.done.is_set():
                    return
                await trio.lowlevel.checkpoint()
        flight.late = True
        self.land(flight, self._result_so_far(flight, None))

    def _result_so_far(self, flight: Flight[Landing], failure: Exception | None) -> Landing:
        """Return what a flight lands with that did not end by itself: its tokens, or a setback."""
        if flight.brought is not None:
            return flight.brought
        machine, policy = self.machine, self.machine.policy
        in_time = f"within {policy.timeout} seconds, RefreshPolicy.timeout"
        cause = failure or trio.TooSlowError(
            flight.cancelled_because or f"no end {in_time}: {self._doing(flight)}"
        )
        quiet_until = flight.quiet_until
        if flight.base is not None:
            loss = flight.base.login.loss
            if flight.asking is not None:
                # Its task has not noted yet that this answer is lost: count it here.
                loss = one_more_loss(loss, now=machine.clock.now())
            quiet_until = max(quiet_until, loss.quiet_until)
        return machine.set_back(cause, max(policy.cooldown, retry_after(cause)), quiet_until)

    def _doing(self, flight: Flight[Landing]) -> str:
        """Say what a flight waits for."""
        waits_for = self.renewal.vault.waits_for
        return flight.doing if waits_for is None else f"waiting for {waits_for}"

    # --- landing ---------------------------------------------------------------------------

    @bookkeeping
    def land(self, flight: Flight[Landing], landing: Landing) -> None:
        """Put the result of a flight into the state, and wake its passengers. Not a checkpoint."""
        match flight.kind:
            case "renewal":
                self._land_renewal(flight, landing)
            case "log_in":
                self._land_log_in(flight, landing)
            case "look":
                machine = self.machine
                if isinstance(landing, Generation) and generation_of(machine.state) is None:
                    machine.become(on_log_in(machine.state, landing), landing=landing)
            case "log_out":
                pass  # The state changed when this took off; by now it may be that of a new login.
            case _:  # "save"
                if isinstance(landing, LoggedOut):
                    self.machine.become(on_log_out(self.machine.state, landing), landing=landing)
        # `Machine.become` lands only the flight that the state waits for; so land this one here.
        flight.land(landing)

    def _land_renewal(self, flight: Flight[Landing], landing: Landing) -> None:
        machine = self.machine
        if flight.late and flight.landed and isinstance(landing, Generation):
            # Tokens that came after the deadline: `Renewal` has put them into the state, if their
            # login goes on. (Those that were in ``brought`` at the deadline have been reported.)
            if landing is not flight.brought:
                machine.tell(self._report(flight, landing))
            return
        if isinstance(landing, Generation) and flight.landed:
            # The login ended while the flight was in the air: discard the new tokens.
            landing = LoggedOut("replaced")
        if flight.late and flight.landed:
            return
        landing = self._apply_when_unavailable(landing)
        report = self._report(flight, landing)
        machine.become(on_landing(machine.state, flight, landing), report, landing=landing)

    def _land_log_in(self, flight: Flight[Landing], landing: Landing) -> None:
        machine = self.machine
        if flight.landed or not isinstance(landing, Generation):
            return
        if landing.number < machine.number:
            # A refresh has landed since this login got its number, and numbers only grow.
            machine.number += 1
            landing = attrs.evolve(landing, number=machine.number)
            landing.login.generation = machine.number
        machine.become(on_log_in(machine.state, landing), landing=landing)
        if isinstance(machine.state, Closed):
            # No state can end the renewal of the older login now. Land it, so that it is
            # ``overtaken`` and does not overwrite the new login in the store.
            for other in self.running:
                if other.kind == "renewal":
                    other.land(LoggedOut("replaced"))

    def _apply_when_unavailable(self, landing: Landing) -> Landing:
        """Turn a setback into a log-out, if ``when_unavailable`` says so and no token works."""
        machine = self.machine
        if (
            isinstance(landing, Setback)
            and machine.policy.when_unavailable == "log_out"
            and not isinstance(landing.cause, GrantMisconfiguredError)
            and generation_of(machine.state) is not None
            and fallback(machine.state, now=machine.clock.now()) is None
        ):
            return LoggedOut("unavailable", landing.cause, machine.unix())
        return landing

    def _report(self, flight: Flight[Landing], landing: Landing) -> events.Event:
        machine, now = self.machine, trio.current_time()
        took, waited, tasks = now - flight.began, flight.boarded, flight.first
        if isinstance(landing, Generation):
            machine.last_failure = None
            return events.RefreshLanded(
                time=now,
                flight=flight.number,
                generation=landing.number,
                adopted=landing.adopted,
                took=took,
                waited=waited,
                tasks=tasks,
            )
        retry_at, words = now, careful(landing.cause)
        if isinstance(landing, LoggedOut):
            machine.last_failure = landing.cause or LoggedOutError("", landing.reason)
            words = words or REASONS[landing.reason]
        else:
            machine.last_failure = landing.cause
            if not isinstance(machine.state, Closed):
                retry_at = machine.clock.to_trio(landing.retry_at)
        return events.RefreshFailed(
            time=now,
            flight=flight.number,
            error=type(machine.last_failure).__name__,
            retry_at=retry_at,
            words=words,
            took=took,
            waited=waited,
            tasks=tasks,
        )

    # --- ending ----------------------------------------------------------------------------

    def cancel_renewals_unless(self, event: trio.Event) -> None:
        """Cancel the renewals after ``close_grace`` seconds, unless an event is set. No checkpoint.

        In a task of its own, because the log-in that waits must keep its turn.
        """

        @trio.lowlevel.enable_ki_protection
        async def patience() -> None:
            end = trio.current_time() + self.machine.policy.close_grace
            with trio.CancelScope(shield=True):
                if not await wait_awake(event.wait, lambda: end):
                    self.cancel_renewals()

        self.start_soon(patience)

    @bookkeeping
    def cancel_renewals(self) -> None:
        """Cancel the renewals, because a log-in or a log-out needs their lock. Not a checkpoint."""
        machine = self.machine
        # Only renewals: a log-in in the air has its turn, since all take the same lock.
        for flight in self.running:
            if flight.kind == "renewal":
                flight.cancel("a log-in or a log-out took its place")
        if generation_of(machine.state) is not None:
            # Tell the passengers now: the login that they wait for is about to be replaced.
            machine.become(on_log_out(machine.state, LoggedOut("replaced", at_unix=machine.unix())))

    @bookkeeping
    def mark_closed(self) -> None:
        """Change to `Closed`, the last state. Not a checkpoint."""
        machine = self.machine
        # Not with `Machine.become`: closing ends no login, and flights in the air may still land.
        machine.state = on_close(machine.state)
        machine.wake()
        if machine.login is not None:
            machine.login.end(None)

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:
        """Give the flights ``close_grace`` seconds to land, then cancel them.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds: a server that rotates refresh tokens has
          already dropped the old one, so the answer must be awaited and saved.
        """
        self.mark_closed()
        grace = self.machine.policy.close_grace
        with trio.CancelScope(shield=True):
            try:
                end = trio.current_time() + grace
                await wait_awake(self._wait_landed, lambda: end)
            finally:
                # After the grace; before its end if Control-C is pressed once more.
                for flight in self.running:
                    flight.cancel(
                        f"no end within {grace} seconds of leaving the session, "
                        "RefreshPolicy.close_grace"
                    )
                try:
                    for flight in list(self.running):
                        await flight.done.wait()  # noqa: ASYNC102  # a thread can't be cancelled
                finally:
                    self.renewal.records.tell_lost()

    async def _wait_landed(self) -> None:
        for flight in list(self.running):
            await flight.done.wait()
        if self.renewal.vault.pending is not None and not self._saved_last:
            self._saved_last = True
            await self.launch(self.logins.save_again, Flight("save")).done.wait()
