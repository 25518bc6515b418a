"""A world in which anything may happen in any order, over the pure functions alone.

It keeps books of its own, written from the promises and not from the states, and compares.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioauth import LoggedIn, RefreshPolicy, Tokens
from trioauth._core.flight import Flight, Generation, Login
from trioauth._core.login_state import LoggedOut
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
    on_take_off,
    public_state,
)

from .fuzzing import examples

POLICY = RefreshPolicy()
# Where rules meet: at these ages a token of a minute gets early, stale and expired.
LIFETIMES = st.none() | st.sampled_from([0.0, 2.0, 60.0, 400.0]) | st.floats(0, 400)
WANTED = st.sampled_from([0.0, 0.0, 0.0, 1.0, 30.0, 60.0, 61.0, 1e9])


@attrs.define
class Books:
    """What one would have to know to say what is right."""

    login: Literal["none yet", "on", "over", "closed"] = "none yet"
    outcome: LoggedOut | None = None
    generation: Generation | None = None
    obtained_at: float = 0.0
    rejected: bool = False
    """A server refused this generation."""
    flight: Flight[Landing] | None = None
    setback: Setback | None = None
    """How the last flight failed, if no other has taken off since."""
    troubled: bool = False
    """The flight in the air is the next after one that failed."""
    last: LoggedIn | LoggedOut | None = None

    def hold(self, generation: Generation, now: float) -> None:
        self.login, self.generation, self.obtained_at = "on", generation, now
        self.rejected, self.setback, self.troubled = False, None, False

    def end(self, outcome: LoggedOut) -> None:
        self.login, self.outcome = "over", outcome
        self.generation, self.flight, self.setback = None, None, None

    def quiet(self, now: float) -> bool:
        """Whether a failure is remembered rather than tried again."""
        return self.setback is not None and now < self.setback.retry_at

    def age(self, now: float, valid_for: float, *, one_shot: bool) -> int:
        """0 for fresh, 1 for early, 2 for stale and 3 for expired."""
        assert self.generation is not None
        lifetime = self.generation.tokens.expires_in
        if lifetime is None:
            return 0 if valid_for < math.inf else 3
        if valid_for > lifetime:
            # It can't be had: then what is not early yet is as good as it gets.
            valid_for, one_shot = 0.0, True
        end = self.obtained_at + lifetime
        if now + valid_for >= end:
            return 3
        if now >= end - min(POLICY.leeway, lifetime / 10):
            return 2
        if now >= end - min(POLICY.early, lifetime / 4):
            return 2 if one_shot else 1
        return 0

    def decide(self, now: float, valid_for: float, *, one_shot: bool, landed: int) -> object:
        """Say what who needs a token should be told."""
        if self.login in ("over", "closed"):
            return "the state itself"
        if self.generation is None or self.rejected:
            if self.flight is not None:
                return Board(self.flight)
            if self.quiet(now):
                return self.setback
            return TakeOff("asked_for" if self.generation is None else "rejected")
        age = self.age(now, valid_for, one_shot=one_shot)
        # Who has waited for it can't get any newer.
        use = age == 0 or 0 < landed <= self.generation.number
        if self.flight is not None:
            # No task waits for a token that is only early; nor, after a failure, while it works.
            if use or age == 1 or (age == 2 and self.troubled):
                return Use(self.generation)
            return Board(self.flight)
        if use:
            return Use(self.generation)
        if self.quiet(now):
            return Use(self.generation) if age < 3 else self.setback
        if age == 1 or (age == 2 and self.setback is not None):
            return UseAndRefresh(self.generation)
        return TakeOff("clock")


class World(RuleBasedStateMachine):
    """Lets things happen to the state and to the books."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state: State = Vacant()
        self.books = Books()
        self.numbers = 0
        self.in_the_air: list[Flight[Landing]] = []

    @initialize(logged_in=st.sampled_from([True, True, False]))
    def it_begins(self, logged_in: bool) -> None:
        if logged_in:
            self.someone_logs_in(60.0)

    def make(self, login: Login, lifetime: float | None) -> Generation:
        self.numbers += 1
        tokens = Tokens(f"access-{self.numbers}", None, lifetime, f"scope-{self.numbers}")
        return Generation.schedule(self.numbers, login, tokens, asked_at=self.now, policy=POLICY)

    def take_off(self) -> None:
        books = self.books
        assert books.flight is None, "two refreshes at once"
        flight: Flight[Landing] = Flight("renewal", len(self.in_the_air) + 1)
        self.in_the_air.append(flight)
        self.state = on_take_off(self.state, flight)
        books.flight = flight
        books.troubled, books.setback = books.setback is not None, None

    @rule(seconds=st.floats(0, 100) | st.sampled_from([0.5, 5.0, 15.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(exactly=st.sampled_from(["early_at", "stale_at", "expires_at"]))
    def it_is_the_very_moment(self, exactly: str) -> None:
        generation = self.books.generation
        if generation is not None and self.now < getattr(generation, exactly) < math.inf:
            self.now = getattr(generation, exactly)

    @precondition(lambda self: self.books.setback)
    @rule()
    def the_pause_after_a_failure_is_over(self) -> None:
        assert self.books.setback is not None
        self.now = max(self.now, self.books.setback.retry_at)

    @rule(valid_for=WANTED, one_shot=st.booleans(), behind=st.sampled_from([None, None, 0, 1, -1]))
    def someone_asks(self, valid_for: float, one_shot: bool, behind: int | None) -> None:
        # Who asks may have waited for this generation, an older one, or one that is replaced.
        landed = 0 if behind is None else max(0, self.numbers - behind)
        decision = on_demand(
            self.state, now=self.now, valid_for=valid_for, one_shot=one_shot, waited_for=landed
        )
        expected = self.books.decide(self.now, valid_for, one_shot=one_shot, landed=landed)
        assert decision == (self.state if expected == "the state itself" else expected)
        if isinstance(decision, TakeOff | UseAndRefresh):
            self.take_off()

    @precondition(lambda self: self.books.flight is None)
    @rule(pause=st.sampled_from([5.0, 300.0]), again=st.booleans())
    def a_refresh_fails(self, pause: float, again: bool) -> None:
        self.someone_wants_a_newer_one()
        if self.books.flight is not None:
            self.land(self.books.flight, Setback(OSError(), self.now + pause))
        if again and self.books.setback is not None:
            self.the_pause_after_a_failure_is_over()
            self.someone_wants_a_newer_one()

    @rule()
    def someone_wants_a_newer_one(self) -> None:
        decision, books = on_refresh(self.state, now=self.now), self.books
        if books.login in ("over", "closed"):
            assert decision is self.state
        elif books.flight is not None:
            assert decision == Board(books.flight)
        elif books.quiet(self.now):
            assert decision is books.setback
        else:
            assert decision == TakeOff("asked_for")
            self.take_off()

    @precondition(lambda self: self.in_the_air)
    @rule(
        data=st.data(),
        lifetime=LIFETIMES,
        landing=st.sampled_from(
            ["generation", "generation", "setback", "short setback", "refusal"]
        ),
    )
    def a_flight_lands(self, data: st.DataObject, lifetime: float | None, landing: str) -> None:
        flight, brought = data.draw(st.sampled_from(self.in_the_air)), self.bring(landing, lifetime)
        self.land(flight, brought)

    def bring(self, landing: str, lifetime: float | None) -> Landing:
        books = self.books
        if landing == "generation":
            login = books.generation.login if books.generation is not None else Login()
            return self.make(login, lifetime)
        if landing == "refusal":
            return LoggedOut("refused", OSError())
        return Setback(OSError(), self.now + (5.0 if landing == "setback" else 0.0))

    def land(self, flight: Flight[Landing], brought: Landing) -> None:
        books, before = self.books, self.state
        self.in_the_air.remove(flight)
        self.state = on_landing(self.state, flight, brought)
        if flight is not books.flight:
            assert self.state is before, "no task waits for it any more"
            return
        books.flight, books.troubled = None, False
        if isinstance(brought, Generation):
            books.hold(brought, self.now)
        elif isinstance(brought, Setback):
            books.setback = brought
        else:
            books.end(brought)

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def a_server_refuses(self, data: st.DataObject) -> None:
        # The current one as often as all the others.
        number = data.draw(st.just(self.numbers) | st.integers(1, self.numbers))
        before = self.state
        self.state = on_rejection(self.state, number)
        books = self.books
        if books.generation is not None and books.generation.number == number:
            if books.rejected:
                assert self.state is before
            books.rejected = True
        else:
            assert self.state is before, "late news"

    @rule(same=st.booleans(), lifetime=LIFETIMES)
    def the_store_has_news(self, same: bool, lifetime: float | None) -> None:
        books, before = self.books, self.state
        login = books.generation.login if books.generation is not None and same else Login()
        generation = self.make(login, lifetime)
        self.state = on_adoption(self.state, generation)
        if not same and books.generation is not None:
            # The flight was for a login that is over.
            books.flight = None
        if books.generation is not None or books.flight is not None:
            books.hold(generation, self.now)
        else:
            assert self.state is before, "nothing there to be replaced"

    @rule(lifetime=LIFETIMES)
    def someone_logs_in(self, lifetime: float | None) -> None:
        generation = self.make(Login(), lifetime)
        before = self.state
        self.state = on_log_in(self.state, generation)
        if self.books.login == "closed":
            assert self.state is before
        else:
            self.books.flight = None
            self.books.hold(generation, self.now)

    @precondition(lambda self: self.numbers > 5)
    @rule()
    def someone_logs_out(self) -> None:
        outcome, before = LoggedOut("asked"), self.state
        self.state = on_log_out(self.state, outcome)
        if self.books.login in ("over", "closed"):
            assert self.state is before, "the first reason is the reason"
        else:
            self.books.end(outcome)

    @precondition(lambda self: self.numbers > 15)
    @rule()
    def the_session_closes(self) -> None:
        last, before = public_state(self.state), self.state
        self.state = on_close(self.state)
        if self.books.login == "closed":
            assert self.state is before
        else:
            self.books = Books("closed", last=last)

    @invariant()
    def the_state_is_as_the_books_say(self) -> None:
        books = self.books
        assert generation_of(self.state) is books.generation
        assert flight_of(self.state) is books.flight
        match self.state:
            case Vacant(setback):
                assert (books.login, books.generation, books.flight) == ("none yet", None, None)
                assert setback is books.setback
            case LoggingIn():
                assert books.login == "none yet"
                assert books.generation is None
            case Current(_, setback):
                assert not books.rejected
                assert setback is books.setback
            case Rejected(_, setback):
                assert books.rejected
                assert setback is books.setback
            case Refreshing(_, _, rejected, troubled):
                assert rejected == books.rejected
                assert rejected or troubled == books.troubled
            case LoggedOut():
                assert books.login == "over"
                assert self.state is books.outcome
            case Closed():
                assert books.login == "closed"

    @invariant()
    def whoever_asks_is_told_what_the_books_say(self) -> None:
        # Decisions change nothing, so all questions can be asked, now and when rules change.
        moments = {self.now}
        if (generation := self.books.generation) is not None:
            moments |= {generation.early_at, generation.stale_at, generation.expires_at}
        if self.books.setback is not None:
            moments.add(self.books.setback.retry_at)
        for now in sorted(each for each in moments if self.now <= each < math.inf):
            for valid_for, one_shot, landed in product(
                (0.0, 30.0, 61.0), (False, True), (0, max(0, self.numbers - 1), self.numbers)
            ):
                expected = self.books.decide(now, valid_for, one_shot=one_shot, landed=landed)
                decision = on_demand(
                    self.state, now=now, valid_for=valid_for, one_shot=one_shot, waited_for=landed
                )
                assert decision == (self.state if expected == "the state itself" else expected)

    @invariant()
    def the_world_sees_what_the_books_say(self) -> None:
        books = self.books
        if books.generation is not None:
            number = books.generation.number
            assert public_state(self.state) == LoggedIn(number, frozenset({f"scope-{number}"}))
        elif books.login == "none yet":
            assert public_state(self.state) == LoggedOut("never_logged_in")
        else:
            assert public_state(self.state) == (books.outcome or books.last)

    @invariant()
    def a_flight_is_in_the_air_exactly_when_the_state_says_so(self) -> None:
        flight = flight_of(self.state)
        assert (flight is not None) == isinstance(self.state, LoggingIn | Refreshing)
        assert flight is None or flight in self.in_the_air


TestWorld = World.TestCase
TestWorld.settings = examples(100)
