"""Wall time and trio time: machines that sleep, clocks that are set back."""

from __future__ import annotations

import time

import attrs
import httpx
import pytest
import trio
import trio.testing

from trioauth import (
    Record,
)
from trioauth._core.clock import Clock

from .both import FakeApi
from .fakes import FakeStore, first_tokens
from .sessions import opened

pytestmark = pytest.mark.usefixtures("autojump_clock")


@attrs.define
class Watches:
    """A wall clock and one that stops while the machine sleeps."""

    wall: float = 1e9
    running: float = 50.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.running)

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds


async def test_the_clock_adds_the_time_asleep() -> None:
    watches = Watches()
    clock = watches.clock()
    assert clock.now() == trio.current_time() == 0
    watches.run(100)
    assert clock.now() == 0
    watches.wall += 3600
    assert clock.now() == 3600
    assert clock.now() == 3600
    watches.wall += 0.5
    assert clock.now() == 3600
    assert clock.to_trio(3600) == 0
    watches.wall += 1800
    assert clock.now() == 5400


async def test_a_sleep_before_the_first_look_at_the_clock_counts_too() -> None:
    watches = Watches()
    clock = watches.clock()
    watches.wall += 3600
    assert clock.now() == 3600


async def test_a_wall_clock_that_is_set_back_is_never_believed() -> None:
    watches = Watches()
    clock = watches.clock()
    watches.wall -= 86400
    assert clock.now() == 0
    watches.run(10)
    await trio.sleep(10)
    assert clock.now() == 10


async def test_the_clock_goes_to_wall_time_and_back() -> None:
    watches = Watches()
    clock = watches.clock()
    assert clock.to_unix(60) == watches.wall + 60
    assert clock.from_unix(watches.wall + 60) == 60
    watches.wall += 100
    assert clock.to_unix(clock.now()) == watches.wall
    assert clock.from_unix(watches.wall) == clock.now() == 100


async def test_after_a_sleep_of_the_machine_the_token_is_renewed_before_it_is_used() -> None:
    watches = Watches()
    api = FakeApi()
    async with opened(tokens=None, transport=httpx.MockTransport(api)) as session:
        session._machine.clock = watches.clock()
        await session.log_in(first_tokens(3600))
        await session.get("/")
        watches.wall += 7200
        await session.get("/")
    assert api.tokens == ["access-0", "access-1"]


@pytest.mark.parametrize(
    ("expires_in", "lifetime", "expected"),
    [
        (3000, 3600, 3000),
        # The wall clock was set back since it was saved: it does not live longer than it was given.
        (100_000, 3600, 3600),
        (-5, 3600, -5),
        (None, None, None),
        (None, 3600, None),
        (3000, None, None),
    ],
)
async def test_what_a_store_says_about_the_expiry_is_taken_with_care(
    expires_in: float | None, lifetime: float | None, expected: float | None
) -> None:
    expires_at = None if expires_in is None else time.time() + expires_in
    record = Record(5, first_tokens(lifetime), login="l", expires_at_unix=expires_at)
    async with opened(tokens=None, store=FakeStore(record)) as session:
        assert session.generation == 5
        seconds = session.statistics().seconds_until_expiry
        assert seconds == (None if expected is None else pytest.approx(expected, abs=2))
