"""What a session can be, and what follows from it: frozen states and pure functions.

No clock, no I/O, no await: ``now`` is an argument. The rules:

- A flight is in the air exactly in `LoggingIn` and `Refreshing`, and there is one.
- `Rejected`, and `Refreshing` with ``rejected``, hold a generation that is known
  to be bad: nobody is told to use it.
- Nothing leads out of `Closed`; out of `LoggedOut` leads only a new login.
- What comes too late changes nothing: a rejection of an older generation, the
  landing of a flight that nobody waits for any more.

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
    """A flight that came back with nothing: remembered until ``retry_at``."""

    cause: Exception = attrs.field(repr=careful_repr)
    retry_at: float


@final
@attrs.frozen
class Vacant:
    """Nobody has logged in yet, but the grant can, without a human."""

    setback: Setback | None = None


@final
@attrs.frozen
class LoggingIn:
    """The first tokens are on their way."""

    flight: Flight[Landing]


@final
@attrs.frozen
class Current:
    """Tokens are at hand. Whether they are still fresh depends on the clock."""

    generation: Generation
    setback: Setback | None = None


@final
@attrs.frozen
class Rejected:
    """The tokens at hand are known to be bad, and nobody is fetching better ones."""

    generation: Generation
    setback: Setback | None = None


@final
@attrs.frozen
class Refreshing:
    """A flight is in the air; who needs what it brings boards it."""

    generation: Generation
    flight: Flight[Landing]
    rejected: bool = False
    troubled: bool = False
    """The flight before this one failed: while the tokens still work, nobody waits."""


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
    """Go ahead with these tokens."""

    generation: Generation


@final
@attrs.frozen
class UseAndRefresh:
    """Go ahead with these tokens, and start a flight that nobody waits for."""

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
    state: State, *, now: float, valid_for: float = 0.0, one_shot: bool = False, landed: int = 0
) -> Decision:
    """Someone wants a token. What do we do about it?

    Args:
      state: As it is.
      now: The moment.
      valid_for: See `Generation.freshness`.
      one_shot: See `Generation.freshness`.
      landed: The number of a generation that the one who asks has just waited for: it can't be
          had any newer, whatever its age. 0 if there is none.
    """
    match state:
        case Current(generation, setback):
            freshness = generation.freshness(now, valid_for=valid_for, one_shot=one_shot)
            if freshness == "fresh" or generation.number >= landed > 0:
                return Use(generation)
            if setback is not None and now < setback.retry_at:
                return setback if freshness == "expired" else Use(generation)
            # While the token works, a server that had no answer just now keeps nobody waiting.
            if freshness == "early" or (setback is not None and freshness == "stale"):
                return UseAndRefresh(generation)
            return TakeOff("clock")
        case Refreshing(generation, flight, rejected, troubled):
            freshness = generation.freshness(now, valid_for=valid_for, one_shot=one_shot)
            good = freshness in ("fresh", "early") or (troubled and freshness == "stale")
            if not rejected and (good or generation.number >= landed > 0):
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
    """Someone wants a newer token than the one at hand, whatever its age."""
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
    """Put a flight into the air."""
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
    """Learn that a server refused a generation; late news changes nothing."""
    match state:
        case Current(generation, setback) if generation.number == number:
            return Rejected(generation, setback)
        case Refreshing(generation, flight, False) if generation.number == number:
            return Refreshing(generation, flight, rejected=True)
        case _:
            return state


def on_adoption(state: State, generation: Generation) -> State:
    """Take over what somebody else has put into the store."""
    match state:
        case Refreshing(former, flight) if former.login is generation.login:
            return Refreshing(generation, flight)
        case LoggingIn(flight):
            return Refreshing(generation, flight)
        case Refreshing() | Current() | Rejected():
            # A flight of a login that was replaced has nothing left to bring.
            return Current(generation)
        case Vacant() | LoggedOut() | Closed():
            return state
    assert_never(state)


def on_rotation(state: State, generation: Generation) -> State:
    """Take in a new refresh token that came without a usable access token.

    The access token is the one that there was, and as bad as it was.
    """
    match state:
        case Current(former) | Rejected(former) | Refreshing(former) if (
            former.login is generation.login
        ):
            return attrs.evolve(state, generation=generation)
        case _:
            return state


def on_landing(state: State, flight: Flight[Landing], landing: Landing) -> State:
    """Take in what a flight brought, unless nobody waits for it any more."""
    match state:
        case Refreshing(generation, awaited, rejected) if awaited is flight:
            if isinstance(landing, Setback):
                return (Rejected if rejected else Current)(generation, landing)
        case LoggingIn(awaited) if awaited is flight:
            if isinstance(landing, Setback):
                return Vacant(landing)
        case _:
            return state
    return Current(landing) if isinstance(landing, Generation) else landing


def on_log_in(state: State, generation: Generation) -> State:
    """Begin a new login, whatever there was."""
    return state if isinstance(state, Closed) else Current(generation)


def on_log_out(state: State, outcome: LoggedOut) -> State:
    """End the login; there is no way back but a new one."""
    return state if isinstance(state, Closed | LoggedOut) else outcome


def on_close(state: State) -> Closed:
    """Leave the ``async with`` block."""
    return state if isinstance(state, Closed) else Closed(seen(state))


# --- looking -------------------------------------------------------------------------------


def held(state: State) -> Generation | None:
    """Return the generation that a state holds, good or bad."""
    # No match: each task that has waited asks this, and matching takes three times as long.
    if isinstance(state, Current | Rejected | Refreshing):
        return state.generation
    return None


def usable(state: State, *, now: float, valid_for: float = 0.0) -> Generation | None:
    """Return what still works although it could not be renewed."""
    match state:
        case Current(generation) | Refreshing(generation, _, False):
            expired = generation.freshness(now, valid_for=valid_for) == "expired"
            return None if expired else generation
        case _:
            return None


def airborne(state: State) -> Flight[Landing] | None:
    """Return the flight that a state waits for."""
    match state:
        case Refreshing(_, flight) | LoggingIn(flight):
            return flight
        case _:
            return None


def seen(state: State) -> LoggedIn | LoggedOut:
    """Return what the world sees of a state."""
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
