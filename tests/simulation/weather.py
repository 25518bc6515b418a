"""Weather: the wall clock, and which trouble is due."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio
import trio.testing

from trioauth._core.clock import Clock

from .world import SUDDEN, Trouble, Where

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

EPOCH = 1_800_000_000.0
# The clock that stops while the machine sleeps started some time before the world.
_BOOTED = 5_000.0
# Less than this is the jitter of two clocks.
_SHORTEST_SLEEP = 1.0


@attrs.define(eq=False)
class Weather:
    """The clocks of the machine that all programs run on, and the troubles that are due."""

    _troubles: tuple[Trouble, ...]
    cleared: trio.Event = attrs.field(factory=trio.Event)
    """From here on nothing goes wrong any more."""
    slept: float = 0.0
    """Seconds that the machine was suspended."""
    set_by: float = 0.0
    """Seconds that its wall clock was set forward, or back."""
    forward: float = 0.0
    """Seconds that the wall clock has gone forward by a jump or a nap, in all."""
    stopped: float = 0.0
    """Seconds for which the processes were stopped, in all."""
    stops: int = 0
    stopped_at: list[float] = attrs.field(factory=list)
    jumps: int = 0
    doubtful: bool = False
    """There was a jump that a session does not believe, or is too small to be one."""
    _left: dict[int, int] = attrs.field(factory=dict)

    def wall(self) -> float:
        """Seconds since 1970, as this machine believes."""
        return self.server_time() + self.set_by

    def running(self) -> float:
        """Seconds that this machine has been awake."""
        return _BOOTED + trio.current_time()

    def awake(self) -> float:
        """Seconds for which the processes were not stopped."""
        return trio.current_time() - self.stopped

    def server_time(self) -> float:
        """Seconds since 1970, in truth."""
        return EPOCH + trio.current_time() + self.slept

    def jump(self, trouble: Trouble) -> None:
        """Let the wall clock of this machine jump."""
        self.jumps += 1
        self.doubtful |= trouble.what == "back" or trouble.amount <= _SHORTEST_SLEEP
        match trouble.what:
            case "suspend":
                self.slept += trouble.amount
                self.forward += trouble.amount
            case "forward":
                self.set_by += trouble.amount
                self.forward += trouble.amount
            case _:
                self.set_by -= trouble.amount

    def stop(self, trouble: Trouble, clock: trio.testing.MockClock) -> None:
        """Stop the processes for a while."""
        # Shorter ones are those of any busy event loop.
        seconds = min(max(trouble.amount, 2.0), 60.0)
        self.stopped_at.append(trio.current_time())
        self.doubtful = True
        self.stopped += seconds
        self.stops += 1
        clock.jump(seconds)

    def stopped_since(self, moment: float) -> bool:
        """Say whether the processes were stopped at this moment, or later."""
        return any(at >= moment for at in self.stopped_at)

    def sudden(self) -> list[Trouble]:
        """Return what happens at a moment of its own, in order."""
        found = [trouble for trouble in self._troubles if trouble.what in SUDDEN]
        return sorted(found, key=lambda trouble: trouble.at)

    def strike(self, where: Where, among: Iterable[str] | None = None) -> Trouble | None:
        """Return the trouble that befalls whoever comes by here and now."""
        if self.cleared.is_set():
            return None
        now = trio.current_time()
        for number, trouble in enumerate(self._troubles):
            if trouble.where != where or trouble.what in SUDDEN:
                continue
            if among is not None and trouble.what not in among:
                continue
            if trouble.at <= now < trouble.until:
                left = self._left.get(number, trouble.times)
                if left > 0:
                    self._left[number] = left - 1
                    return trouble
        return None


@contextmanager
def clocks_of(weather: Weather) -> Generator[None, None, None]:
    """Let each clock that a session makes meanwhile read the simulated ones."""
    original = Clock.__attrs_post_init__

    def post_init(clock: Clock) -> None:
        clock._wall, clock._running = weather.wall, weather.running
        original(clock)

    Clock.__attrs_post_init__ = post_init  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Clock.__attrs_post_init__ = original  # type: ignore[method-assign]
