"""Generation, Login and Flight: one set of tokens, the span it belongs to, a change under way.

1. A `Login` lasts from logging in to logging out. It has one generation after another.
2. A `Generation` is one set of tokens with a number. It passes from fresh to early, stale and
   expired by the clock: `Generation.schedule` decides when, `Generation.freshness` tells.
3. A `Flight` is one change of credentials that a task of the session makes. Any number of tasks
   wait for it, and get the one value with which it lands.

All three are compared by identity. Two logins, or two generations, may well have the same strings.
"""

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

# How many names of waiting tasks a flight keeps for its event: enough for a person to see.
_REMEMBERED = 5


@final
@attrs.frozen
class Loss:
    """Lost answers to one refresh token, which the server may have replaced in one of them (P5)."""

    flights: int = 0
    """How many flights in a row have lost an answer."""

    quiet_until: float = -math.inf
    """No session may send the refresh token again before this, on the session's clock."""


NO_LOSS = Loss()


@final
@attrs.define(eq=False)
class Login:
    """The span from logging in to logging out. It ends once, and for good."""

    id: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    """The name of this login in the store, where other processes see it."""

    outcome: LoggedOut | None = attrs.field(default=None, init=False)
    """How it ended; None while it lasts, and also if the session was closed before it ended."""

    by_log_in: bool = False
    """Whether it began with `Session.log_in`, not because a request needed a token."""

    replaces: str = ""
    """The id of the login that the store had when this one began, as far as this session knew."""

    ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    """Set when it ends, or when the session is closed."""

    scopes: set[trio.CancelScope] = attrs.field(
        factory=set[trio.CancelScope], init=False, repr=False
    )
    """What is cancelled when this login ends: nurseries of `Session.open_nursery`, requests that
    queue for a connection."""

    newest: Tokens | None = attrs.field(default=None, init=False, repr=False)
    """The last tokens it got, even those that came after its end: what `Session.log_out` revokes.
    None after that, so that no secret stays in memory."""

    generation: int = attrs.field(default=0, init=False)
    """The number of ``newest``."""

    loss: Loss = attrs.field(default=NO_LOSS, init=False)
    """Whether an answer to its refresh token was lost (P5)."""

    def end(self, outcome: LoggedOut | None) -> None:
        """Wake the tasks that wait for the end, and cancel ``scopes``. Not a checkpoint."""
        if not self.ended.is_set():
            self.outcome = outcome
            self.ended.set()
            for scope in self.scopes:
                scope.cancel(reason="trioauth: the login is over")


def _bearer(generation: Generation) -> str:
    return f"Bearer {generation.tokens.access_token}"


@final
@attrs.frozen(eq=False)
class Generation:
    """One set of tokens, from the moment it was obtained to the moment it is replaced.

    Compared by identity: a server may issue the same string twice, and "is this the one that I
    used?" is still a question with one answer. Times are those of the session's clock, see
    `trioauth._core.clock`.
    """

    number: int
    login: Login = attrs.field(repr=False)
    tokens: Tokens
    lifetime: float
    """Seconds from the request for the tokens to ``expires_at``; infinite if it is unknown."""
    early_at: float
    stale_at: float
    expires_at: float
    adopted: bool = False
    """Whether it was found in the store, not obtained here: an API may already refuse it (P4)."""
    obtained_at: float = -math.inf
    """When this session got it."""
    header: str = attrs.field(
        default=attrs.Factory(_bearer, takes_self=True), init=False, repr=False
    )
    """The value of ``Authorization`` (RFC 6750 2.1)."""
    authentication: Authentication = attrs.field(
        default=attrs.Factory(lambda self: Authentication(self.number), takes_self=True),
        init=False,
        repr=False,
    )
    """What ``response.extensions["trioauth"]`` says of a request sent once: made once for all."""

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
          number: The number of this generation.
          login: The login that it belongs to.
          tokens: The tokens.
          asked_at: When the lifetime began at the earliest: before the request for it was sent.
          policy: Says how long the early and the stale window are.
          jitter: Between 0 and 1. The early window is shortened by this share of a fifth.
          renewable: Whether newer tokens can be had without a human. If not, these are fresh until
              they expire.
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
          valid_for: Seconds of life that the task needs. No refresh gives more than a whole
              lifetime: if more is needed, a token will do that is not early yet.
          one_shot: Whether the request can't be sent again. Then early counts as stale, so that no
              401 for an old token can hit it.
        """
        if valid_for > self.lifetime:
            # Otherwise each call would refresh, and never be content with the result.
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
    """One change of credentials: many tasks wait for it, and each gets the one result.

    Not an `outcome.Outcome`, which can be unwrapped only once. It runs in a shielded scope, so that
    cancelling the tasks around the session can't lose a rotated token. The session cancels it with
    `cancel`.
    """

    kind: FlightKind
    number: int = 0
    """The number of a renewal, from 1; 0 for the other kinds."""
    cause: RefreshCause | None = None
    """Why a renewal was started."""
    base: Generation | None = attrs.field(default=None, repr=False)
    """The generation that a renewal replaces; None if there was no login."""
    began: float = 0.0
    """When it took off, on trio's clock."""
    deadline: float = math.inf
    """When it lands at the latest, on trio's clock. Moves on while the process is stopped."""
    scope: trio.CancelScope = attrs.field(
        factory=lambda: trio.CancelScope(shield=True), init=False, repr=False
    )
    brought: ResultT | None = attrs.field(default=None, init=False, repr=False)
    """What it will land with, set before it is saved: it lands even if the deadline comes first."""

    asking: float | None = attrs.field(default=None, init=False)
    """When the refresh token was sent, while its answer is awaited; on the session's clock."""

    quiet_until: float = attrs.field(default=-math.inf, init=False)
    """No later flight may send this refresh token before this time, on the session's clock (P5)."""

    doing: str = attrs.field(default="waiting for its turn", init=False)
    """What it waits for, in words: the error at its deadline quotes this."""

    late: bool = attrs.field(default=False, init=False)
    """Whether it was landed at its deadline while its task, which can't be cancelled, goes on."""

    unsaved: Exception | None = attrs.field(default=None, init=False, repr=False)
    """Why ``brought`` could not be saved; None if it was."""

    cancelled_because: str | None = attrs.field(default=None, init=False)
    """Why `cancel` was called; None if it was not."""

    boarded: int = attrs.field(default=0, init=False)
    """How many tasks have waited for it, including those that were cancelled."""

    first: tuple[str, ...] = attrs.field(default=(), init=False)
    """The names of the first five of them."""

    done: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    """Set when its task has ended, which may be later than its landing."""

    _landed: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    # Written once, before _landed is set; read only after.
    _result: list[ResultT] = attrs.field(factory=list["ResultT"], init=False, repr=False)

    @property
    def overtaken(self) -> bool:
        """Whether a log-out or a new login has ended the login that it was started for."""
        if self.base is not None and self.base.login.outcome is not None:
            return True
        # A flight that is not late is landed before its task ends only by such an end.
        return self.landed and not self.late

    def board(self, task: str) -> None:
        """Count a task that is about to wait. Not a checkpoint."""
        self.boarded += 1
        if self.boarded <= _REMEMBERED:
            self.first += (task,)

    def cancel(self, reason: str) -> None:
        """Cancel its task. Not a checkpoint."""
        self.cancelled_because = reason
        self.scope.cancel(reason=f"trioauth: {reason}")

    def land(self, result: ResultT) -> None:
        """Set the result and wake every passenger; a second result is ignored. Not a checkpoint."""
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
        """Whether its passengers have got a result."""
        return self._landed.is_set()

    @property
    def passengers(self) -> int:
        """How many tasks are waiting for it."""
        return self._landed.statistics().tasks_waiting
