"""Timers: what a session does by itself.

1. With ``keep_fresh`` it refreshes when its tokens get early, so that no request has to wait.
2. After a failed save it saves again, until that works.

While something fails, the pauses grow up to five minutes.
"""

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

# In seconds. Without it, tokens with a lifetime of zero would make the timer a busy loop.
_SHORTEST_NAP = 0.5
# In seconds. Trio's timers stand still while the machine sleeps, so wake up and read the clock.
_LONGEST_NAP = 30.0
# In seconds. A nap may end this much too early, by rounding.
_ROUNDING = 1e-6


@final
@attrs.define(eq=False, repr=False)
class Timers:
    """Refreshes by the clock, and saves again what could not be saved."""

    machine: Machine
    flights: Flights
    vault: Vault
    saving_later: bool = attrs.field(default=False, init=False)
    """Whether a task pauses before it saves the pending record again."""

    @property
    def _first_pause(self) -> float:
        return max(self.machine.policy.cooldown, _SHORTEST_NAP)

    async def keep_fresh(self) -> None:
        """Refresh by the clock without being asked, until the session is closed.

        Cancellation:
          Safe. A refresh that it has started goes on.
        """
        while not isinstance(self.machine.state, Closed):
            until = self.until_refresh()
            # Not the longest nap and then a rest shorter than the shortest: it would be late.
            last = until <= _LONGEST_NAP + _SHORTEST_NAP
            nap = max(until if last else _LONGEST_NAP, _SHORTEST_NAP)
            # Each change of the state starts the nap anew: the time of the next refresh may differ.
            with trio.move_on_after(nap):
                await self.machine.changed.wait()
                continue
            # Ask again: another task may have started a flight just when the nap ended.
            if self.until_refresh() <= _ROUNDING:
                rejected = isinstance(self.machine.state, Rejected)
                self.flights.take_off("rejected" if rejected else "clock")

    def until_refresh(self) -> float:
        """Return the seconds until the timer refreshes; infinite if this state needs no refresh."""
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
        """Start to save the pending record after pauses, until that works. Not a checkpoint."""
        if not self.saving_later and not isinstance(self.machine.state, Closed):
            self.saving_later = True
            self.flights.start_soon(self._keep_saving)

    async def _keep_saving(self) -> None:
        failures = 0
        while self.vault.pending is not None:
            await trio.sleep(growing(self._first_pause, failures))
            failures += 1
            if isinstance(self.machine.state, Closed):
                break
            flight = Flight[Landing]("save")
            await self.flights.launch(self.flights.logins.save_again, flight).done.wait()
        self.saving_later = False
