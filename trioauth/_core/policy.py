"""RefreshPolicy: when to refresh, how often to try, how long to wait."""

from __future__ import annotations

import sys
from typing import Any, Literal, final

import attrs


def _seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be seconds as a number, not {value!r}")
    if not 0 <= value <= sys.float_info.max:
        raise ValueError(f"{attribute.name} must be zero or more seconds, and finite")


def _at_least_one(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number, 1 or more, not {value!r}")


@final
@attrs.frozen(kw_only=True)
class RefreshPolicy:
    """When to refresh, how often to try, how long to wait. All times are in seconds.

    Raises:
      ValueError: A number is out of range; the message names the parameter.
    """

    early: float = attrs.field(default=60, validator=_seconds)
    """With less life than this left, the first request starts a refresh in the background and
    goes on. Never more than a quarter of the lifetime; shortened at random by up to a fifth, drawn
    once per generation, so that many programs don't refresh in the same second."""

    leeway: float = attrs.field(default=5, validator=_seconds)
    """With less life than this left, requests wait for the refresh. Never more than a tenth of the
    lifetime."""

    timeout: float = attrs.field(default=30, validator=_seconds)
    """One deadline for a whole refresh: its retries and the store included."""

    attempts: int = attrs.field(default=4, validator=_at_least_one)
    """How often one refresh asks a server that is unavailable."""

    backoff: float = attrs.field(default=0.5, validator=_seconds)
    """The pause before the second attempt; it doubles each time, and is jittered."""

    cooldown: float = attrs.field(default=5, validator=_seconds)
    """After a refresh that failed, how long the failure is remembered instead of tried again."""

    close_grace: float = attrs.field(default=5, validator=_seconds)
    """How long leaving the session, or logging out, waits for a refresh in the air."""

    max_futile: int = attrs.field(default=2, validator=_at_least_one)
    """So many refreshes may be caused by 401s of one place (an origin and a path) without any sign
    that they helped. Then its 401s are handed back as they are, except for one refresh per pause:
    the first pause is ``cooldown`` long, each next one twice as long, up to five minutes. Sixteen
    places are told apart; all others count as one."""

    settle: float = attrs.field(default=0, validator=_seconds)
    """For an API that learns of a new token a moment late: if a token just renewed is refused, wait
    so many seconds and send the request once more. 0 means: hand the 401 back at once."""

    keep_fresh: bool = attrs.field(default=False, kw_only=True)
    """Refresh by a timer, too, so that a session that is seldom used never waits."""

    when_unavailable: Literal["stay", "log_out"] = attrs.field(
        default="stay", validator=attrs.validators.in_(("stay", "log_out"))
    )
    """What to do when a refresh fails and the access token no longer works either."""
