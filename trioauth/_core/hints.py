"""Hints: looks into the store when it hints that another session has saved.

A session without hints sees what others did when it needs a token, or once a second while it waits
for a login. Hints only make that quicker, because they may be lost; so a store that gives none, or
fails to, costs nothing but time.

1. A hint: one look into the store, as a flight. It adopts a newer generation, a new login, or a
   log-out.
2. While tokens are being renewed there is nothing to do: the renewal looks by itself.
3. Hints without end (they may be forged): ten looks a second at most.
4. The store fails to give hints: ask again, after pauses that grow up to five minutes.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._errors import careful

from .flight import Flight
from .machine import ask
from .retry import growing
from .state import Closed, Landing, flight_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .flights import Flights
    from .machine import Machine

_logger = logging.getLogger("trioauth")

# Seconds from one look to the next, at least.
_PAUSE = 0.1
# Seconds after the first failure to get a hint; each next pause is twice as long.
_FIRST_PAUSE = 1.0


@final
@attrs.define(eq=False, repr=False)
class HintSource:
    """Waits for the hints of a store."""

    changed: Callable[[], Awaitable[str | None]]
    """The method of the store that waits for a hint."""
    _failures: int = attrs.field(default=0, init=False)

    async def wait(self) -> str | None:
        """Wait for a hint, and return it. While the store fails, ask again after pauses.

        The log gets one line when it begins to fail, and one when it works again.

        Cancellation:
          Safe. No hint is lost.
        """
        while True:
            try:
                hint = await ask(self.changed)
            except Exception as exc:  # noqa: BLE001  # the store is the program's; it may raise anything
                if self._failures == 0:
                    _logger.warning(
                        "the token store can't say when others save (%s): what they do is seen "
                        "later",
                        careful(exc) or type(exc).__name__,
                    )
                self._failures += 1
                await trio.sleep(growing(_FIRST_PAUSE, self._failures - 1))
                continue
            if self._failures:
                _logger.info("the token store says again when others save")
            self._failures = 0
            return hint


@final
@attrs.define(eq=False, repr=False)
class Hints:
    """Looks into the store when it says that it may have changed."""

    machine: Machine
    flights: Flights
    source: HintSource = attrs.field(converter=HintSource)
    """Made of the method of the store that waits for a hint."""
    _look: Flight[Landing] | None = attrs.field(default=None, init=False)
    """The last look, which may be under way."""
    _next_look: float = attrs.field(default=-math.inf, init=False)
    """When the next look may begin, on trio's clock."""

    async def follow(self) -> None:
        """Wait for hints, and look, until cancelled or the session is closed.

        Cancellation:
          Safe. A look that it has started goes on.
        """
        while True:
            # Which record has changed is of no use: this session has one.
            await self.source.wait()
            # A hint that comes in this pause may be lost, but the look after it sees the change.
            await trio.sleep_until(self._next_look)
            if self._look is not None:
                await self._look.done.wait()
            if isinstance(self.machine.state, Closed):
                return
            self._next_look = trio.current_time() + _PAUSE
            if flight_of(self.machine.state) is None:
                # Not awaited: a hint that comes while it reads the store must find a waiting task.
                look = self._look = Flight[Landing]("look")
                self.flights.launch(self.flights.logins.catch_up, look)
