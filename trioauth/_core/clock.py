"""The one place where wall time meets trio time.

Three clocks are in use:

1. The session's clock, `Clock.now`, for everything inside: trio's clock plus the time that the
   machine has slept. Trio's own clock stands still during sleep, tokens expire all the same.
2. Trio's clock, for deadlines and events.
3. Wall time, in the store only: other processes read it, and their trio clocks began at other
   moments. An administrator may set it at any time, so nothing inside depends on it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# `wait_awake` waits in slices of so many seconds. If a slice ends more than _LATE seconds late, the
# process was stopped: by SIGSTOP, a paused container, or code that blocked the event loop.
_SLICE = 1.0
_LATE = 0.5
# So many stops are forgiven. Otherwise an event loop that is always late would never time out.
_MOST_STOPS = 10

# Seconds. A smaller difference between two readings is jitter of the clocks, not sleep.
_SHORTEST_SLEEP = 1.0


@final
@attrs.define(eq=False, repr=False)
class Clock:
    """Trio's clock, plus the time that this machine has slept since the session was opened.

    The machine has slept when the wall clock is ahead of ``time.perf_counter``, which stops during
    sleep. A wall clock that is set forward looks the same, and costs one unneeded refresh; one that
    is set back changes nothing.
    """

    _wall: Callable[[], float] = time.time
    _running: Callable[[], float] = time.perf_counter
    # Looked up once, because `trio.current_time` looks it up each time, for each request.
    _trio: trio.abc.Clock = attrs.field(factory=trio.lowlevel.current_clock, init=False)
    _slept: float = attrs.field(default=0.0, init=False)
    _ahead: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ahead = self._wall() - self._running()

    def now(self) -> float:
        """Return the time on trio's clock plus the seconds asleep. Not a checkpoint."""
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


async def wait_awake(wait: Callable[[], Awaitable[object]], until: Callable[[], float]) -> bool:
    """Wait for something until a deadline that counts only the time awake; return whether it came.

    Trio's clock goes on while the process is stopped. If the deadline passes then, it is moved by
    the length of the stop: an answer that has arrived in the socket is read, as without the stop.

    Args:
      wait: Waits for it. Called anew for each slice of time, so cancelling it must be safe.
      until: Returns the deadline, on trio's clock. Called for each slice: it may have moved.

    Cancellation:
      Safe, if ``wait`` is.
    """
    added, stops = 0.0, 0
    while True:
        began, end = trio.current_time(), until() + added
        slice_end = min(began + _SLICE, end)
        with trio.move_on_at(slice_end) as slice_:
            await wait()
        if not slice_.cancelled_caught:
            return True
        now = trio.current_time()
        if now - slice_end > _LATE and stops < _MOST_STOPS:
            stops += 1
            added += now - began
        elif now >= end:
            return False
