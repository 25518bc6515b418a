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
    from collections.abc import Awaitable, Callable

# A wait is cut into slices of so many seconds; a slice that ends so much later than it should was
# interrupted: by SIGSTOP, a paused container, or code that held up the event loop.
_SLICE = 1.0
_LATE = 0.5
# An event loop that is always late must not make a wait endless.
_MOST_STOPS = 10

# Less than this between two readings is the two clocks' jitter, not a nap.
_SHORTEST_SLEEP = 1.0


@final
@attrs.define(eq=False, repr=False)
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


async def wait_awake(wait: Callable[[], Awaitable[object]], until: Callable[[], float]) -> bool:
    """Wait for something until a moment; return whether it came. Counts only the time awake.

    Trio's clock goes on while the process is stopped. A deadline that passed in that time has not
    been waited for: what arrived in the socket is read first, as if there had been no stop.

    Args:
      wait: What to wait for; called anew for each slice of the time, so cancelling it must be safe.
      until: The moment on trio's clock. Asked again each time, because it may be moved.

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
