"""Ledger: what happened, as the servers and the observers saw it."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from trioauth import Session

    from .world import Program


@attrs.define(eq=False)
class Login:
    """A login, as the authorization server knows it."""

    name: str
    alive: bool = True
    stranger: bool | None = None
    """Which of the two clients it was made for; None: either."""
    revoked_by: set[str] = attrs.field(factory=set)
    """The names of the sessions that logged out, and said so."""


@attrs.define(eq=False)
class Issue:
    """One set of tokens that the server made."""

    login: Login
    number: int
    """Within its login, from 1."""
    access: str
    refresh: str
    expires: float
    """In server time."""
    successor: Issue | None = None
    used_at: float = 0.0
    """When the refresh token was used, in server time."""
    killed: bool = False
    made_at: float = 0.0
    """On trio's clock."""
    slack: float = 0.0
    """How much earlier than `expires` a client may think it ends: it counts from asking."""
    repeated: float = 0.0
    """How much later it may think so: a server that forgives gives the same answer again."""
    odd: bool = False
    """Its lifetime was not understood."""

    @property
    def name(self) -> str:
        """What it is called in the log."""
        return f"{self.login.name}.{self.number}"


@attrs.define(eq=False)
class Presentation:
    """A refresh token, presented at the token endpoint."""

    stay: Stay
    issue: Issue
    at: float
    trouble: str
    fate: str = "open"
    """``tokens``, ``refused``, ``misconfigured``, ``safe`` (said to be unused) or ``lost``."""
    brought: Issue | None = None
    delivered: bool = False
    """Its answer was read to the end."""
    ended: float | None = None
    """When its fate was decided: perhaps long before the answer."""
    over: bool = False
    """It was answered, or broken off."""
    cancelled: bool = False
    not_before: float = 0.0
    """What the server asked for with Retry-After, as a time of trio's clock; 0 unless the answer
    was read to the end."""


@attrs.define(eq=False)
class Sent:
    """A request as it reached the API, or anybody else."""

    stay: Stay
    id: str
    path: str
    issue: Issue | None
    at: float
    born: Login | None
    """The login that was current when the program asked for it."""
    order: int
    """Among all that was sent or told."""
    hop: bool = False
    """The second half of a redirect, which the library can't hold up."""
    status: int = 0
    told: float | None = None
    """When the answer was handed over."""
    curable: bool = False
    """A 401 that says the token is at fault."""
    exhausted: bool = False
    told_order: int = 0
    again: bool = False
    """It was refused before, and is sent with a newer token."""
    after: tuple[str, ...] = ()
    """The paths that redirects led here from."""
    kept: bool = True
    """Its 401 was handed to the caller rather than held against the token."""


@attrs.define(eq=False)
class FlightSeen:
    """A flight, as the observers see it."""

    number: int
    cause: str
    generation: int
    at: float
    stopped: float = 0.0
    """For how long the processes had been stopped when it began."""
    stops: int = 0
    over: bool = False
    superseded: bool = False
    """The login that it was for has ended; nobody waits for it any more."""


@attrs.define(eq=False)
class Stay:
    """One session, from opening to leaving."""

    name: str
    program: Program
    number: int
    """Of the program."""
    session: Session | None = None
    closing_at: float | None = None
    over: bool = False
    flights: dict[int, FlightSeen] = attrs.field(factory=dict)
    refresh_calls: list[float] = attrs.field(factory=list)
    rejected: dict[str, int] = attrs.field(factory=dict)
    """Issues that the program itself reported, and when, as `Ledger.order`."""
    most_wanted: float = 0.0
    """The longest life that anybody asked for."""
    log_ins: int = 0
    log_outs: int = 0
    changing: int = 0
    """Calls of `log_in` and `log_out` that are under way."""
    changed_at: float = -math.inf
    """When the last of them began or ended, in time awake, as `Weather.awake`."""
    changed_stops: int = 0
    """How often the processes had been stopped then."""
    not_saved: int = 0
    login: Login | None = None
    """What it is logged in with, or was when it was left."""
    held: set[Login] = attrs.field(factory=set)
    """What it was logged in with."""
    given: set[Login] = attrs.field(factory=set)
    """What the server has given it tokens for, whether or not the login ever began."""
    ended: set[Login] = attrs.field(factory=set)
    """What its program has ended with `log_out`, those included that had not quite begun."""
    adopted: set[Issue] = attrs.field(factory=set)
    """What it found in the store, rather than had from the server."""
    logged_in: bool = False
    refused_here: bool = False
    """The last login ended because the server refused this very session."""
    last_landed_at: float = -1.0
    begun: int = 0
    """Logins that observers were told of."""
    signed_in: str = ""
    """The access token that a person has signed in with last."""
    interrupted_at: float = -1.0
    """When an observer last raised what ends the session."""
    generation: int = 0

    @property
    def open(self) -> bool:
        """Whether one may ask anything of it."""
        return self.session is not None and self.closing_at is None and not self.over


@attrs.define(eq=False)
class Ledger:
    """Everything that happened in a world."""

    presentations: list[Presentation] = attrs.field(factory=list)
    sent: list[Sent] = attrs.field(factory=list)
    issues: list[Issue] = attrs.field(factory=list)
    logins: list[Login] = attrs.field(factory=list)
    stays: list[Stay] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    violations: list[str] = attrs.field(factory=list)
    log: list[tuple[float, str, tuple[Any, ...]]] = attrs.field(factory=list)
    by_access: dict[str, Issue] = attrs.field(factory=dict)
    by_refresh: dict[str, Issue] = attrs.field(factory=dict)
    _order: int = 0

    def order(self) -> int:
        """Return a number that is higher each time."""
        self._order += 1
        return self._order

    def note(self, who: str, *what: Any) -> None:
        """Write a line of the log; it is made into text only if somebody reads it."""
        self.log.append((trio.current_time(), who, what))

    def count(self, what: str, times: int = 1) -> None:
        """Remember that something was covered."""
        self.counts[what] += times

    def violate(self, promise: str, what: str) -> None:
        """Remember that a promise was broken."""
        self.violations.append(f"{promise}: {what} (at {trio.current_time():.3f})")
        self.note("!!!", promise, what)

    def issue_held_by(self, stay: Stay) -> Issue | None:
        """Return what a session has at hand: the one look that is taken into the library."""
        from trioauth._core.state import generation_of

        generation = None if stay.session is None else generation_of(stay.session._machine.state)
        return None if generation is None else self.by_access.get(generation.tokens.access_token)

    def note_held(self, stay: Stay) -> None:
        """Remember what a session is logged in with."""
        issue = self.issue_held_by(stay)
        if issue is not None:
            stay.login = issue.login
            stay.held.add(issue.login)

    def text(self) -> str:
        """Return the log."""
        return "\n".join(
            f"{at:9.3f}  {who:8} {' '.join(map(str, what))}" for at, who, what in self.log
        )
