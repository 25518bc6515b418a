"""The tables: what is decided in which state, and what leads where. Pure, no async."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from trioauth import RefreshPolicy, RefreshUnavailableError, Tokens
from trioauth._core.flight import NO_LOSS, Flight, Generation, Login
from trioauth._core.login_state import LoggedIn, LoggedOut
from trioauth._core.retry import LONGEST_RETRY_AFTER, Attempts, one_more_loss, retry_after
from trioauth._core.state import (
    Board,
    Closed,
    Current,
    Landing,
    LoggingIn,
    Refreshing,
    Rejected,
    Setback,
    State,
    TakeOff,
    Use,
    UseAndRefresh,
    Vacant,
    flight_of,
    generation_of,
    on_adoption,
    on_close,
    on_demand,
    on_landing,
    on_log_in,
    on_log_out,
    on_refresh,
    on_rejection,
    on_rotation,
    on_take_off,
    public_state,
)

FLIGHT: Flight[Landing] = Flight("renewal", 1)
OTHER: Flight[Landing] = Flight("renewal", 2)
LOGIN = Login("login")


def generation(number: int, *, from_: float = 0) -> Generation:
    """Fresh for 40 seconds, early until 95, stale until 100."""
    return Generation(
        number=number,
        login=LOGIN,
        tokens=Tokens("access", scope="read"),
        lifetime=100,
        early_at=from_ + 40,
        stale_at=from_ + 95,
        expires_at=from_ + 100,
    )


GEN = generation(3)
NEXT = generation(4, from_=100)
OOPS = OSError("oops")
SETBACK = Setback(OOPS, retry_at=60)
OVER = Setback(OOPS, retry_at=10)
OUT = LoggedOut("refused", OOPS)
CLOSED = Closed(LoggedIn(3))


@pytest.mark.parametrize(
    ("state", "now", "decision"),
    [
        (Vacant(), 0, TakeOff("asked_for")),
        (Vacant(SETBACK), 59.9, SETBACK),
        (Vacant(SETBACK), 60, TakeOff("asked_for")),  # retry_at is exclusive
        (LoggingIn(FLIGHT), 0, Board(FLIGHT)),
        (Current(GEN), 0, Use(GEN)),
        (Current(GEN), 39.9, Use(GEN)),
        (Current(GEN), 40, UseAndRefresh(GEN)),  # and so are early_at, stale_at and expires_at
        (Current(GEN), 94.9, UseAndRefresh(GEN)),
        (Current(GEN), 95, TakeOff("clock")),
        (Current(GEN), 100, TakeOff("clock")),
        (Current(GEN, SETBACK), 50, Use(GEN)),
        (Current(GEN, SETBACK), 60, UseAndRefresh(GEN)),
        (Current(GEN, Setback(OOPS, 98)), 97, Use(GEN)),
        (Current(GEN, Setback(OOPS, 200)), 100, Setback(OOPS, 200)),
        # Once a refresh has failed, no task waits while the token works.
        (Current(GEN, OVER), 96, UseAndRefresh(GEN)),
        (Current(GEN, OVER), 100, TakeOff("clock")),
        (Rejected(GEN), 0, TakeOff("rejected")),
        (Rejected(GEN, SETBACK), 59.9, SETBACK),
        (Rejected(GEN, SETBACK), 60, TakeOff("rejected")),
        (Refreshing(GEN, FLIGHT), 0, Use(GEN)),
        (Refreshing(GEN, FLIGHT), 94.9, Use(GEN)),
        (Refreshing(GEN, FLIGHT), 95, Board(FLIGHT)),
        (Refreshing(GEN, FLIGHT, troubled=True), 99.9, Use(GEN)),
        (Refreshing(GEN, FLIGHT, troubled=True), 100, Board(FLIGHT)),
        (Refreshing(GEN, FLIGHT, rejected=True), 0, Board(FLIGHT)),
        (Refreshing(GEN, FLIGHT, rejected=True, troubled=True), 0, Board(FLIGHT)),
        (OUT, 0, OUT),
        (CLOSED, 0, CLOSED),
    ],
)
def test_on_demand(state: State, now: float, decision: object) -> None:
    assert on_demand(state, now=now) == decision


@pytest.mark.parametrize(
    ("state", "options", "decision"),
    [
        (Current(GEN), {"valid_for": 60.0}, Use(GEN)),
        (Current(GEN), {"valid_for": 70.1}, TakeOff("clock")),
        (Current(GEN, Setback(OOPS, 90)), {"valid_for": 70.1}, Setback(OOPS, 90)),
        # More than can be had: whatever isn't early yet will do.
        (Current(GEN), {"valid_for": 1000.0}, Use(GEN)),
        (Current(GEN), {"one_shot": True}, Use(GEN)),
        (Current(generation(3, from_=-20)), {"one_shot": True}, TakeOff("clock")),
        (Refreshing(GEN, FLIGHT), {"valid_for": 70.1}, Board(FLIGHT)),
        # Who has just waited for it takes it, whatever its age.
        (Current(generation(3, from_=-90)), {"waited_for": 3}, Use(generation(3, from_=-90))),
        (Current(generation(3, from_=-90)), {"waited_for": 4}, TakeOff("clock")),
        (Refreshing(generation(3, from_=-90), FLIGHT), {"waited_for": 2}, None),
        (Refreshing(GEN, FLIGHT, rejected=True), {"waited_for": 3}, Board(FLIGHT)),
    ],
)
def test_on_demand_of_something_special(
    state: State, options: dict[str, Any], decision: object
) -> None:
    found = on_demand(state, now=30, **options)
    if decision is None or isinstance(decision, Use):
        assert isinstance(found, Use)
    else:
        assert found == decision


def test_the_very_first_generation_is_taken_whatever_its_age_by_who_waited_for_it() -> None:
    first = generation(1)
    for state in (Current(first), Refreshing(first, FLIGHT)):
        assert on_demand(state, now=100, waited_for=1) == Use(first)
        assert on_demand(state, now=100) != Use(first)


def test_a_request_that_can_not_be_sent_again_waits_for_the_flight_in_the_air() -> None:
    state = Refreshing(GEN, FLIGHT)
    assert on_demand(state, now=40) == Use(GEN)
    assert on_demand(state, now=40, one_shot=True) == Board(FLIGHT)


def test_a_newer_token_can_be_asked_for_from_the_end_of_the_setback_on() -> None:
    for state in (Current(GEN, SETBACK), Rejected(GEN, SETBACK), Vacant(SETBACK)):
        assert on_refresh(state, now=59.9) == SETBACK
        assert on_refresh(state, now=60) == TakeOff("asked_for")


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (Vacant(), TakeOff("asked_for")),
        (Current(GEN), TakeOff("asked_for")),
        (Current(GEN, SETBACK), SETBACK),
        (Rejected(GEN), TakeOff("asked_for")),
        (Rejected(GEN, SETBACK), SETBACK),
        (Refreshing(GEN, FLIGHT), Board(FLIGHT)),
        (LoggingIn(FLIGHT), Board(FLIGHT)),
        (OUT, OUT),
        (CLOSED, CLOSED),
    ],
)
def test_on_refresh(state: State, decision: object) -> None:
    assert on_refresh(state, now=50) == decision


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Vacant(SETBACK), LoggingIn(FLIGHT)),
        (Current(GEN), Refreshing(GEN, FLIGHT)),
        (Current(GEN, SETBACK), Refreshing(GEN, FLIGHT, troubled=True)),
        (Rejected(GEN, SETBACK), Refreshing(GEN, FLIGHT, rejected=True)),
    ],
)
def test_on_take_off(state: State, after: State) -> None:
    assert on_take_off(state, FLIGHT) == after


@pytest.mark.parametrize("state", [Refreshing(GEN, FLIGHT), LoggingIn(FLIGHT), OUT, CLOSED])
def test_no_second_flight_takes_off(state: State) -> None:
    with pytest.raises(AssertionError, match="no flight takes off from"):
        on_take_off(state, OTHER)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Current(GEN, SETBACK), Rejected(GEN, SETBACK)),
        (Refreshing(GEN, FLIGHT), Refreshing(GEN, FLIGHT, rejected=True)),
    ],
)
def test_on_rejection(state: State, after: State) -> None:
    assert on_rejection(state, 3) == after


@pytest.mark.parametrize(
    ("state", "number"),
    [
        (Current(GEN), 2),
        (Current(GEN), 4),
        (Refreshing(GEN, FLIGHT), 2),
        (Refreshing(GEN, FLIGHT, rejected=True), 3),
        (Rejected(GEN), 3),
        (Vacant(), 0),
        (LoggingIn(FLIGHT), 1),
        (OUT, 3),
        (CLOSED, 3),
    ],
)
def test_a_rejection_that_is_late_or_told_twice_changes_nothing(state: State, number: int) -> None:
    assert on_rejection(state, number) is state


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (Refreshing(GEN, FLIGHT, rejected=True, troubled=True), Refreshing(NEXT, FLIGHT)),
        (LoggingIn(FLIGHT), Refreshing(NEXT, FLIGHT)),
        (Current(GEN, SETBACK), Current(NEXT)),
        (Rejected(GEN), Current(NEXT)),
        (Vacant(), Vacant()),
        (OUT, OUT),
        (CLOSED, CLOSED),
    ],
)
def test_on_adoption(state: State, after: State) -> None:
    assert on_adoption(state, NEXT) == after


@pytest.mark.parametrize(
    ("state", "landing", "after"),
    [
        (Refreshing(GEN, FLIGHT), NEXT, Current(NEXT)),
        (Refreshing(GEN, FLIGHT, rejected=True), NEXT, Current(NEXT)),
        (Refreshing(GEN, FLIGHT), SETBACK, Current(GEN, SETBACK)),
        (Refreshing(GEN, FLIGHT, rejected=True), SETBACK, Rejected(GEN, SETBACK)),
        (Refreshing(GEN, FLIGHT), OUT, OUT),
        (LoggingIn(FLIGHT), NEXT, Current(NEXT)),
        (LoggingIn(FLIGHT), SETBACK, Vacant(SETBACK)),
        (LoggingIn(FLIGHT), OUT, OUT),
    ],
)
def test_on_landing(state: State, landing: Landing, after: State) -> None:
    assert on_landing(state, FLIGHT, landing) == after


@pytest.mark.parametrize("landing", [NEXT, SETBACK, OUT])
@pytest.mark.parametrize(
    "state",
    [Refreshing(GEN, OTHER), LoggingIn(OTHER), Current(GEN), Rejected(GEN), Vacant(), OUT, CLOSED],
)
def test_a_flight_that_is_not_that_of_the_state_lands_without_effect(
    state: State, landing: Landing
) -> None:
    assert on_landing(state, FLIGHT, landing) is state


ALL: list[State] = [
    Vacant(),
    LoggingIn(FLIGHT),
    Current(GEN),
    Rejected(GEN),
    Refreshing(GEN, FLIGHT),
    OUT,
    CLOSED,
]


@pytest.mark.parametrize("state", ALL)
def test_a_log_in_begins_from_anywhere_but_a_closed_session(state: State) -> None:
    assert on_log_in(state, NEXT) == (CLOSED if state is CLOSED else Current(NEXT))


@pytest.mark.parametrize("state", ALL)
def test_a_log_out_ends_what_there_is_and_keeps_the_first_reason(state: State) -> None:
    asked = LoggedOut("asked")
    assert on_log_out(state, asked) == (state if state in (OUT, CLOSED) else asked)


@pytest.mark.parametrize("state", ALL)
def test_closing_keeps_what_was_seen_last(state: State) -> None:
    assert on_close(state) == Closed(public_state(state))


def test_what_the_world_sees() -> None:
    with_login: list[State] = [Current(GEN), Rejected(GEN), Refreshing(GEN, FLIGHT)]
    for state in with_login:
        assert public_state(state) == LoggedIn(3, frozenset({"read"}))
        assert generation_of(state) is GEN
    without: list[State] = [Vacant(), LoggingIn(FLIGHT)]
    for state in without:
        assert public_state(state) == LoggedOut("never_logged_in")
        assert generation_of(state) is None
    assert public_state(OUT) is OUT
    assert public_state(CLOSED) == LoggedIn(3)
    assert [flight_of(state) for state in ALL] == [None, FLIGHT, None, None, FLIGHT, None, None]


# --- when a generation gets early, stale and expired ---------------------------------------


def schedule(lifetime: float | None, **options: Any) -> Generation:
    options.setdefault("policy", RefreshPolicy())
    return Generation.schedule(1, LOGIN, Tokens("access", None, lifetime), asked_at=0, **options)


@pytest.mark.parametrize(
    ("lifetime", "early_at", "stale_at"),
    [
        (3600, 3540, 3595),
        (240, 180, 235),
        (100, 75, 95),  # a quarter of the lifetime
        (20, 15, 18),  # a tenth of it
        (2, 1.5, 1.8),
        (0, 0, 0),
        (None, math.inf, math.inf),
    ],
)
def test_the_windows_are_capped_at_a_share_of_the_lifetime(
    lifetime: float | None, early_at: float, stale_at: float
) -> None:
    made = schedule(lifetime)
    assert (made.early_at, made.stale_at) == (early_at, stale_at)
    assert made.expires_at == (math.inf if lifetime is None else lifetime)


def test_jitter_shortens_the_early_window_by_a_fifth_at_most_and_never_below_the_leeway() -> None:
    assert schedule(3600, jitter=1).early_at == 3600 - 48
    tight = RefreshPolicy(early=5, leeway=5)
    assert schedule(3600, jitter=1, policy=tight).early_at == 3595


def test_a_token_that_can_not_be_renewed_is_used_up_to_its_end() -> None:
    made = schedule(3600, renewable=False)
    assert made.early_at == made.stale_at == made.expires_at == 3600
    assert made.freshness(3599.9) == "fresh"
    assert made.freshness(3600) == "expired"


def test_the_best_there_is_counts_up_to_its_end_for_who_wants_more_than_a_lifetime() -> None:
    found = [GEN.freshness(now, valid_for=100.1) for now in (0, 39.9, 40, 94.9, 95, 99.9, 100)]
    assert found == ["fresh", "fresh", "stale", "stale", "stale", "stale", "expired"]


def test_a_token_is_fresh_then_early_then_stale_then_expired() -> None:
    found = [GEN.freshness(now) for now in (0, 39.9, 40, 94.9, 95, 99.9, 100)]
    assert found == ["fresh", "fresh", "early", "early", "stale", "stale", "expired"]


def test_a_whole_lifetime_is_not_more_than_there_is() -> None:
    assert GEN.freshness(0, valid_for=99.9) == "fresh"
    assert GEN.freshness(0, valid_for=100) == "expired"


# --- another try ---------------------------------------------------------------------------


def pauses(policy: RefreshPolicy, errors: list[Exception], *, spends: bool = True) -> list[Any]:
    attempts, now, found = Attempts(policy), 0.0, []
    for error in errors:
        pause = attempts.pause(error, asked_at=now, now=now, jitter=1, spends=spends)
        found.append(pause)
        now += pause or 0
    return found


def unsent(after: float | None = None) -> RefreshUnavailableError:
    return RefreshUnavailableError("busy", retry_after=after, safe_to_repeat=True)


def test_what_was_certainly_not_used_is_tried_as_often_as_the_policy_says() -> None:
    assert pauses(RefreshPolicy(), [unsent()] * 4) == [0.5, 1, 2, None]
    assert pauses(RefreshPolicy(attempts=1), [unsent()]) == [None]


def test_a_refresh_token_of_unknown_fate_is_presented_twice_more_in_ten_seconds() -> None:
    policy = RefreshPolicy(attempts=9)
    assert pauses(policy, [OSError()] * 3) == [0.5, 1, None]
    assert pauses(policy, [OSError(), unsent(), unsent()]) == [0.5, 1, None]
    assert pauses(policy, [unsent(), OSError(), OSError(), OSError()]) == [0.5, 1, 2, None]
    assert pauses(policy, [OSError(), unsent(after=9.6)]) == [0.5, None]
    # A grant that has no refresh token to spend has nothing to lose.
    assert pauses(policy, [OSError()] * 4, spends=False) == [0.5, 1, 2, 4]


def test_an_error_of_ours_is_no_proof_that_the_refresh_token_was_not_used() -> None:
    lost = RefreshUnavailableError("no whole answer")
    assert pauses(RefreshPolicy(attempts=9), [lost] * 3) == [0.5, 1, None]


def test_after_ten_seconds_a_token_of_unknown_fate_is_not_presented_by_the_same_flight() -> None:
    attempts = Attempts(RefreshPolicy())
    assert not attempts.lost
    assert not attempts.too_late(1e9)
    attempts.pause(OSError(), asked_at=100, now=100, jitter=0, spends=True)
    assert attempts.lost
    assert not attempts.too_late(110)
    assert attempts.too_late(110.1)


def test_a_flight_after_a_lost_answer_presents_the_token_once() -> None:
    attempts = Attempts(RefreshPolicy(attempts=9), lost_before=True)
    assert attempts.pause(unsent(), asked_at=0, now=0, jitter=1, spends=True) == 0.5
    assert attempts.pause(OSError(), asked_at=1, now=1, jitter=1, spends=True) is None


def test_the_pause_after_lost_answers_grows_from_ten_seconds_to_five_minutes() -> None:
    loss, pauses_seen = NO_LOSS, list[float]()
    for _ in range(2000):
        loss = one_more_loss(loss, now=0)
        pauses_seen.append(loss.quiet_until)
    assert pauses_seen[:7] == [10, 20, 40, 80, 160, 300, 300]
    assert set(pauses_seen[7:]) == {300}


def test_retry_after_is_honoured_and_capped() -> None:
    assert pauses(RefreshPolicy(), [unsent(after=7)]) == [7]
    assert retry_after(unsent(after=1e9)) == LONGEST_RETRY_AFTER
    assert retry_after(OSError()) == 0


def test_a_rotated_refresh_token_of_a_login_that_is_over_changes_nothing() -> None:
    ended = LoggedOut("asked")
    assert on_rotation(ended, GEN) is ended
    state = Current(GEN)
    assert on_rotation(state, attrs.evolve(GEN, login=Login("another"))) is state
