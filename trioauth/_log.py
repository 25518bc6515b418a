"""What a session says in the log, unasked: one line an event, on the logger ``trioauth.events``.

Below WARNING is what goes as it should, so a program that configured nothing hears of failures
and of the end of a login, and of nothing else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from . import events
from ._outcomes import UNREMARKABLE

if TYPE_CHECKING:
    from .events import Event

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


def log(event: Event) -> None:
    """Write an event to the log."""
    level = _LEVELS[type(event)]
    if isinstance(event, events.LoggedOut) and event.reason in UNREMARKABLE:
        level = logging.INFO
    if _logger.isEnabledFor(level):
        _logger.log(level, "%s", event)


def wants_waits() -> bool:
    """Say whether anybody reads in the log who waits for what."""
    return _logger.isEnabledFor(logging.DEBUG)
