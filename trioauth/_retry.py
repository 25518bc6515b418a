"""When another try makes sense at the token endpoint: pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import attrs

from ._errors import RefreshUnavailableError

if TYPE_CHECKING:
    from ._policy import RefreshPolicy

# A server that forgives a repeated refresh token does so for some seconds only,
# and one that does not takes it for theft: so soon, and not often (P5).
MOST_REPEATS = 2
REPEAT_WITHIN = 10.0

# A Retry-After beyond this is a mistake, or a maintenance that a person should decide about.
LONGEST_RETRY_AFTER = 300.0


def retry_after(error: Exception) -> float:
    """Return the seconds for which a server asked to be left alone; 0 if it did not."""
    wanted = error.retry_after if isinstance(error, RefreshUnavailableError) else None
    return min(wanted or 0.0, LONGEST_RETRY_AFTER)


@final
@attrs.define(eq=False)
class Attempts:
    """The attempts of one flight: counts them, and says whether there may be another."""

    _policy: RefreshPolicy
    made: int = 0
    failure: Exception | None = None
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
        backoff = math.ldexp(self._policy.backoff, self.made - 1)
        wait = max(backoff * (0.5 + jitter / 2), retry_after(error))
        if self._lost_at is not None:
            self._repeats += 1
        elif spends and not (isinstance(error, RefreshUnavailableError) and error.safe_to_repeat):
            self.lose(asked_at=asked_at, now=now)
        if self.made >= self._policy.attempts:
            return None
        if self._repeats >= MOST_REPEATS or self.too_late(now + wait):
            return None
        return wait

    def lose(self, *, asked_at: float, now: float) -> None:
        """Note that nobody knows any more what became of a refresh token that was presented."""
        if self._lost_at is None:
            self._spent_at, self._lost_at = asked_at, now

    def too_late(self, now: float) -> bool:
        """Whether a refresh token of unknown fate may not be presented any more."""
        return self._lost_at is not None and now > self._spent_at + REPEAT_WITHIN

    @property
    def quiet_until(self) -> float:
        """Until when no other flight may present it either."""
        if self._lost_at is None:
            return -math.inf
        return self._lost_at + REPEAT_WITHIN + self._policy.backoff
