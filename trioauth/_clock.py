"""The one place where wall time meets trio time.

Everything inside counts on trio's clock, which no administrator turns back. But
trio's clock stands still while a laptop sleeps, and a store is read by other
processes, whose trio clocks started at other moments. So the time asleep is
added, and what is stored is wall time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# Less than this between two readings is the two clocks' jitter, not a nap.
_SHORTEST_SLEEP = 1.0


@final
@attrs.define(eq=False)
class Clock:
    """Trio's clock, and the time this machine has slept since the session was opened.

    Sleep is what the wall clock has over the clock that stops with the machine.
    A wall clock that is set forward looks the same, and costs one refresh too
    many; one that is set back is never believed.
    """

    _wall: Callable[[], float] = time.time
    _running: Callable[[], float] = time.perf_counter
    # Looked up once: `trio.current_time` would do it for each request.
    _trio: trio.abc.Clock = attrs.field(factory=trio.lowlevel.current_clock, init=False)
    _slept: float = attrs.field(default=0.0, init=False)
    _ahead: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ahead = self._wall() - self._running()

    def now(self) -> float:
        """Return the seconds on trio's clock, plus those asleep. Not a checkpoint."""
        ahead = self._wall() - self._running()
        if ahead - self._ahead > _SHORTEST_SLEEP:
            self._slept += ahead - self._ahead
        self._ahead = ahead
        return self._trio.current_time() + self._slept

    def to_unix(self, moment: float) -> float:
        """Turn a moment of `now` into seconds since 1970."""
        return self._wall() + (moment - self.now())

    def from_unix(self, seconds: float) -> float:
        """Turn seconds since 1970 into a moment of `now`."""
        return self.now() + (seconds - self._wall())

    def to_trio(self, moment: float) -> float:
        """Turn a moment of `now` into one of `trio.current_time`."""
        return moment - self._slept
