"""Statistics: what a session looks like inside, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import careful

from .login_state import LoggedIn, LoggedOut
from .state import airborne, held, seen

if TYPE_CHECKING:
    from .source import TokenSource


@final
@attrs.frozen
class Statistics:
    """What a session looks like inside, at one moment. Nothing here is secret."""

    generation: int
    """The number of the tokens now in use; 0 when logged out."""
    state: LoggedIn | LoggedOut
    """As `Session.state`."""
    tasks_waiting: int
    """Tasks that wait for the refresh in the air."""
    refreshes: int
    """Refreshes that were started."""
    retries: int
    """Requests that were sent again after a 401."""
    rejections: int
    """Generations that were refused before they expired."""
    seconds_until_expiry: float | None
    """Life left in the access token; None if unknown or logged out."""
    saved: bool
    """Whether the store has the newest news."""
    last_failure: str | None
    """What the last refresh failed with; None if it landed.

    Of an exception that is neither ours nor the operating system's, only its name and the line it
    came from: what it says may hold a secret.
    """


def take_statistics(source: TokenSource, *, resent: int) -> Statistics:
    """Count, at this moment. Not a checkpoint.

    Args:
      source: The tokens of the session.
      resent: How many requests were sent again after a 401.
    """
    machine = source.machine
    state = seen(machine.state)
    generation, flight = held(machine.state), airborne(machine.state)
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
