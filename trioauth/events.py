"""What a session tells its observers. Frozen, and without secrets.

An observer is a function of one argument, called in the middle of things: keep
it short, and never let it block. If it raises, that is logged (to the logger
``trioauth``), and the session goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias, final

import attrs

if TYPE_CHECKING:
    from ._state import LogoutReason

__all__ = [
    "Event",
    "LoggedIn",
    "LoggedOut",
    "NotRevoked",
    "NotSaved",
    "Observer",
    "RefreshCause",
    "RefreshFailed",
    "RefreshLanded",
    "RefreshStarted",
    "RequestResent",
    "Revoked",
    "Saved",
    "WaitEnded",
    "WaitStarted",
]

RefreshCause: TypeAlias = Literal["clock", "rejected", "asked_for"]
"""Why a refresh was started: the token is old, a server refused it, or `Session.refresh`."""


@attrs.frozen(kw_only=True)
class _Event:
    time: float
    """When, on trio's clock (`trio.current_time`)."""


@final
@attrs.frozen(kw_only=True)
class RefreshStarted(_Event):
    """A flight took off."""

    flight: int
    """Numbered from 1 in each session."""
    cause: RefreshCause
    generation: int
    """The generation to be replaced; 0 if there is none."""


@final
@attrs.frozen(kw_only=True)
class RefreshLanded(_Event):
    """A flight brought a new generation. It is current, and nobody has woken up yet."""

    flight: int
    generation: int
    adopted: bool
    """The tokens were found in the store: somebody else had refreshed already."""


@final
@attrs.frozen(kw_only=True)
class RefreshFailed(_Event):
    """A flight came back with nothing; the login still stands, or see the `LoggedOut` after it."""

    flight: int
    error: str
    """The name of the exception's class; its text is in `Session.statistics`."""
    retry_at: float
    """When the next flight may start, on trio's clock."""


@final
@attrs.frozen(kw_only=True)
class WaitStarted(_Event):
    """A task boarded a flight."""

    flight: int
    task: str
    """The name of the task."""


@final
@attrs.frozen(kw_only=True)
class WaitEnded(_Event):
    """A task left a flight: it landed, or the task was cancelled."""

    flight: int
    task: str
    cancelled: bool


@final
@attrs.frozen(kw_only=True)
class RequestResent(_Event):
    """A request that was refused is sent again with a newer generation."""

    task: str
    refused: int
    """The generation that was refused."""
    generation: int
    """The generation it is sent with now."""


@final
@attrs.frozen(kw_only=True)
class LoggedIn(_Event):
    """A login began."""

    generation: int


@final
@attrs.frozen(kw_only=True)
class LoggedOut(_Event):
    """A login ended. Told before any waiting task wakes up: drop your caches here."""

    reason: LogoutReason


@final
@attrs.frozen(kw_only=True)
class Saved(_Event):
    """The store holds this generation now."""

    generation: int


@final
@attrs.frozen(kw_only=True)
class NotSaved(_Event):
    """The store did not take it; the session goes on with what is in memory, and tries again."""

    generation: int
    error: str


@final
@attrs.frozen(kw_only=True)
class Revoked(_Event):
    """The authorization server was told that the login is over."""


@final
@attrs.frozen(kw_only=True)
class NotRevoked(_Event):
    """The authorization server could not be told that the login is over."""

    error: str


Event: TypeAlias = (
    RefreshStarted
    | RefreshLanded
    | RefreshFailed
    | WaitStarted
    | WaitEnded
    | RequestResent
    | LoggedIn
    | LoggedOut
    | Saved
    | NotSaved
    | Revoked
    | NotRevoked
)

Observer: TypeAlias = Callable[[Event], object]
