"""The states of a session, and what follows from them: frozen values and pure functions.

No clock, no I/O, no await: ``now`` is an argument. A session is in one of seven states:

1. `Vacant`: no tokens yet; the grant can obtain the first ones without a human.
2. `LoggingIn`: a flight obtains the first tokens.
3. `Current`: there are tokens. Whether they are fresh, early, stale or expired depends on ``now``.
4. `Rejected`: there are tokens, a server has refused them, and no flight is in the air.
5. `Refreshing`: there are tokens, rejected or not, and a flight brings the next ones.
6. `LoggedOut`: there is no login.
7. `Closed`: the session's ``async with`` block was left.

The rules:

- A renewal is in the air exactly in `LoggingIn` and `Refreshing`, and there is one.
- A rejected generation, in `Rejected` and in `Refreshing` with ``rejected``, is never used.
- Nothing leads out of `Closed`; out of `LoggedOut` leads only a new login.
- Late news changes nothing: a rejection of an older generation, or the landing of a flight that
  the state does not wait for.

Three groups of functions: decisions (`on_demand`, `on_refresh`) say what a task does; transitions
(`on_take_off`, `on_landing`, ...) return the next state; the rest read a state.

``docs/states.md`` is drawn from these functions by ``scripts/draw_states.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never, final

import attrs

from trioauth._errors import careful_repr

from .flight import Flight, Generation
from .login_state import LoggedIn, LoggedOut

if TYPE_CHECKING:
    from trioauth._outcomes import RefreshCause


# --- states: adjectives and participles ----------------------------------------------------


@final
@attrs.frozen
class Setback:
    """A flight failed. Until ``retry_at`` tasks get this failure, and no other flight starts."""

    cause: Exception = attrs.field(repr=careful_repr)
    retry_at: float


@final
@attrs.frozen
class Vacant:
    """There was no login yet; the grant can begin one without a human."""

    setback: Setback | None = None


@final
@attrs.frozen
class LoggingIn:
    """A flight obtains the first tokens."""

    flight: Flight[Landing]


@final
@attrs.frozen
class Current:
    """There are tokens. Whether they are still fresh depends on the clock."""

    generation: Generation
    setback: Setback | None = None


@final
@attrs.frozen
class Rejected:
    """A server has refused the tokens, and no flight brings new ones yet."""

    generation: Generation
    setback: Setback | None = None


@final
@attrs.frozen
class Refreshing:
    """A flight brings the next tokens; tasks that need them board it."""

    generation: Generation
    flight: Flight[Landing]
    rejected: bool = False
    troubled: bool = False
    """The flight before this one failed: until the tokens expire, tasks use them and don't wait."""


@final
@attrs.frozen
class Closed:
    """The ``async with`` block is over."""

    last: LoggedIn | LoggedOut


State: TypeAlias = Vacant | LoggingIn | Current | Rejected | Refreshing | LoggedOut | Closed
Landing: TypeAlias = Generation | Setback | LoggedOut


# --- decisions: imperatives ----------------------------------------------------------------


@final
@attrs.frozen
class Use:
    """Use these tokens."""

    generation: Generation


@final
@attrs.frozen
class UseAndRefresh:
    """Use these tokens, and start a flight in the background."""

    generation: Generation


@final
@attrs.frozen
class Board:
    """Wait for this flight."""

    flight: Flight[Landing]


@final
@attrs.frozen
class TakeOff:
    """Start a flight, then wait for it."""

    cause: RefreshCause


Failure: TypeAlias = Setback | LoggedOut | Closed
Decision: TypeAlias = Use | UseAndRefresh | Board | TakeOff | Failure


def on_demand(
    state: State, *, now: float, valid_for: float = 0.0, one_shot: bool = False, waited_for: int = 0
) -> Decision:
    """Decide what a task does that needs a token.

    Args:
      state: The current one.
      now: The current time, on the session's clock.
      valid_for: See `Generation.freshness`.
      one_shot: See `Generation.freshness`.
      waited_for: The number of the generation that a flight has just brought to this task, 0 if
          it has not waited. Such a generation is used whatever its age: no newer one can be had,
          and a lifetime of zero must not make a loop of refreshes.
    """
    match state:
        case Current(generation, setback):
            freshness = generation.freshness(now, valid_for=valid_for, one_shot=one_shot)
            if freshness == "fresh" or generation.number >= waited_for > 0:
                return Use(generation)
            if setback is not None and now < setback.retry_at:
                return setback if freshness == "expired" else Use(generation)
            # After a failed refresh, a stale token is used until it expires: a server that is down
            # must not delay requests that still work.
            if freshness == "early" or (setback is not None and freshness == "stale"):
                return UseAndRefresh(generation)
            return TakeOff("clock")
        case Refreshing(generation, flight, rejected, troubled):
            freshness = generation.freshness(now, valid_for=valid_for, one_shot=one_shot)
            # Early: the flight was started in the background, so this task need not wait either.
            good = freshness in ("fresh", "early") or (troubled and freshness == "stale")
            if not rejected and (good or generation.number >= waited_for > 0):
                return Use(generation)
            return Board(flight)
        case Rejected(_, setback):
            if setback is not None and now < setback.retry_at:
                return setback
            return TakeOff("rejected")
        case Vacant(setback):
            if setback is not None and now < setback.retry_at:
                return setback
            return TakeOff("asked_for")
        case LoggingIn(flight):
            return Board(flight)
        case LoggedOut() | Closed():
            return state
    assert_never(state)


def on_refresh(state: State, *, now: float) -> Board | TakeOff | Failure:
    """Decide what a task does that wants newer tokens, whatever the age of the present ones."""
    match state:
        case Current(_, setback) | Rejected(_, setback) | Vacant(setback):
            if setback is not None and now < setback.retry_at:
                return setback
            return TakeOff("asked_for")
        case Refreshing(_, flight) | LoggingIn(flight):
            return Board(flight)
        case LoggedOut() | Closed():
            return state
    assert_never(state)


# --- transitions ---------------------------------------------------------------------------


def on_take_off(state: State, flight: Flight[Landing]) -> State:
    """Return the state that waits for a flight."""
    match state:
        case Current(generation, setback):
            return Refreshing(generation, flight, troubled=setback is not None)
        case Rejected(generation):
            return Refreshing(generation, flight, rejected=True)
        case Vacant():
            return LoggingIn(flight)
        case Refreshing() | LoggingIn() | LoggedOut() | Closed():
            raise AssertionError(f"no flight takes off from {type(state).__name__}")
    assert_never(state)


def on_rejection(state: State, number: int) -> State:
    """Return the state after a server refused a generation; an older one changes nothing."""
    match state:
        case Current(generation, setback) if generation.number == number:
            return Rejected(generation, setback)
        case Refreshing(generation, flight, rejected=False) if generation.number == number:
            return Refreshing(generation, flight, rejected=True)
        case _:
            return state


def on_adoption(state: State, generation: Generation) -> State:
    """Return the state after another process's generation was found in the store."""
    match state:
        case Refreshing(former, flight) if former.login is generation.login:
            # The adopted tokens are not rejected. The flight that found them is still in the air.
            return Refreshing(generation, flight)
        case LoggingIn(flight):
            return Refreshing(generation, flight)
        case Refreshing() | Current() | Rejected():
            # The login of this flight was replaced, so the state does not wait for it any more.
            return Current(generation)
        case Vacant() | LoggedOut() | Closed():
            return state
    assert_never(state)


def on_rotation(state: State, generation: Generation) -> State:
    """Return the state after a new refresh token came without a usable access token.

    The generation has the former access token. If that was rejected, it stays rejected.
    """
    match state:
        case Current(former) | Rejected(former) | Refreshing(former) if (
            former.login is generation.login
        ):
            return attrs.evolve(state, generation=generation)
        case _:
            return state


def on_landing(state: State, flight: Flight[Landing], landing: Landing) -> State:
    """Return the state after a flight landed, if the state waits for this flight."""
    match state:
        case Refreshing(generation, awaited, rejected) if awaited is flight:
            if isinstance(landing, Setback):
                # A 401 may have come while the flight was in the air, so ``rejected`` counts now.
                return (Rejected if rejected else Current)(generation, landing)
        case LoggingIn(awaited) if awaited is flight:
            if isinstance(landing, Setback):
                return Vacant(landing)
        case _:
            return state
    return Current(landing) if isinstance(landing, Generation) else landing


def on_log_in(state: State, generation: Generation) -> State:
    """Return the state of a new login; it takes the place of any login before."""
    return state if isinstance(state, Closed) else Current(generation)


def on_log_out(state: State, outcome: LoggedOut) -> State:
    """Return the state after the login ended. Only a new login leads out of it."""
    return state if isinstance(state, Closed | LoggedOut) else outcome


def on_close(state: State) -> Closed:
    """Return the state after the ``async with`` block was left."""
    return state if isinstance(state, Closed) else Closed(public_state(state))


# --- reading -------------------------------------------------------------------------------


def generation_of(state: State) -> Generation | None:
    """Return the generation in a state, rejected or not; None without a login."""
    # Not a match statement: every task that has waited calls this, and match takes three times as
    # long.
    if isinstance(state, Current | Rejected | Refreshing):
        return state.generation
    return None


def fallback(state: State, *, now: float, valid_for: float = 0.0) -> Generation | None:
    """Return the generation to use although a refresh failed: not rejected and not expired."""
    match state:
        case Current(generation) | Refreshing(generation, rejected=False):
            expired = generation.freshness(now, valid_for=valid_for) == "expired"
            return None if expired else generation
        case _:
            return None


def flight_of(state: State) -> Flight[Landing] | None:
    """Return the flight that a state waits for; None if it waits for none."""
    match state:
        case Refreshing(_, flight) | LoggingIn(flight):
            return flight
        case _:
            return None


def public_state(state: State) -> LoggedIn | LoggedOut:
    """Return what `Session.state` shows of a state."""
    match state:
        case Current(generation) | Rejected(generation) | Refreshing(generation):
            tokens = generation.tokens
            return LoggedIn(generation.number, tokens.scope, tokens.identity)
        case Vacant() | LoggingIn():
            return LoggedOut("never_logged_in")
        case LoggedOut():
            return state
        case Closed(last):
            return last
    assert_never(state)
