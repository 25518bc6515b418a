"""TokenSource: gives a token to a task, or lets it wait for the flight that brings one.

Four ways to ask, from the fastest:

1. `TokenSource.fresh`: the generation, if it is fresh; no decision, no wait (P18).
2. `TokenSource.obtain_nowait`: the generation, if it may be used; starts a flight if one is due.
3. `TokenSource.obtain`: the same, but waits for the flight.
4. `TokenSource.refresh`: waits for a flight in any case.

The last three ask `on_demand` or `on_refresh` in ``state`` what to do. `TokenSource.obtain` asks
again after it has waited, because the state may have changed before the task was scheduled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, assert_never, final

import attrs
import trio

from trioauth import events
from trioauth.watch._log import wants_waits

from .flight import Flight
from .login_state import LoggedOut
from .machine import bookkeeping, current_flight
from .state import (
    Board,
    Closed,
    Current,
    Setback,
    TakeOff,
    Use,
    UseAndRefresh,
    fallback,
    generation_of,
    on_demand,
    on_refresh,
    on_rejection,
)

if TYPE_CHECKING:
    from .clock import Clock
    from .flight import Generation, Login
    from .flights import Flights
    from .machine import Machine
    from .policy import RefreshPolicy
    from .state import Failure, Landing, State
    from .vault import Vault

# Seconds between two looks into the store by a session without a login (P11).
_LOOK_EVERY = 1.0


@final
@attrs.define(eq=False, repr=False)
class TokenSource:
    """Gives tokens to tasks: the present ones, or those that a flight brings."""

    machine: Machine
    flights: Flights
    vault: Vault
    _looked_at: float = attrs.field(default=float("-inf"), init=False)
    _looking: Flight[Landing] | None = attrs.field(default=None, init=False)

    # --- of the machine below --------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the session."""
        return self.machine.state

    @property
    def login(self) -> Login | None:
        """The current login, or the last one if it has ended."""
        return self.machine.login

    @property
    def clock(self) -> Clock:
        """The clock of the session."""
        return self.machine.clock

    @property
    def policy(self) -> RefreshPolicy:
        """The policy of the session."""
        return self.machine.policy

    def check_here(self) -> None:
        """Raise `RuntimeError` in another thread, or another run of trio, than the session's."""
        self.machine.check_here()

    def raise_failure(self, why: Failure) -> NoReturn:
        """Raise a failure in the present task."""
        self.machine.raise_failure(why)

    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers. Not a checkpoint."""
        self.machine.tell(event)

    # --- tokens ----------------------------------------------------------------------------

    def fresh(self, valid_for: float = 0.0) -> Generation | None:
        """Return the generation if it stays fresh for ``valid_for`` seconds. Not a checkpoint."""
        machine = self.machine
        state = machine.state
        if (
            isinstance(state, Current)
            and machine.clock.now() + valid_for < state.generation.early_at
        ):
            return state.generation
        return None

    def obtain_nowait(self) -> Generation:
        """Return the generation to use, or raise `trio.WouldBlock`. Not a checkpoint."""
        if (generation := self.fresh()) is not None:
            return generation
        decision = on_demand(self.state, now=self.clock.now())
        match decision:
            case Use(generation):
                return generation
            case UseAndRefresh(generation):
                self.flights.take_off("clock")
                return generation
            case TakeOff(cause):
                self.flights.take_off(cause)
                raise trio.WouldBlock
            case Board():
                raise trio.WouldBlock
            case Setback() | LoggedOut() | Closed():
                self.raise_failure(decision)
        assert_never(decision)

    async def obtain(
        self, login: Login | None = None, *, valid_for: float = 0.0, one_shot: bool = False
    ) -> Generation:
        """Return the generation to use, after a refresh if one is needed.

        Args:
          login: The login that it must be of. None: the one that there is when this is called, or
              the one that the flight begins.
          valid_for: See `Generation.freshness`.
          one_shot: See `Generation.freshness`.

        Cancellation:
          Safe. You leave; a flight that you waited for goes on.

        Checkpoints:
          None if there is nothing to wait for.
        """
        landed = 0
        while True:
            # Before each decision: the next login's token is not for this task (P13).
            if login is not None and login.outcome is not None:
                self.raise_failure(login.outcome)
            state, now = self.state, self.clock.now()
            decision = on_demand(
                state, now=now, valid_for=valid_for, one_shot=one_shot, waited_for=landed
            )
            match decision:
                case Use(generation):
                    return generation
                case UseAndRefresh(generation):
                    self.flights.take_off("clock")
                    return generation
                case Board(flight):
                    pass
                case TakeOff(cause):
                    flight = self.flights.take_off(cause)
                case LoggedOut() if login is None and await self.look():
                    continue
                case failure:
                    self.raise_failure(failure)
            # The login is fixed before the wait: this task must not get the next one's token (P13).
            replaced = generation_of(self.state)
            login = login or (replaced and replaced.login)
            landing = await self.board(flight)
            if isinstance(landing, LoggedOut):
                self.raise_failure(landing)
            if isinstance(landing, Setback):
                return self._fall_back(landing, login, valid_for)
            landed, login = landing.number, login or landing.login
            state = self.machine.state
            if (
                isinstance(state, Current)
                and state.generation is landing
                and landing.login is login
            ):
                # `on_demand` would say the same, but slowly for a thousand waiting tasks.
                return landing

    def _fall_back(self, setback: Setback, login: Login | None, valid_for: float) -> Generation:
        """Return the generation that still works after a failed refresh, or raise the failure."""
        if login is not None and login.outcome is not None:
            self.raise_failure(login.outcome)
        generation = fallback(self.state, now=self.clock.now(), valid_for=valid_for)
        if generation is None or generation.login is not login:
            self.raise_failure(setback)
        return generation

    async def refresh(self) -> None:
        """Renew now, or wait for the renewal that is already in the air.

        Cancellation:
          Safe. You leave; the flight goes on.
        """
        decision = on_refresh(self.state, now=self.clock.now())
        match decision:
            case Board(flight):
                pass
            case TakeOff(cause):
                flight = self.flights.take_off(cause)
            case LoggedOut() if await self.look():
                return
            case failure:
                self.raise_failure(failure)
        landing = await self.board(flight)
        if isinstance(landing, Setback | LoggedOut):
            self.raise_failure(landing)
        self.machine.check_open()

    async def look(self) -> bool:
        """Look into a shared store, and say whether there is a login now (P11).

        At most once a second; in between the answer is no. Tasks that ask at the same time share
        one look.

        Cancellation:
          Safe. You leave; the look goes on.

        Checkpoints:
          None if the store is not looked into.
        """
        now = trio.current_time()
        if self._looking is None or self._looking.landed:
            # When a login ended, the store was read or written: count that as a look.
            looked_at = max(self._looked_at, self.machine.ended_at)
            if not self.vault.shared or now < looked_at + _LOOK_EVERY:
                return False
            self._looked_at = now
            self._looking = self.flights.launch(self.flights.logins.look, Flight("look"))
        await self._wait(self._looking)
        return generation_of(self.state) is not None

    # --- waiting ---------------------------------------------------------------------------

    async def board(self, flight: Flight[Landing]) -> Landing:
        """Wait for a flight, and tell the observers who waits.

        Cancellation:
          Safe. You leave; the flight goes on.
        """
        task = trio.lowlevel.current_task().name
        flight.board(task)
        if not (self.machine.observers or wants_waits()):
            # The events below have no reader: a crowd need not pay for them.
            return await self._wait(flight)
        tell, now = self.machine.tell, trio.current_time
        tell(events.WaitStarted(time=now(), flight=flight.number, task=task))
        # Stays true if this task is cancelled while it waits.
        cancelled = True
        try:
            landing = await self._wait(flight)
            cancelled = False
        finally:
            tell(events.WaitEnded(time=now(), flight=flight.number, task=task, cancelled=cancelled))
        return landing

    async def _wait(self, flight: Flight[Landing]) -> Landing:
        if current_flight.get() in self.flights.running:
            raise RuntimeError(
                "a grant or store can't use the session it works for, it would wait for itself; "
                "use the endpoint it is given"
            )
        return await flight.wait_landed()

    # --- rejections ------------------------------------------------------------------------

    @bookkeeping
    def reject(self, number: int) -> None:
        """Note that a server refused a generation; an older one is ignored. Not a checkpoint."""
        machine = self.machine
        # The same object means late news: nothing changes, and nothing is counted.
        state = on_rejection(machine.state, number)
        if state is not machine.state:
            machine.rejections += 1
            machine.become(state)

    def refresh_in_background(self) -> None:
        """Start the flight that is due after a rejection, if it is. Not a checkpoint."""
        if isinstance(on_demand(self.state, now=self.clock.now()), TakeOff):
            self.flights.take_off("rejected")
