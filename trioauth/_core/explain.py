"""What `Session.explain` says: what a session is doing, and why, for a person.

`look` collects all facts into a frozen `Scene`; `explain` and the rest are pure functions of it.
"""

from __future__ import annotations

import math
import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never, final

import attrs

from trioauth import events
from trioauth._errors import careful, printable
from trioauth._outcomes import CAUSES, REASONS

from .login_state import LoggedIn, LoggedOut
from .state import Closed, Current, LoggingIn, Refreshing, Rejected, Vacant, generation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioauth.watch._journal import Journal

    from .flight import Flight, Generation
    from .source import TokenSource
    from .state import Landing, State

# Seconds. For a moment farther away no date is printed.
_FAR = 1e9
# Seconds. A moment that is nearer is "just now".
_AN_INSTANT = 0.005
# Seconds since 1970; `datetime` has no year for a moment much later.
_DOOMSDAY = 1e11
_WIDTH = 80


@final
class Explanation(str):
    """A string whose ``repr`` is itself, so that a notebook shows its lines as lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@final
@attrs.frozen(kw_only=True)
class Scene:
    """All facts that an explanation is made from. Times are those of the session's clock."""

    now: float
    wall: float
    """The same moment, in seconds since 1970."""
    state: State
    journal: Journal
    saved: bool
    """Whether no record is pending: nothing that should be in the store failed to be saved."""
    telling: bool
    """Whether a log-in, a log-out or a save is under way."""
    renewable: bool
    """Whether newer tokens can be had without a human."""
    by_timer: bool
    """Whether a timer refreshes, rather than the next request."""
    timeout: float
    """Seconds that a refresh may take."""
    futile: bool
    """Whether some 401s are handed back without a refresh, because refreshes did not help."""
    shown_key: str = ""
    """How the key of the session is shown; "" for a session by itself."""

    def when(self, at: float) -> str:
        """Say when something was or will be: how far away, and the time of day."""
        distance = at - self.now
        if abs(distance) > _FAR:
            return "long ago" if distance < 0 else "in many years"
        return f"{self.distance(at)} ({self.clock(at)})"

    def distance(self, at: float) -> str:
        """Say how far away a moment is."""
        if abs(at - self.now) < _AN_INSTANT:
            return "just now"
        span = _in_units(abs(at - self.now))
        return f"in {span}" if at > self.now else f"{span} ago"

    def clock(self, at: float) -> str:
        """Write the time of day of a moment, with its date if that is not today."""
        moment, today = _local(self.wall + (at - self.now)), _local(self.wall)
        day = "" if moment.date() == today.date() else f"{moment:%Y-%m-%d} "
        return f"{day}{moment:%H:%M:%S}"


def look(source: TokenSource, *, futile: bool) -> Scene:
    """Collect the facts about a session. Not a checkpoint."""
    machine, flights = source.machine, source.flights
    now, generation = machine.clock.now(), generation_of(machine.state)
    has_one = generation is not None and generation.tokens.refresh_token is not None
    return Scene(
        now=now,
        wall=machine.clock.to_unix(now),
        state=machine.state,
        journal=machine.journal,
        saved=source.vault.pending is None,
        telling=any(flight.kind != "renewal" for flight in flights.running),
        renewable=has_one or not flights.renewal.records.needs_refresh_token,
        by_timer=machine.policy.keep_fresh,
        timeout=machine.policy.timeout,
        futile=futile,
        shown_key="" if machine.key is None else machine.key.shown,
    )


def explain(scene: Scene) -> Explanation:
    """Say what a session is doing, why, and what happens next."""
    told = {
        "Key": printable(scene.shown_key),
        "Session": _session(scene),
        "Token": _token(scene),
        "Last refresh": _last_refresh(scene),
        "401s": _refusals(scene),
        "Store": _store(scene),
        "Next": _next(scene),
    }
    lines = [f"trioauth, {_local(scene.wall):%Y-%m-%d %H:%M:%S %z}"]
    for name, text in told.items():
        lines += _wrapped(f"{name + ':':<14}", text) if text else []
    return Explanation("\n".join([*lines, *_history(scene)]))


# --- line by line; "" where there is nothing to say ----------------------------------------


def _session(scene: Scene) -> str:
    match scene.state:
        case Closed(last):
            was = (
                _logged_out(scene, last) if isinstance(last, LoggedOut) else _logged_in(scene, last)
            )
            return f"closed; it was {was}"
        case Vacant() | LoggingIn():
            return "not logged in yet; it logs in by itself"
        case LoggedOut() as state:
            return _logged_out(scene, state)
        case Current() | Rejected() | Refreshing():
            return _logged_in(scene, LoggedIn(scene.state.generation.number))
    assert_never(scene.state)


def _logged_in(scene: Scene, state: LoggedIn) -> str:
    note = scene.journal.last(events.LoggedIn)
    when = "" if note is None else f" {scene.when(note.at)}"
    return f"logged in{when}, with generation {state.generation}"


def _logged_out(scene: Scene, state: LoggedOut) -> str:
    note = scene.journal.last(events.LoggedOut)
    when = "" if note is None else f" {scene.when(note.at)}"
    said = careful(state.cause)
    return f"logged out{when}: {REASONS[state.reason]}" + (f" ({said})" if said else "")


def _token(scene: Scene) -> str:
    generation = generation_of(scene.state)
    if generation is None:
        return ""
    match scene.state:
        case Rejected() | Refreshing(rejected=True):
            return "refused by a server, so it is not used any more"
        case _:
            pass
    if math.isinf(generation.expires_at):
        return "the server did not say how long it lives, so it is used until it is refused"
    over = generation.expires_at <= scene.now
    return f"{'expired' if over else 'expires'} {scene.when(generation.expires_at)}"


def _last_refresh(scene: Scene) -> str:
    last = scene.journal.last_refresh
    if last is None:
        return ""
    began, start, end = last
    text = f"number {start.flight}, {scene.when(began.at)}, because {CAUSES[start.cause]}"
    if end is None:
        return f"{text}; still in the air"
    if isinstance(end, events.RefreshLanded):
        found = ", found in the store" if end.adopted else ""
        text += f"; landed after {_in_units(end.took)} with generation {end.generation}{found}"
    else:
        text += f"; failed after {_in_units(end.took)}: {end.words or end.error}"
    text += f"; {events.who_waited(end)}"
    if scene.journal.failures > 1:
        since = scene.when(scene.journal.failing_since)
        text += f"; {scene.journal.failures} have failed in a row, since {since}"
    return text


def _refusals(scene: Scene) -> str:
    if not scene.futile:
        return ""
    return "handed back for a while: what was refused is refused with new tokens, too"


def _store(scene: Scene) -> str:
    unsaved = scene.journal.unsaved
    if not scene.saved and unsaved is not None:
        since = scene.when(scene.journal.unsaved_since)
        lost = isinstance(scene.state, Closed)
        return f"lacks the newest news, since {since}: {unsaved.words or unsaved.error}; " + (
            "lost" if lost else "they are kept in memory, and saved again until that works"
        )
    if scene.telling or not scene.saved:
        return "is being told the newest news"
    return "has the newest news"


def _next(scene: Scene) -> str:
    match scene.state:
        case Closed():
            return "nothing; for another session: async with trioauth.open_session(...)"
        case LoggedOut():
            return "nothing, until there is a log-in: await session.log_in(...)"
        case Refreshing(_, flight) | LoggingIn(flight):
            return _landing(scene, flight)
        case Vacant(setback) | Rejected(_, setback) | Current(_, setback) if (
            setback is not None and scene.now < setback.retry_at
        ):
            return f"a refresh may be tried again {scene.when(setback.retry_at)}; {_until(scene)}"
        case Current(generation) if scene.now < generation.early_at:
            return _due(scene, generation)
        case _:
            what = "a log-in" if isinstance(scene.state, Vacant) else "a refresh"
            return f"{what}, " + (
                "by a timer" if scene.by_timer else "started by the next request that needs a token"
            )


def _landing(scene: Scene, flight: Flight[Landing]) -> str:
    last, waiting = scene.journal.last_refresh, flight.passengers
    latest = "" if last is None else f" {scene.when(last[0].at + scene.timeout)} at the latest"
    tasks = "1 task waits" if waiting == 1 else f"{waiting or 'no'} tasks wait"
    return f"refresh {flight.number} ends{latest}; {tasks} for it"


def _until(scene: Scene) -> str:
    """Say what happens to requests before a failed refresh may be tried again."""
    match scene.state:
        case Current(generation) if scene.now < generation.expires_at:
            return "until then requests go on with the token as it is"
        case _:
            return "until then each request that needs a token gets this failure at once"


def _due(scene: Scene, generation: Generation) -> str:
    if math.isinf(generation.early_at):
        return "a refresh, when a server refuses the token or session.refresh() is called"
    when = scene.when(generation.early_at)
    if not scene.renewable:
        return f"the login ends {when}: there is no refresh token to renew it with"
    starter = "by a timer" if scene.by_timer else "started by the first request after that"
    return f"a refresh is due {when}, {starter}"


def _history(scene: Scene) -> Iterator[str]:
    notes = scene.journal.notes
    if notes:
        yield "What happened lately:"
        width = max(len(scene.distance(note.at)) for note in notes)
        for note in notes:
            when = f"  {scene.clock(note.at)}  {scene.distance(note.at):>{width}}  "
            yield from _wrapped(when, str(note.event))


def _wrapped(margin: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=margin,
        subsequent_indent=" " * len(margin),
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- times ---------------------------------------------------------------------------------


def _in_units(seconds: float) -> str:
    """Write a duration for a person, in a fitting unit and with few digits."""
    if seconds < 10:
        return f"{round(seconds, 2 if seconds < 1 else 1):g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def _local(unix: float) -> datetime:
    """Return a moment in the time zone of this machine, clamped to what `datetime` can hold."""
    return datetime.fromtimestamp(min(max(unix, 0.0), _DOOMSDAY), tz=UTC).astimezone()
