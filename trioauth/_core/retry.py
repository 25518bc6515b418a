"""Whether and when to ask the token endpoint again: pure.

After a failed attempt there are three cases:

1. The refresh token was not used (the grant says `safe_to_repeat`), or none was sent: up to
   ``attempts`` attempts, with growing pauses.
2. The answer was lost, so the refresh token may have been used: it is sent at most twice more,
   within ten seconds. Some servers forgive a repeat, but only for some seconds; others take it for
   theft, and end the login (RFC 9700 4.14.2).
3. An earlier flight has already lost an answer to it: it is sent once, and no more in this flight.

After cases 2 and 3 no session that shares the store sends it for a pause that grows from ten
seconds to five minutes (`Loss.quiet_until`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import RefreshUnavailableError, careful_repr, seconds_of

from .flight import Loss

if TYPE_CHECKING:
    from .policy import RefreshPolicy

# Case 2.
MOST_REPEATS = 2
REPEAT_WITHIN = 10.0

# The first pause of `Loss.quiet_until`, in seconds; each next one is twice as long.
FIRST_QUIET = 10.0

LONGEST_PAUSE = 300.0
"""The longest pause, in seconds: five minutes after a server is back, everything works again."""

# In seconds. A longer Retry-After (RFC 9110 10.2.3) is cut to this: otherwise a server's mistake
# could stop a session for days.
LONGEST_RETRY_AFTER = 300.0


def retry_after(error: Exception) -> float:
    """Return how many seconds the server asked to wait; 0 if it did not.

    Always a number from 0 to `LONGEST_RETRY_AFTER`, whatever value a grant's exception has.
    """
    try:
        wanted = error.retry_after if isinstance(error, RefreshUnavailableError) else None
    except Exception:  # noqa: BLE001  # a subclass may make it a property that raises
        wanted = None
    return min(seconds_of(wanted) or 0.0, LONGEST_RETRY_AFTER)


def is_safe_to_repeat(error: Exception) -> bool:
    """Say whether the refresh token was certainly not used; never raises, as above."""
    try:
        return isinstance(error, RefreshUnavailableError) and bool(error.safe_to_repeat)
    except Exception:  # noqa: BLE001  # as above
        return False


def growing(first: float, times: int) -> float:
    """Return a pause that doubles each time, and is never longer than `LONGEST_PAUSE`.

    Args:
      first: The first pause, in seconds.
      times: How many pauses there were before.
    """
    # The exponent is capped: a year of failures would make it too large for a float.
    return min(LONGEST_PAUSE, first * 2.0 ** min(times, 32))


def one_more_loss(loss: Loss, *, now: float) -> Loss:
    """Return the loss after one more flight has lost an answer to the refresh token (P5)."""
    return Loss(loss.flights + 1, now + growing(FIRST_QUIET, loss.flights))


@final
@attrs.define(eq=False)
class Attempts:
    """The attempts of one flight: counts them, and says whether there may be another."""

    _policy: RefreshPolicy
    lost_before: bool = False
    """Whether an earlier flight has lost an answer to this refresh token (case 3)."""
    made: int = 0
    failure: Exception | None = attrs.field(default=None, repr=careful_repr)
    """The exception of the last attempt."""
    noted: bool = False
    """Whether other flights and other sessions have been told that an answer was lost."""
    _repeats: int = 0
    _spent_at: float = 0.0
    _lost_at: float | None = None

    def pause(
        self, error: Exception, *, asked_at: float, now: float, jitter: float, spends: bool
    ) -> float | None:
        """Note a failed attempt; return the seconds until the next one, or None if there is none.

        Args:
          error: How it failed.
          asked_at: When it was made. The ten seconds of case 2 count from then.
          now: When it failed.
          jitter: Between 0 and 1; 0 makes the pause half as long, 1 leaves it.
          spends: Whether a refresh token was sent.
        """
        self.made += 1
        self.failure = error
        backoff = growing(self._policy.backoff, self.made - 1)
        wait = max(backoff * (0.5 + jitter / 2), retry_after(error))
        if self._lost_at is not None:
            self._repeats += 1
        elif spends and not is_safe_to_repeat(error):
            self.lose(asked_at=asked_at, now=now)
        if self.made >= self._policy.attempts:
            return None
        if self.lost and (self.lost_before or self._repeats >= MOST_REPEATS):
            return None
        return None if self.too_late(now + wait) else wait

    def lose(self, *, asked_at: float, now: float) -> None:
        """Note that the answer to a refresh token was lost. Only the first loss counts."""
        if self._lost_at is None:
            self._spent_at, self._lost_at = asked_at, now

    def find(self) -> None:
        """Note that the server has answered with a new refresh token, which was never sent."""
        self._lost_at, self._repeats, self.lost_before = None, 0, False

    @property
    def lost(self) -> bool:
        """Whether an answer to the refresh token was lost in this flight."""
        return self._lost_at is not None

    def too_late(self, now: float) -> bool:
        """Whether an answer was lost and the ten seconds for repeats are over."""
        return self._lost_at is not None and now > self._spent_at + REPEAT_WITHIN
