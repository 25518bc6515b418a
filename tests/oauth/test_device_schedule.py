"""When the device flow asks again: never early, whatever the clocks and the server do."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioauth.oauth.logins.schedule import Now, Schedule, read_seconds


def at(running: float, wall: float | None = None) -> Now:
    return Now(running, running if wall is None else wall)


def begin(interval: object = None, expires_in: object = 900) -> Schedule:
    return Schedule.begin(at(0), interval=interval, expires_in=expires_in)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0), ("5", 5.0), (" 2.5 ", 2.5), (0, 0.0), (None, None), (True, None), ([], None),
        ("soon", None), ("", None), (-1, None), ("-1", None), ("inf", None), ("nan", None),
        (10**400, None),
    ],
)  # fmt: skip
def test_numbers_come_as_numbers_or_as_text(value: object, seconds: float | None) -> None:
    assert read_seconds(value) == seconds


@pytest.mark.parametrize(
    ("interval", "pause"),
    [(None, 6), ("garbage", 6), (5, 6), ("10", 12), (1, 1.2), (0, 1.2), (-3, 6), (math.inf, 6)],
)
def test_the_first_question_waits_for_the_interval_and_a_fifth(
    interval: object, pause: float
) -> None:
    assert begin(interval).wait(at(0)) == pytest.approx(pause)
    assert begin(interval).wait(at(pause)) == 0


@pytest.mark.parametrize(
    ("expires_in", "lifetime"), [(900, 900), ("600", 600), (None, 1800), ("soon", 1800), (0, 0)]
)
def test_a_code_lives_as_long_as_the_server_says(expires_in: object, lifetime: float) -> None:
    schedule = begin(expires_in=expires_in)
    assert schedule.left(at(0)) == lifetime
    assert schedule.expired(at(lifetime))
    assert not schedule.expired(at(lifetime - 1))


def test_slow_down_adds_up_and_the_servers_own_value_counts_if_it_is_longer() -> None:
    schedule = begin(5).slow_down(at(6))
    assert schedule.interval == 10
    schedule = schedule.slow_down(at(20), interval="7")
    assert schedule.interval == 15
    schedule = schedule.slow_down(at(40), interval=60)
    assert schedule.interval == 60
    assert schedule.pending(at(120)).wait(at(120)) == pytest.approx(72)


def test_faults_back_off_up_to_a_minute_until_the_next_answer() -> None:
    schedule, pauses = begin(5), []
    for _ in range(8):
        schedule = schedule.fault(at(0))
        pauses.append(schedule.pause)
    assert pauses == [12, 24, 48, 60, 60, 60, 60, 60]
    assert schedule.pending(at(0)).pause == 6
    assert begin(100).fault(at(0)).pause == pytest.approx(120), "never shorter than the interval"


def test_retry_after_is_waited_for_once() -> None:
    asked = [each(at(0), retry_after=30) for each in (begin(5).pending, begin(5).fault)]
    for schedule in asked:
        assert schedule.wait(at(0)) == 30
        assert schedule.pending(at(30)).pause == 6
    assert begin(5).slow_down(at(0), retry_after=30).pause == 30
    assert begin(5).pending(at(0), retry_after=1).pause == 6, "never shorter than the interval"


def test_a_fast_clock_of_a_virtual_machine_asks_no_earlier_by_the_wall() -> None:
    # Trio's clock runs at twice the speed of the wall clock.
    assert begin(5).wait(Now(6, 3)) == pytest.approx(3)
    assert begin(5).wait(Now(12, 6)) == 0


def test_a_wall_clock_that_stands_still_or_goes_back_is_not_waited_for_for_ever() -> None:
    assert begin(5).wait(Now(6, -3600)) == pytest.approx(6)
    assert begin(5).wait(Now(12, -3600)) == 0


def test_a_laptop_that_slept_asks_soon_and_knows_what_has_expired() -> None:
    slept = Now(3, 300)
    assert begin(5, 900).wait(slept) == pytest.approx(3)
    assert not begin(5, 900).expired(slept)
    slept = Now(3, 903)
    assert begin(5, 900).expired(slept)
    assert begin(5, 900).wait(slept) == 0, "at once, to say so"


def test_it_never_waits_longer_than_the_code_lives() -> None:
    assert begin(3600, 60).wait(at(0)) == 60
    assert begin(5, 60).pending(at(58)).wait(at(58)) == 2


seconds = st.floats(0, 1e5)
steps = st.lists(
    st.tuples(
        st.sampled_from(["pending", "slow_down", "fault"]),
        st.one_of(st.none(), st.integers(0, 100), st.just("oops")),
        st.one_of(st.none(), st.floats(0, 100)),
        st.floats(0.5, 2),
        st.floats(0, 1000),
    ),
    max_size=30,
)


@given(st.one_of(st.none(), seconds), st.floats(1, 1e5), steps)
def test_no_question_is_early_on_either_clock_and_all_end_by_the_expiry(
    interval: float | None,
    lifetime: float,
    answers: list[tuple[str, object, float | None, float, float]],
) -> None:
    """A wall clock at 0.5 to 2 times the speed of trio's, and laptops that sleep."""
    now, wanted = at(0), max(5.0 if interval is None else interval, 1.0)
    schedule = Schedule.begin(now, interval=interval, expires_in=lifetime)
    for name, new_interval, retry_after, speed, asleep in answers:
        last, rounds = now, 0
        while wait := schedule.wait(now):
            now = Now(now.running + wait, now.wall + wait * speed + (asleep if rounds == 0 else 0))
            rounds += 1
            assert rounds < 100
        assert now.running - schedule.began.running <= lifetime + 0.1 + 1e-6
        if schedule.expired(now):
            return
        assert now.running - last.running >= wanted * 1.2 - 1e-6
        assert now.wall - last.wall >= wanted * 1.2 - 1e-6
        if name == "slow_down":
            schedule = schedule.slow_down(now, interval=new_interval, retry_after=retry_after)
            wanted = max(wanted + 5, read_seconds(new_interval) or 0)
        else:
            schedule = getattr(schedule, name)(now, retry_after=retry_after)
        assert schedule.interval == pytest.approx(wanted)


@given(seconds, seconds, st.floats(-1e6, 1e6))
def test_whatever_the_wall_clock_does_a_question_comes_within_twice_the_pause(
    interval: float, running: float, wall: float
) -> None:
    schedule = begin(interval, 1e9)
    wait = schedule.wait(Now(running, wall))
    assert 0 <= wait <= max(schedule.pause * 2 - running, 0) + 0.1
    assert attrs.evolve(schedule).wait(Now(running, wall)) == wait
