"""Events: what a session tells its observers. Frozen values, without secrets.

An observer is a function of one argument, the event. It is called while the
session changes its state, so keep it short, and never let it block. If it raises
an `Exception`, that is logged (to the logger ``trioauth``), and the session goes on.

The `str` of an event is a line for a person: ``observers=[print]`` works. The
same lines always go to the logger ``trioauth.events``. Attributes that are only
there for that line are ignored when events are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, final

import attrs

from ._errors import printable
from ._outcomes import CAUSES, REASONS, RefreshCause

if TYPE_CHECKING:
    from ._outcomes import LogoutReason

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


@attrs.frozen(kw_only=True, repr=False)
class _Event:
    time: float
    """When, on trio's clock (`trio.current_time`)."""
    key: str = ""
    """Whose session it is, as the program named it in `Sessions`; "" for a session by itself. It
    may be personal: it shows neither in the ``repr`` nor in the line."""
    shown_key: str = attrs.field(default="", eq=False)
    """How the key is shown: by default "key …" and the beginning of its hash."""

    # One for all classes: attrs would compile one for each, at each import.
    def __repr__(self) -> str:
        names = (each.name for each in attrs.fields(type(self)))
        # Without a key, as if there were no such field.
        values = (
            f"{name}={getattr(self, name)!r}"
            for name in names
            if name != "key" and (name != "shown_key" or self.shown_key)
        )
        return f"{type(self).__name__}({', '.join(values)})"

    def __str__(self) -> str:
        return f"{printable(self.shown_key)}: {self._line()}" if self.shown_key else self._line()

    def _line(self) -> str:
        raise NotImplementedError  # pragma: no cover  # each event has its own


@attrs.frozen(kw_only=True, repr=False)
class _RefreshEnded(_Event):
    flight: int
    took: float = attrs.field(default=0.0, eq=False)
    """Seconds since it took off."""
    waited: int = attrs.field(default=0, eq=False)
    """How many tasks have waited for it, including those that were cancelled."""
    tasks: tuple[str, ...] = attrs.field(default=(), eq=False)
    """The names of the first five of them."""


@final
@attrs.frozen(kw_only=True, repr=False)
class RefreshStarted(_Event):
    """A refresh started: a flight took off."""

    flight: int
    """Numbered from 1 in each session."""
    cause: RefreshCause
    generation: int
    """The generation to be replaced; 0 if there is none."""

    def _line(self) -> str:
        return f"refresh {self.flight} started, because {CAUSES[self.cause]}"


@final
@attrs.frozen(kw_only=True, repr=False)
class RefreshLanded(_RefreshEnded):
    """A flight brought a new generation. It is current; the waiting tasks wake after this event."""

    generation: int
    adopted: bool
    """Whether the tokens were found in the store, because another process had refreshed."""

    def _line(self) -> str:
        found = ", found in the store" if self.adopted else ""
        return (
            f"refresh {self.flight} landed after {_seconds(self.took)}: "
            f"generation {self.generation}{found}; {who_waited(self)}"
        )


@final
@attrs.frozen(kw_only=True, repr=False)
class RefreshFailed(_RefreshEnded):
    """A flight failed. The login goes on, unless a `LoggedOut` event follows."""

    error: str
    """The name of the exception's class; its text is in `Session.statistics`."""
    retry_at: float
    """When the next flight may start, on trio's clock."""
    words: str = attrs.field(default="", eq=False)
    """The exception's class, and its message if that is sure to hold no secret."""

    def _line(self) -> str:
        pause = self.retry_at - self.time
        again = f"; not tried again for {_seconds(pause)}" if pause > 0 else ""
        return (
            f"refresh {self.flight} failed after {_seconds(self.took)}: "
            f"{self.words or self.error}; {who_waited(self)}{again}"
        )


@final
@attrs.frozen(kw_only=True, repr=False)
class WaitStarted(_Event):
    """A task boarded a flight: it waits for the refresh."""

    flight: int
    task: str
    """The name of the task."""

    def _line(self) -> str:
        return f"{printable(self.task)} waits for refresh {self.flight}"


@final
@attrs.frozen(kw_only=True, repr=False)
class WaitEnded(_Event):
    """A task left a flight: it landed, or the task was cancelled."""

    flight: int
    task: str
    cancelled: bool

    def _line(self) -> str:
        if self.cancelled:
            return (
                f"{printable(self.task)} was cancelled while it waited for refresh {self.flight}, "
                "which goes on"
            )
        return f"{printable(self.task)} has waited for refresh {self.flight}"


@final
@attrs.frozen(kw_only=True, repr=False)
class RequestResent(_Event):
    """A request that was refused is sent again with a newer generation."""

    task: str
    refused: int
    """The generation that was refused."""
    generation: int
    """The generation it is sent with now."""

    def _line(self) -> str:
        return (
            f"{printable(self.task)} sends a request again, with generation {self.generation}: "
            f"generation {self.refused} was refused"
        )


@final
@attrs.frozen(kw_only=True, repr=False)
class LoggedIn(_Event):
    """A login began."""

    generation: int

    def _line(self) -> str:
        return f"logged in: generation {self.generation}"


@final
@attrs.frozen(kw_only=True, repr=False)
class LoggedOut(_Event):
    """A login ended. The waiting tasks wake after this event: drop caches of its data here."""

    reason: LogoutReason
    words: str = attrs.field(default="", eq=False)
    """Like `RefreshFailed.words`; "" if there is no exception behind it."""

    def _line(self) -> str:
        said = f" ({self.words})" if self.words else ""
        return f"logged out: {REASONS[self.reason]}{said}"


@final
@attrs.frozen(kw_only=True, repr=False)
class Saved(_Event):
    """The store has this generation now."""

    generation: int

    def _line(self) -> str:
        return f"saved as generation {self.generation}"


@final
@attrs.frozen(kw_only=True, repr=False)
class NotSaved(_Event):
    """A save failed. The session goes on with the tokens in memory, and saves them again later."""

    generation: int
    error: str
    words: str = attrs.field(default="", eq=False)
    """Like `RefreshFailed.words`."""
    lost: bool = False
    """Whether the session is closed, so that it is not saved again and is lost."""

    def _line(self) -> str:
        what_next = (
            "the session is closed, so it is lost"
            if self.lost
            else "it is kept in memory, and saved again later"
        )
        return (
            f"generation {self.generation} could not be saved: {self.words or self.error}; "
            f"{what_next}"
        )


@final
@attrs.frozen(kw_only=True, repr=False)
class Revoked(_Event):
    """The authorization server has revoked the tokens of an ended login (RFC 7009)."""

    def _line(self) -> str:
        return "revoked: the authorization server knows that the login is over"


@final
@attrs.frozen(kw_only=True, repr=False)
class NotRevoked(_Event):
    """The tokens of an ended login could not be revoked. They work until they expire."""

    error: str
    words: str = attrs.field(default="", eq=False)
    """Like `RefreshFailed.words`."""

    def _line(self) -> str:
        return (
            "not revoked: the authorization server could not be told that the login is over "
            f"({self.words or self.error})"
        )


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


def who_waited(event: RefreshLanded | RefreshFailed) -> str:
    """Say how many tasks have waited for a refresh, and name the first of them."""
    if not event.waited:
        return "no task waited"
    count = "1 task" if event.waited == 1 else f"{event.waited} tasks"
    if not event.tasks:
        return f"{count} waited"
    more = event.waited - len(event.tasks)
    names = ", ".join(printable(task) for task in event.tasks)
    return f"{count} waited: {names}" + (f" and {more} more" if more > 0 else "")


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 3):g} s"
