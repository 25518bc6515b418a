"""Statistics: the figures of `Session.statistics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import careful

from .login_state import LoggedIn, LoggedOut
from .state import flight_of, generation_of, public_state

if TYPE_CHECKING:
    from .source import TokenSource


@final
@attrs.frozen
class Statistics:
    """The figures of a session at one moment. Nothing here is secret."""

    generation: int
    """The number of the tokens now in use; 0 when logged out."""
    state: LoggedIn | LoggedOut
    """As `Session.state`."""
    tasks_waiting: int
    """Tasks that wait for the refresh in the air."""
    refreshes: int
    """Refreshes that were started since the session was opened."""
    retries: int
    """Requests that were sent again after a 401."""
    rejections: int
    """Generations that were refused before they expired."""
    seconds_until_expiry: float | None
    """Life left in the access token; None if unknown or logged out."""
    saved: bool
    """Whether everything that should be in the store was saved."""
    last_failure: str | None
    """The class and message of the exception that the last refresh failed with; None if it landed.

    The message of an exception that is neither ours nor the operating system's is left out, because
    it may hold a secret: then only its class and the line that raised it.
    """


def take_statistics(source: TokenSource, *, resent: int) -> Statistics:
    """Collect the figures. Not a checkpoint.

    Args:
      source: The tokens of the session.
      resent: How many requests were sent again after a 401.
    """
    machine = source.machine
    state = public_state(machine.state)
    generation, flight = generation_of(machine.state), flight_of(machine.state)
    expires_in: float | None = None
    if generation is not None and generation.tokens.expires_in is not None:
        expires_in = generation.expires_at - machine.clock.now()
    return Statistics(
        generation=state.generation if isinstance(state, LoggedIn) else 0,
        state=state,
        tasks_waiting=0 if flight is None else flight.passengers,
        refreshes=machine.refreshes,
        retries=resent,
        rejections=machine.rejections,
        seconds_until_expiry=expires_in,
        saved=source.vault.pending is None,
        last_failure=careful(machine.last_failure) or None,
    )
