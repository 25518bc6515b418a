"""When another try makes sense at the token endpoint: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import RefreshUnavailableError, careful_repr, seconds_of

from .flight import Loss

if TYPE_CHECKING:
    from .policy import RefreshPolicy

# A server that forgives a repeated refresh token does so for some seconds only,
# and one that does not takes it for theft: so soon, and not often (P5).
MOST_REPEATS = 2
REPEAT_WITHIN = 10.0

# After that the token is left alone, each time twice as long.
FIRST_QUIET = 10.0

LONGEST_PAUSE = 300.0
"""No pause is longer than that, in seconds: five minutes after a server is back, all is well."""

# A Retry-After beyond this is a mistake, or a maintenance that a person should decide about.
LONGEST_RETRY_AFTER = 300.0


def retry_after(error: Exception) -> float:
    """Return the seconds for which a server asked to be left alone; 0 if it did not.

    Always a number from 0 to `LONGEST_RETRY_AFTER`, whatever a grant has put there.
    """
    try:
        wanted = error.retry_after if isinstance(error, RefreshUnavailableError) else None
    except Exception:  # noqa: BLE001  # a property of a stranger's
        wanted = None
    return min(seconds_of(wanted) or 0.0, LONGEST_RETRY_AFTER)


def is_safe_to_repeat(error: Exception) -> bool:
    """Say whether a refresh token was certainly not used; never raises, as above."""
    try:
        return isinstance(error, RefreshUnavailableError) and bool(error.safe_to_repeat)
    except Exception:  # noqa: BLE001  # a property of a stranger's
        return False


def growing(first: float, times: int) -> float:
    """Return a pause that doubles each time, and is never longer than `LONGEST_PAUSE`.

    Args:
      first: The first pause, in seconds.
      times: How many pauses there were before.
    """
    # No exponent that a year of failures could make too large for a float.
    return min(LONGEST_PAUSE, first * 2.0 ** min(times, 32))


def one_more_loss(loss: Loss, *, now: float) -> Loss:
    """Note that one more flight has lost the answer to a refresh token (P5)."""
    return Loss(loss.flights + 1, now + growing(FIRST_QUIET, loss.flights))


@final
@attrs.define(eq=False)
class Attempts:
    """The attempts of one flight: counts them, and says whether there may be another."""

    _policy: RefreshPolicy
    lost_before: bool = False
    """An earlier flight has lost an answer to this token: then it is presented once."""
    made: int = 0
    failure: Exception | None = attrs.field(default=None, repr=careful_repr)
    """How the last one failed."""
    _repeats: int = 0
    _spent_at: float = 0.0
    _lost_at: float | None = None

    def pause(
        self, error: Exception, *, asked_at: float, now: float, jitter: float, spends: bool
    ) -> float | None:
        """Note a failed attempt; return the seconds until the next one, or None for "no more".

        Args:
          error: How it failed.
          asked_at: When it was made. A lost answer counts from then: while it was waited for, the
              machine may have slept.
          now: When it failed.
          jitter: Between 0 and 1.
          spends: A refresh token was presented, and if nobody knows what became of it, presenting
              it again is bounded more tightly.
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
        """Note that nobody knows any more what became of a refresh token that was presented."""
        if self._lost_at is None:
            self._spent_at, self._lost_at = asked_at, now

    def find(self) -> None:
        """Note that the server has answered with a new refresh token, which was never presented."""
        self._lost_at, self._repeats, self.lost_before = None, 0, False

    @property
    def lost(self) -> bool:
        """Whether an answer to a refresh token was lost."""
        return self._lost_at is not None

    def too_late(self, now: float) -> bool:
        """Whether a refresh token of unknown fate may not be presented any more."""
        return self._lost_at is not None and now > self._spent_at + REPEAT_WITHIN
