"""When the device flow asks again (RFC 8628 3.5): a value, and what it becomes (pure).

The rules:

1. The server's ``interval`` passes before the first question, too, and a fifth on top.
2. It passes on both clocks. Trio's clock runs fast in some virtual machines, and a question that
   comes too early is punished, even after the person has agreed. The wall clock is not believed if
   it stood still or went back: after twice the time on trio's clock we ask anyway.
3. ``slow_down`` makes the interval longer for good: by five seconds, or to the server's own new
   value if that is longer.
4. No answer, or a 5xx, doubles the pause each time, up to a minute; any answer ends that. It never
   ends the log-in: the person may have agreed already.
5. The code has expired when ``expires_in`` has passed on either clock. Trio's stands still while a
   laptop sleeps; the server's does not.
"""

from __future__ import annotations

import math
from typing import Final, final

import attrs

_USUAL_INTERVAL: Final = 5.0  # RFC 8628 3.2
_SHORTEST_INTERVAL: Final = 1.0
_SLOWER_BY: Final = 5.0  # RFC 8628 3.5
_MARGIN: Final = 1.2
_LONGEST_BACKOFF: Final = 60.0
# So many faults in a row take any interval to the longest back-off.
_MOST_DOUBLINGS: Final = 6
# What MSAL takes if a server does not say.
_USUAL_LIFETIME: Final = 1800.0
# How often longer than the pause we wait for a wall clock that does not move.
_PATIENCE: Final = 2.0
# On a slow wall clock each look finds a part of what the last one found: not without end.
_SHORTEST_WAIT: Final = 0.1


def read_seconds(value: object) -> float | None:
    """Return the seconds in a member of an answer: a number, or one as text (as some servers send).

    None for what is none: missing, not a number, negative, infinite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


@final
@attrs.frozen
class Now:
    """A moment, on both clocks."""

    running: float
    """`trio.current_time`"""
    wall: float
    """`time.time`"""


@final
@attrs.frozen(kw_only=True)
class Schedule:
    """When to ask next, and when to stop."""

    began: Now
    """When the codes came."""
    lifetime: float
    """For how many seconds they are good."""
    last: Now
    """When the last answer came; at first, when the codes did."""
    interval: float
    """The seconds between two questions that the server wants."""
    faults: int = 0
    """How many questions in a row got no answer."""
    asked_to_wait: float = 0.0
    """``Retry-After`` of the last answer, in seconds."""

    @classmethod
    def begin(cls, now: Now, *, interval: object = None, expires_in: object = None) -> Schedule:
        """Begin when the codes have come, with the members of that answer as they are."""
        wanted, lifetime = read_seconds(interval), read_seconds(expires_in)
        return cls(
            began=now,
            lifetime=_USUAL_LIFETIME if lifetime is None else lifetime,
            last=now,
            interval=max(_USUAL_INTERVAL if wanted is None else wanted, _SHORTEST_INTERVAL),
        )

    def pending(self, now: Now, *, retry_after: float | None = None) -> Schedule:
        """Go on after ``authorization_pending``."""
        return attrs.evolve(self, last=now, faults=0, asked_to_wait=retry_after or 0.0)

    def slow_down(
        self, now: Now, *, interval: object = None, retry_after: float | None = None
    ) -> Schedule:
        """Go on after ``slow_down``, which may say a new ``interval``."""
        longer = max(self.interval + _SLOWER_BY, read_seconds(interval) or 0.0)
        return attrs.evolve(self.pending(now, retry_after=retry_after), interval=longer)

    def fault(self, now: Now, *, retry_after: float | None = None) -> Schedule:
        """Go on after a question without an answer: a broken connection, a 5xx, no JSON."""
        doublings = min(self.faults + 1, _MOST_DOUBLINGS)
        return attrs.evolve(self, last=now, faults=doublings, asked_to_wait=retry_after or 0.0)

    @property
    def pause(self) -> float:
        """The seconds from the last answer to the next question."""
        usual = self.interval * _MARGIN
        backoff = min(usual * 2.0**self.faults, max(usual, _LONGEST_BACKOFF))
        return max(backoff, self.asked_to_wait)

    def wait(self, now: Now) -> float:
        """Return for how many seconds to sleep, on trio's clock, before looking again; 0: ask now.

        Not longer than the codes are good, but for rounding up.
        """
        running, wall = now.running - self.last.running, now.wall - self.last.wall
        left = max(
            self.pause - running,
            # Rule 2: what the wall clock lacks, but not for ever.
            min(self.pause - wall, self.pause * _PATIENCE - running),
            0.0,
        )
        left = min(left, self.left(now))
        return max(left, _SHORTEST_WAIT) if left else 0.0

    def left(self, now: Now) -> float:
        """Return the seconds until the codes expire; 0 if they have."""
        passed = max(now.running - self.began.running, now.wall - self.began.wall)
        return max(self.lifetime - passed, 0.0)

    def expired(self, now: Now) -> bool:
        """Say whether the codes have expired."""
        return self.left(now) == 0.0
