"""What a session says in the log, unasked: one line an event, on the logger ``trioauth.events``.

Below WARNING is what goes as it should, so a program that configured nothing hears of failures
and of the end of a login, and of nothing else.
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

    What fails again and again is a warning once, and a line below that each further time, until it
    works again: that is told as loudly as that it broke.
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
    """Say whether anybody reads in the log who waits for what."""
    return _logger.isEnabledFor(logging.DEBUG)
