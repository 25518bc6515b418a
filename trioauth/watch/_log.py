"""Log: one line for each event, on the logger ``trioauth.events``, without being asked for.

What works as it should is logged below WARNING. So a program that has not configured logging sees
failures and the end of a login, and nothing else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, final

import attrs

from trioauth import events
from trioauth._outcomes import UNREMARKABLE

if TYPE_CHECKING:
    from trioauth.events import Event

_logger = logging.getLogger("trioauth.events")

_LEVELS: dict[type[Event], int] = {
    events.RefreshStarted: logging.DEBUG,
    events.RefreshLanded: logging.INFO,
    events.RefreshFailed: logging.WARNING,
    events.WaitStarted: logging.DEBUG,
    events.WaitEnded: logging.DEBUG,
    events.RequestResent: logging.DEBUG,
    events.LoggedIn: logging.INFO,
    events.LoggedOut: logging.WARNING,
    events.Saved: logging.DEBUG,
    events.NotSaved: logging.ERROR,
    events.Revoked: logging.INFO,
    events.NotRevoked: logging.WARNING,
}


@final
@attrs.define(eq=False, repr=False)
class Log:
    """Writes the events of one session to the log.

    The first of several failures in a row is logged at its full level, the others at DEBUG. The
    success after them is logged as a warning, so that a log of warnings has the end of the trouble.
    """

    _failing: bool = attrs.field(default=False, init=False)
    _unsaved: bool = attrs.field(default=False, init=False)

    def __call__(self, event: Event) -> None:
        """Write an event."""
        level = self._level(event)
        if _logger.isEnabledFor(level):
            _logger.log(level, "%s", event)

    def _level(self, event: Event) -> int:
        level = _LEVELS[type(event)]
        match event:
            case events.RefreshFailed():
                again, self._failing = self._failing, True
                return logging.DEBUG if again else level
            case events.RefreshLanded():
                mended, self._failing = self._failing, False
                return logging.WARNING if mended else level
            case events.NotSaved(lost=lost):
                again, self._unsaved = self._unsaved, True
                return logging.DEBUG if again and not lost else level
            case events.Saved():
                mended, self._unsaved = self._unsaved, False
                return logging.WARNING if mended else level
            case events.LoggedIn():
                self._failing = False
                return level
            case events.LoggedOut() if event.reason in UNREMARKABLE:
                return logging.INFO
            case _:
                return level


def wants_waits() -> bool:
    """Say whether the log is configured to show which task waits for which refresh."""
    return _logger.isEnabledFor(logging.DEBUG)
