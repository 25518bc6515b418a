"""A world in which anything may happen in any order, over the pure functions alone."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trioauth import RefreshPolicy, Tokens
from trioauth._flight import Flight, Generation, Login
from trioauth._state import (
    Board,
    Closed,
    Landing,
    LoggedOut,
    LoggingIn,
    Refreshing,
    Setback,
    State,
    TakeOff,
    Use,
    UseAndRefresh,
    Vacant,
    airborne,
    held,
    on_adoption,
    on_close,
    on_demand,
    on_landing,
    on_log_in,
    on_log_out,
    on_rejection,
    on_take_off,
    seen,
)

POLICY = RefreshPolicy()


class World(RuleBasedStateMachine):
    """Keeps books of its own, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.state: State = Vacant()
        self.numbers = 0
        self.refused: set[int] = set()
        self.in_the_air: list[Flight[Landing]] = []
        self.ended: set[Login] = set()
        self.closed = False

    def make(self, login: Login, lifetime: float | None) -> Generation:
        self.numbers += 1
        tokens = Tokens(f"access-{self.numbers}", None, lifetime)
        return Generation.schedule(self.numbers, login, tokens, asked_at=self.now, policy=POLICY)

    def become(self, state: State) -> None:
        before, after = held(self.state), held(state)
        if before is not None and after is not None:
            assert after.number >= before.number, "generations never go back"
        if before is not None and (after is None or after.login is not before.login):
            self.ended.add(before.login)
        self.state = state

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(valid_for=st.sampled_from([0.0, 0.0, 30.0]), one_shot=st.booleans())
    def someone_asks(self, valid_for: float, one_shot: bool) -> None:
        decision = on_demand(self.state, now=self.now, valid_for=valid_for, one_shot=one_shot)
        match decision:
            case Use(generation) | UseAndRefresh(generation):
                assert generation is held(self.state)
                assert generation.number not in self.refused
                assert self.now < generation.expires_at
                assert generation.login not in self.ended
            case Board(flight):
                assert flight is airborne(self.state)
                assert flight in self.in_the_air
            case Setback():
                assert self.now < decision.retry_at
            case LoggedOut() | Closed():
                assert decision is self.state
            case TakeOff():
                pass
        if isinstance(decision, TakeOff | UseAndRefresh):
            assert airborne(self.state) is None, "two refreshes at once"
            new: Flight[Landing] = Flight(len(self.in_the_air) + 1)
            self.in_the_air.append(new)
            self.become(on_take_off(self.state, new))

    @precondition(lambda self: self.in_the_air)
    @rule(data=st.data(), lifetime=st.none() | st.floats(0, 60))
    def a_flight_lands(self, data: st.DataObject, lifetime: float | None) -> None:
        flight = data.draw(st.sampled_from(self.in_the_air))
        self.in_the_air.remove(flight)
        base = held(self.state)
        landing: Any = data.draw(st.sampled_from(["generation", "setback", "refusal"]))
        if landing == "generation":
            landing = self.make(base.login if base else Login(), lifetime)
        elif landing == "setback":
            landing = Setback(OSError(), self.now + 5)
        else:
            landing = LoggedOut("refused")
        awaited = airborne(self.state) is flight
        before = self.state
        self.become(on_landing(self.state, flight, landing))
        if not awaited:
            assert self.state is before
        elif isinstance(landing, Setback):
            assert held(self.state) is base
        else:
            assert airborne(self.state) is None

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def a_server_refuses(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.numbers))
        self.refused.add(number)
        self.become(on_rejection(self.state, number))

    @rule(same=st.booleans(), lifetime=st.floats(0, 60))
    def the_store_has_news(self, same: bool, lifetime: float) -> None:
        base = held(self.state)
        login = base.login if base is not None and same else Login()
        self.become(on_adoption(self.state, self.make(login, lifetime)))

    @rule(lifetime=st.floats(0, 60))
    def someone_logs_in(self, lifetime: float) -> None:
        self.become(on_log_in(self.state, self.make(Login(), lifetime)))

    @rule()
    def someone_logs_out(self) -> None:
        self.become(on_log_out(self.state, LoggedOut("asked")))

    @precondition(lambda self: self.numbers > 3)
    @rule()
    def the_session_closes(self) -> None:
        last = seen(self.state)
        self.state = on_close(self.state)
        self.closed = True
        assert seen(self.state) == last

    @invariant()
    def closed_stays_closed(self) -> None:
        assert isinstance(self.state, Closed) == self.closed

    @invariant()
    def a_flight_is_in_the_air_exactly_when_the_state_says_so(self) -> None:
        flight = airborne(self.state)
        assert (flight is not None) == isinstance(self.state, LoggingIn | Refreshing)
        assert flight is None or flight in self.in_the_air


TestWorld = World.TestCase
