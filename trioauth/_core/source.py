"""TokenSource: what tasks ask for a token, and wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, assert_never, final

import attrs
import trio

from trioauth import events
from trioauth.watch._log import wants_waits

from .flight import Flight
from .login_state import LoggedOut
from .machine import bookkeeping, flying
from .state import (
    Board,
    Closed,
    Current,
    Setback,
    TakeOff,
    Use,
    UseAndRefresh,
    held,
    on_demand,
    on_refresh,
    on_rejection,
    usable,
)

if TYPE_CHECKING:
    from .clock import Clock
    from .flight import Generation, Login
    from .flights import Flights
    from .machine import Machine
    from .policy import RefreshPolicy
    from .state import Failure, Landing, State
    from .vault import Vault

# A session without a login looks into its store so seldom, in seconds (P11).
_LOOK_EVERY = 1.0


@final
@attrs.define(eq=False, repr=False)
class TokenSource:
    """Gives tokens to tasks: what there is, or what a flight brings."""

    machine: Machine
    flights: Flights
    vault: Vault
    _looked_at: float = attrs.field(default=float("-inf"), init=False)
    _looking: Flight[Landing] | None = attrs.field(default=None, init=False)

    # --- what there is to know -------------------------------------------------------------

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

    def fail(self, why: Failure) -> NoReturn:
        """Raise what this means to the task at hand."""
        self.machine.fail(why)

    def tell(self, event: events.Event) -> None:
        """Tell the log and the observers. Not a checkpoint."""
        self.machine.tell(event)

    # --- tokens ----------------------------------------------------------------------------

    def fresh(self, valid_for: float = 0.0) -> Generation | None:
        """Return the generation to use if there is nothing to decide. Not a checkpoint."""
        machine = self.machine
        state = machine.state
        if (
            isinstance(state, Current)
            and machine.clock.now() + valid_for < state.generation.early_at
        ):
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
                self.flights.take_off("clock")
                return generation
            case TakeOff(cause):
                self.flights.take_off(cause)
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
            state, now = self.state, self.clock.now()
            decision = on_demand(
                state, now=now, valid_for=valid_for, one_shot=one_shot, landed=landed
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
                    self.fail(failure)
            replaced = held(self.state)
            login = login or (replaced and replaced.login)
            landing = await self.board(flight)
            if isinstance(landing, LoggedOut):
                self.fail(landing)
            if isinstance(landing, Setback):
                return self._in_spite_of(landing, login, valid_for)
            landed, login = landing.number, login or landing.login
            state = self.machine.state
            if (
                isinstance(state, Current)
                and state.generation is landing
                and landing.login is login
            ):
                # What the decision would be, without asking for it a thousand times in a crowd.
                return landing

    def _in_spite_of(self, setback: Setback, login: Login | None, valid_for: float) -> Generation:
        """Return what still works although it could not be renewed, or raise."""
        if login is not None and login.outcome is not None:
            self.fail(login.outcome)
        generation = usable(self.state, now=self.clock.now(), valid_for=valid_for)
        if generation is None or generation.login is not login:
            self.fail(setback)
        return generation

    async def renewed(self) -> None:
        """Renew now, or wait for the renewal that is in the air already.

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
                self.fail(failure)
        landing = await self.board(flight)
        if isinstance(landing, Setback | LoggedOut):
            self.fail(landing)
        self.machine.check_open()

    async def look(self) -> bool:
        """Look into a shared store, and say whether there is a login now (P11).

        At most once a second; in between the answer is no. All who ask at once share one look.

        Cancellation:
          Safe. You leave; the look goes on.

        Checkpoints:
          None if the store is not looked into.
        """
        now = trio.current_time()
        if self._looking is None or self._looking.landed:
            # As a login ends, the store has just been looked into or told.
            looked_at = max(self._looked_at, self.machine.ended_at)
            if not self.vault.shared or now < looked_at + _LOOK_EVERY:
                return False
            self._looked_at = now
            self._looking = self.flights.launch(self.flights.logins.look, Flight("look"))
        await self._wait(self._looking)
        return held(self.state) is not None

    # --- waiting ---------------------------------------------------------------------------

    async def board(self, flight: Flight[Landing]) -> Landing:
        """Wait for a flight.

        Cancellation:
          Safe. You leave; the flight goes on.
        """
        task = trio.lowlevel.current_task().name
        flight.board(task)
        if not (self.machine.observers or wants_waits()):
            return await self._wait(flight)
        tell, now = self.machine.tell, trio.current_time
        tell(events.WaitStarted(time=now(), flight=flight.number, task=task))
        cancelled = True
        try:
            landing = await self._wait(flight)
            cancelled = False
        finally:
            tell(events.WaitEnded(time=now(), flight=flight.number, task=task, cancelled=cancelled))
        return landing

    async def _wait(self, flight: Flight[Landing]) -> Landing:
        if flying.get() in self.flights.aloft:
            raise RuntimeError(
                "a grant or store can't use the session it works for, it would wait for itself; "
                "use the endpoint it is given"
            )
        return await flight.wait_landed()

    # --- what is reported ------------------------------------------------------------------

    @bookkeeping
    def reject(self, number: int) -> None:
        """Take in that a generation was refused; late news is ignored. Not a checkpoint."""
        machine = self.machine
        state = on_rejection(machine.state, number)
        if state is not machine.state:
            machine.rejections += 1
            machine.become(state)

    def renew_behind(self) -> None:
        """Start a flight that no task waits for, if one is due. Not a checkpoint."""
        if isinstance(on_demand(self.state, now=self.clock.now()), TakeOff):
            self.flights.take_off("rejected")
