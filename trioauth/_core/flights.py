"""Flights: changes of credentials in the air, and where they land.

1. A flight takes off in the session's nursery, never in the task that needs it, with
   ``start_soon``, in the context of the opener. Taking off and the change of the state are one
   step.
2. It lands in one place, `Flights.land`. Only the first landing counts for its passengers.
3. At its deadline it is cancelled. A grant that can't be cancelled does not keep anybody waiting:
   the flight is landed from outside, and what it brings late is saved if that can be done.
4. Deadlines count the time awake: see `wait_awake`.
5. When the session closes, flights get ``close_grace`` seconds, then they are cancelled.
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
from .machine import bookkeeping, flying
from .retry import one_more_loss, retry_after
from .state import (
    Closed,
    Landing,
    Setback,
    held,
    on_close,
    on_landing,
    on_log_in,
    on_log_out,
    on_take_off,
    usable,
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

# A task that can be cancelled ends within so many steps of the scheduler, and lands by itself.
_STEPS_TO_LAND = 20


@final
@attrs.define(eq=False, repr=False)
class Flights:
    """The flights of a session."""

    machine: Machine
    renewal: Renewal
    logins: Logins
    nursery: trio.Nursery
    aloft: set[Flight[Landing]] = attrs.field(factory=set[Flight[Landing]], init=False)
    """Those whose task is not done, landed or not."""
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _saved_last: bool = attrs.field(default=False, init=False)

    # --- taking off ------------------------------------------------------------------------

    @bookkeeping
    def take_off(self, cause: RefreshCause) -> Flight[Landing]:
        """Start a renewal. Not a checkpoint: state and flight change together."""
        machine = self.machine
        machine.refreshes += 1
        base = held(machine.state)
        flight = Flight[Landing]("renewal", machine.refreshes, cause, base=base)
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
        # start_soon, never start, which would tie it to the task that happens to be here.
        self._context.run(self.nursery.start_soon, self._fly, procedure, flight)
        self.aloft.add(flight)
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
        """End the login, and those that are about to begin; return the flight that tells others.

        Not a checkpoint.
        """
        machine = self.machine
        generation = held(machine.state)
        outcome = LoggedOut("asked", at_unix=machine.unix())
        begun: list[Login] = []
        for flight in self.aloft:
            beginning = flight.kind == "log_in" and not flight.landed
            if beginning and isinstance(flight.brought, Generation):
                begun.append(flight.brought.login)
                machine.over.add(flight.brought.login.id)
                flight.brought.login.end(outcome)
                flight.land(outcome)
        # In the order in which they began: a set has none.
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
        flying.set(flight)
        # The process may have been stopped since the launch.
        flight.deadline += trio.current_time() - flight.began
        self._context.run(self.nursery.start_soon, self._watch, flight)
        try:
            with flight.scope:
                landing = await procedure(flight)
        except Exception as exc:  # noqa: BLE001  # lands as a value, each waiter raises from it
            failure = exc
        finally:
            try:
                # The worst is assumed, so that no waiter is left asleep whatever happened.
                self.land(flight, landing or self._best_of(flight, failure))
            finally:
                self.aloft.discard(flight)
                flight.over.set()

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, flight: Flight[Landing]) -> None:
        """Land a flight at its deadline, whatever its task does."""
        with trio.CancelScope(shield=True):
            if await wait_awake(flight.over.wait, lambda: flight.deadline):
                return
            flight.scope.cancel(reason="trioauth: RefreshPolicy.timeout")
            for _ in range(_STEPS_TO_LAND):
                if flight.over.is_set():
                    return
                await trio.lowlevel.checkpoint()
        flight.late = True
        self.land(flight, self._best_of(flight, None))

    def _best_of(self, flight: Flight[Landing], failure: Exception | None) -> Landing:
        """Return what a flight has in hand, or why it has nothing."""
        if flight.brought is not None:
            return flight.brought
        machine, policy = self.machine, self.machine.policy
        in_time = f"within {policy.timeout} seconds, RefreshPolicy.timeout"
        cause = failure or trio.TooSlowError(
            flight.grounded or f"no end {in_time}: {self._doing(flight)}"
        )
        quiet_until = flight.quiet_until
        if flight.base is not None:
            loss = flight.base.login.loss
            if flight.asking is not None:
                # Its task has not come to noting this yet.
                loss = one_more_loss(loss, now=machine.clock.now())
            quiet_until = max(quiet_until, loss.quiet_until)
        return machine.set_back(cause, max(policy.cooldown, retry_after(cause)), quiet_until)

    def _doing(self, flight: Flight[Landing]) -> str:
        """Say what a flight is busy with."""
        waits_for = self.renewal.vault.waits_for
        return flight.doing if waits_for is None else f"waiting for {waits_for}"

    # --- landing ---------------------------------------------------------------------------

    @bookkeeping
    def land(self, flight: Flight[Landing], landing: Landing) -> None:
        """Take in what a flight brought, and wake its passengers. Not a checkpoint."""
        match flight.kind:
            case "renewal":
                self._land_renewal(flight, landing)
            case "log_in":
                self._land_log_in(flight, landing)
            case "look":
                machine = self.machine
                if isinstance(landing, Generation) and held(machine.state) is None:
                    machine.become(on_log_in(machine.state, landing), landing=landing)
            case "log_out":
                pass  # The state has said so since it took off, and may have a new login by now.
            case _:  # "save"
                if isinstance(landing, LoggedOut):
                    self.machine.become(on_log_out(self.machine.state, landing), landing=landing)
        # For passengers that the state did not wait for.
        flight.land(landing)

    def _land_renewal(self, flight: Flight[Landing], landing: Landing) -> None:
        machine = self.machine
        if flight.late and flight.landed and isinstance(landing, Generation):
            # `Renewal` has put it into the state already, as far as its login goes on. Or it was
            # in hand at the deadline, and has been told.
            if landing is not flight.brought:
                machine.tell(self._report(flight, landing))
            return
        if isinstance(landing, Generation) and flight.landed:
            # The login ended while the flight was in the air: discard the new tokens.
            landing = LoggedOut("replaced")
        if flight.late and flight.landed:
            return
        landing = self._last_straw(landing)
        report = self._report(flight, landing)
        machine.become(on_landing(machine.state, flight, landing), report, landing=landing)

    def _land_log_in(self, flight: Flight[Landing], landing: Landing) -> None:
        machine = self.machine
        if flight.landed or not isinstance(landing, Generation):
            return
        if landing.number < machine.number:
            # A refresh has landed since this login got its number.
            machine.number += 1
            landing = attrs.evolve(landing, number=machine.number)
            landing.login.generation = machine.number
        machine.become(on_log_in(machine.state, landing), landing=landing)
        if isinstance(machine.state, Closed):
            # A renewal of an older login would overwrite the new one in the store.
            for other in self.aloft:
                if other.kind == "renewal":
                    other.land(LoggedOut("replaced"))

    def _last_straw(self, landing: Landing) -> Landing:
        """Make a log-out of a setback, if the policy says so and the token does not work either."""
        machine = self.machine
        if (
            isinstance(landing, Setback)
            and machine.policy.when_unavailable == "log_out"
            and not isinstance(landing.cause, GrantMisconfiguredError)
            and held(machine.state) is not None
            and usable(machine.state, now=machine.clock.now()) is None
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

    @bookkeeping
    def ground(self) -> None:
        """Cancel the renewals in the air, because of a log-in or a log-out. Not a checkpoint."""
        machine = self.machine
        for flight in self.aloft:
            if flight.kind == "renewal":
                flight.ground("a log-in or a log-out took its place")
        if held(machine.state) is not None:
            # Its passengers have waited for a login that is about to be replaced.
            machine.become(on_log_out(machine.state, LoggedOut("replaced", at_unix=machine.unix())))

    @bookkeeping
    def mark_closed(self) -> None:
        """Take on the last state. Not a checkpoint."""
        machine = self.machine
        machine.state = on_close(machine.state)
        machine.wake()
        if machine.login is not None:
            machine.login.end(None)

    @trio.lowlevel.enable_ki_protection
    async def close(self) -> None:
        """Let what is in the air land, for ``close_grace`` seconds, then cancel it.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds: a server that rotates has already forgotten
          the old token.
        """
        self.mark_closed()
        grace = self.machine.policy.close_grace
        with trio.CancelScope(shield=True):
            try:
                end = trio.current_time() + grace
                await wait_awake(self._wait_landed, lambda: end)
            finally:
                # Or sooner, if Control-C is pressed once more.
                for flight in self.aloft:
                    flight.ground(
                        f"no end within {grace} seconds of leaving the session, "
                        "RefreshPolicy.close_grace"
                    )
                try:
                    for flight in list(self.aloft):
                        await flight.over.wait()  # noqa: ASYNC102  # a thread can't be cancelled
                finally:
                    self.renewal.records.tell_lost()

    async def _wait_landed(self) -> None:
        for flight in list(self.aloft):
            await flight.over.wait()
        if self.renewal.vault.pending is not None and not self._saved_last:
            self._saved_last = True
            await self.launch(self.logins.save_again, Flight("save")).over.wait()
