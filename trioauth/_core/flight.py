"""Generation, Login and Flight: what is held, how long it counts, and what is on its way."""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar, final

import attrs
import trio

from .authentication import Authentication

if TYPE_CHECKING:
    from trioauth._outcomes import RefreshCause
    from trioauth._tokens import Tokens

    from .login_state import LoggedOut
    from .policy import RefreshPolicy

Freshness: TypeAlias = Literal["fresh", "early", "stale", "expired"]

ResultT = TypeVar("ResultT")

# Of those who waited for a flight, so many names: enough for a person to see who they were.
_REMEMBERED = 5


@final
@attrs.frozen
class Loss:
    """Answers to one refresh token that were lost: the server may have replaced it (P5)."""

    flights: int = 0
    """How many flights have lost one, in a row."""

    quiet_until: float = -math.inf
    """No session may send the refresh token again before this, on the session's clock."""


NO_LOSS = Loss()


@final
@attrs.define(eq=False)
class Login:
    """The span from logging in to logging out. Compared by identity; it only moves forward."""

    id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    """The name of this login in a shared store."""

    outcome: LoggedOut | None = attrs.field(default=None, init=False)
    """How it ended; None while it lasts, and if the session was closed first."""

    wished: bool = False
    """Whether it began with `Session.log_in`, rather than because a token was asked for."""

    replaces: str = ""
    """The name of the login that was in the store when this one began, as far as we knew."""

    over: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    scopes: set[trio.CancelScope] = attrs.field(
        factory=set[trio.CancelScope], init=False, repr=False
    )
    """What lives no longer than this login."""

    newest: Tokens | None = attrs.field(default=None, init=False, repr=False)
    """The last tokens it got, even those that came when it was over: what there is to revoke.
    Dropped once they are revoked."""

    generation: int = attrs.field(default=0, init=False)
    """Their number."""

    loss: Loss = attrs.field(default=NO_LOSS, init=False)
    """Whether an answer to its refresh token was lost (P5)."""

    def end(self, outcome: LoggedOut | None) -> None:
        """Wake those who wait for the end, and cancel what lives no longer. Not a checkpoint."""
        if not self.over.is_set():
            self.outcome = outcome
            self.over.set()
            for scope in self.scopes:
                scope.cancel(reason="trioauth: the login is over")


def _bearer(generation: Generation) -> str:
    return f"Bearer {generation.tokens.access_token}"


@final
@attrs.frozen(eq=False)
class Generation:
    """One set of tokens, from the moment it was obtained to the moment it is replaced.

    Compared by identity: two servers may well issue the same string twice, but
    "is this still the one I used?" is a question about history. Its times are
    those of the session's clock, see `trioauth._core.clock`.
    """

    number: int
    login: Login = attrs.field(repr=False)
    tokens: Tokens
    lifetime: float
    """Seconds, from being asked for to `expires_at`."""
    early_at: float
    stale_at: float
    expires_at: float
    adopted: bool = False
    """Whether it was found in the store, rather than renewed here: it may be refused already."""
    obtained_at: float = -math.inf
    """When it came to be here."""
    header: str = attrs.field(
        default=attrs.Factory(_bearer, takes_self=True), init=False, repr=False
    )
    """The value of ``Authorization`` (RFC 6750 2.1)."""
    authentication: Authentication = attrs.field(
        default=attrs.Factory(lambda self: Authentication(self.number), takes_self=True),
        init=False,
        repr=False,
    )
    """What is said of a request that was sent with it once."""

    @classmethod
    def schedule(
        cls,
        number: int,
        login: Login,
        tokens: Tokens,
        *,
        asked_at: float,
        policy: RefreshPolicy,
        jitter: float = 0.0,
        renewable: bool = True,
        adopted: bool = False,
        obtained_at: float = -math.inf,
    ) -> Generation:
        """Decide when tokens get early, stale and expired.

        Args:
          number: Of this generation.
          login: That it belongs to.
          tokens: What it consists of.
          asked_at: When the lifetime started at the earliest: before the request for it was sent.
          policy: Has the windows.
          jitter: Between 0 and 1: how much of a fifth the early window is shortened by.
          renewable: False if nobody could get newer tokens anyway: then they are used up to
              their end.
          adopted: See `Generation.adopted`.
          obtained_at: See `Generation.obtained_at`.
        """
        lifetime = math.inf if tokens.expires_in is None else tokens.expires_in
        leeway = min(policy.leeway, lifetime / 10) if renewable else 0.0
        early = min(policy.early, lifetime / 4) if renewable else 0.0
        expires_at = asked_at + lifetime
        return cls(
            number=number,
            login=login,
            tokens=tokens,
            lifetime=lifetime,
            early_at=expires_at - max(leeway, early * (1 - jitter / 5)),
            stale_at=expires_at - leeway,
            expires_at=expires_at,
            adopted=adopted,
            obtained_at=obtained_at,
        )

    def freshness(self, now: float, *, valid_for: float = 0.0, one_shot: bool = False) -> Freshness:
        """Say how good the access token is at a moment.

        Args:
          now: The moment.
          valid_for: Seconds of life that are wanted. More than a whole lifetime can't be had by
              refreshing; then a token is good that isn't early yet.
          one_shot: For a request that can't be sent again: early counts as stale.
        """
        if valid_for > self.lifetime:
            valid_for, one_shot = 0.0, True
        if now + valid_for >= self.expires_at:
            return "expired"
        if now >= self.stale_at:
            return "stale"
        if now >= self.early_at:
            return "stale" if one_shot else "early"
        return "fresh"


FlightKind: TypeAlias = Literal["renewal", "log_in", "log_out", "save", "look"]
"""What a flight changes:

``renewal``
    Brings the next generation. The only kind that a state waits for.
``log_in``
    Begins a login.
``log_out``
    Tells the store and the server that logins are over; the state says so already.
``save``
    Saves what could not be saved before.
``look``
    Looks into a shared store for a login that was made elsewhere.
"""


@final
@attrs.define(eq=False)
class Flight(Generic[ResultT]):
    """A change of credentials in the air: many tasks may wait for it, one result lands.

    Not an `outcome.Outcome`: those can be unwrapped once, and this has many
    passengers. It runs in a shielded scope, so that cancelling the tasks around
    the session does not lose a rotated token; the session cancels it by name.
    """

    kind: FlightKind
    number: int = 0
    """Of a renewal, from 1; of the others 0."""
    cause: RefreshCause | None = None
    """Why a renewal was started."""
    base: Generation | None = attrs.field(default=None, repr=False)
    """What it was started for; None if there was no login."""
    began: float = 0.0
    """When it took off, on trio's clock."""
    deadline: float = math.inf
    """When it lands at the latest, on trio's clock. Moves on while the process is stopped."""
    scope: trio.CancelScope = attrs.field(
        factory=lambda: trio.CancelScope(shield=True), init=False, repr=False
    )
    brought: ResultT | None = attrs.field(default=None, init=False, repr=False)
    """What it has in hand already, should the deadline cut it short before it is saved."""

    asking: float | None = attrs.field(default=None, init=False)
    """Since when the server has had the refresh token without an answer, on the session's clock."""

    quiet_until: float = attrs.field(default=-math.inf, init=False)
    """Until when no flight may send its refresh token again, however this one ends (P5)."""

    doing: str = attrs.field(default="waiting for its turn", init=False)
    """What it is busy with, in words: an error at the deadline says it."""

    late: bool = attrs.field(default=False, init=False)
    """It was landed at its deadline, and its task goes on because it can't be cancelled."""

    unsaved: Exception | None = attrs.field(default=None, init=False, repr=False)
    """Why what it brought is not in the store."""

    grounded: str | None = attrs.field(default=None, init=False)
    """Why it was cancelled, if it was."""

    boarded: int = attrs.field(default=0, init=False)
    """How many tasks have waited for it, those that left early included."""

    first: tuple[str, ...] = attrs.field(default=(), init=False)
    """The names of the first few of them."""

    over: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    """Set when its task is done, which may be later than its landing."""

    _landed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    # Written once, before _landed is set; read only after.
    _result: list[ResultT] = attrs.field(factory=list["ResultT"], init=False, repr=False)

    @property
    def overtaken(self) -> bool:
        """Whether a log-out or a new login has ended what it was started for."""
        if self.base is not None and self.base.login.outcome is not None:
            return True
        return self.landed and not self.late

    def board(self, task: str) -> None:
        """Take note of a task that is about to wait. Not a checkpoint."""
        self.boarded += 1
        if self.boarded <= _REMEMBERED:
            self.first += (task,)

    def ground(self, reason: str) -> None:
        """Cancel it. Not a checkpoint."""
        self.grounded = reason
        self.scope.cancel(reason=f"trioauth: {reason}")

    def land(self, result: ResultT) -> None:
        """Deliver the result and wake every passenger; only the first counts. Not a checkpoint."""
        if not self._landed.is_set():
            self._result.append(result)
            self._landed.set()

    async def wait_landed(self) -> ResultT:
        """Wait for the result.

        Cancellation:
          Safe. You leave; the flight goes on.
        """
        await self._landed.wait()
        return self._result[0]

    @property
    def landed(self) -> bool:
        """Whether its passengers have been told a result."""
        return self._landed.is_set()

    @property
    def passengers(self) -> int:
        """How many tasks are waiting for it."""
        return self._landed.statistics().tasks_waiting
