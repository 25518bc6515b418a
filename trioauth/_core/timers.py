"""Timers: what a session does without being asked. Their pauses grow while nothing works."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import attrs
import trio

from .flight import Flight
from .retry import growing
from .state import Closed, Current, Landing, Rejected

if TYPE_CHECKING:
    from .flights import Flights
    from .machine import Machine
    from .vault import Vault

# A token that is born old must not make a busy loop of a timer.
_SHORTEST_NAP = 0.5
# Trio's timers stand still while the machine sleeps: so the clock is looked at now and then, too.
_LONGEST_NAP = 30.0
# A nap may end so much too early, because seconds are added up in another order.
_ROUNDING = 1e-6


@final
@attrs.define(eq=False, repr=False)
class Timers:
    """Refreshes by the clock, and saves again what the store did not take."""

    machine: Machine
    flights: Flights
    vault: Vault
    _saving_later: bool = attrs.field(default=False, init=False)

    @property
    def _first_pause(self) -> float:
        return max(self.machine.policy.cooldown, _SHORTEST_NAP)

    async def keep_fresh(self) -> None:
        """Refresh by the clock without being asked, until cancelled.

        Cancellation:
          Safe. A refresh that it has started goes on.
        """
        while True:
            nap = max(min(self.until_refresh(), _LONGEST_NAP), _SHORTEST_NAP)
            with trio.move_on_after(nap):
                await self.machine.changed.wait()
                continue
            # Another task may have started a flight in the moment in which the nap ended.
            if self.until_refresh() <= _ROUNDING:
                rejected = isinstance(self.machine.state, Rejected)
                self.flights.take_off("rejected" if rejected else "clock")

    def until_refresh(self) -> float:
        """Return the seconds until the timer refreshes; infinity if it does not."""
        match self.machine.state:
            case Current(generation, setback):
                due = max(generation.early_at, setback.retry_at if setback else -math.inf)
            case Rejected(_, setback):
                due = setback.retry_at if setback else -math.inf
            case _:
                return math.inf
        journal = self.machine.journal
        if setback is not None and journal.failures:
            pause = growing(self._first_pause, journal.failures - 1)
            due = max(due, journal.failed_at + pause)
        return due - self.machine.clock.now()

    def save_later(self) -> None:
        """Save what could not be saved in a while, and again until it is. Not a checkpoint."""
        if not self._saving_later and not isinstance(self.machine.state, Closed):
            self._saving_later = True
            self.flights.start_soon(self._keep_saving)

    async def _keep_saving(self) -> None:
        failures = 0
        while self.vault.pending is not None:
            await trio.sleep(growing(self._first_pause, failures))
            failures += 1
            if isinstance(self.machine.state, Closed):
                break
            flight = Flight[Landing]("save")
            await self.flights.launch(self.flights.logins.save_again, flight).over.wait()
        self._saving_later = False
