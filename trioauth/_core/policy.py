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

    A token is *fresh* at first, then *early* (a refresh starts, requests don't wait), then *stale*
    (requests wait for the refresh), then expired. The defaults suit tokens that live an hour; the
    windows shrink with shorter lifetimes.

    Args:
      early: A token with less life left is early. Default 60; at most a quarter of the lifetime.
      leeway: A token with less life left is stale. Default 5; at most a tenth of the lifetime.
      timeout: The deadline of one refresh, with its retries and the store. Default 30.
      attempts: How often one refresh asks an unavailable server. Default 4.
      backoff: The pause before the second attempt; then it doubles. Default 0.5.
      cooldown: How long no refresh starts after one that failed. Default 5.
      close_grace: How long leaving and logging out wait for a refresh in the air. Default 5.
      max_futile: How many refreshes the 401s of one place may cause in vain. Default 2.
      settle: How long to wait if a renewed token is refused. Default 0: the 401 is returned.
      keep_fresh: Whether a timer refreshes early tokens, too. Default False.
      when_unavailable: "stay" (the default) logged in, or "log_out", when no token works any more.

    Raises:
      TypeError: A number of seconds is no number; the message names the parameter.
      ValueError: A number is out of range; the message names the parameter.
    """

    early: float = attrs.field(default=60, validator=_seconds)
    """When a token has less life left than this, it is early: the next request starts a refresh in
    the background and is sent with the present token. At most a quarter of the lifetime. Each
    generation shortens it at random, by up to a fifth, so that many programs don't refresh in the
    same second."""

    leeway: float = attrs.field(default=5, validator=_seconds)
    """When a token has less life left than this, it is stale: requests wait for a refresh. At most
    a tenth of the lifetime."""

    timeout: float = attrs.field(default=30, validator=_seconds)
    """The deadline of one refresh as a whole, with its retries and the store. It counts the time
    that the process is awake. The ``lease`` of a `RedisStore` must be longer."""

    attempts: int = attrs.field(default=4, validator=_at_least_one)
    """How often one refresh asks a server that is unavailable, the first time included. If an
    answer was lost, the refresh token is sent at most twice more, within ten seconds."""

    backoff: float = attrs.field(default=0.5, validator=_seconds)
    """The pause before the second attempt, less a random part of up to a half. It doubles each
    time, up to five minutes. A longer ``Retry-After`` of the server counts instead."""

    cooldown: float = attrs.field(default=5, validator=_seconds)
    """How long no refresh starts after one that failed. In this time requests use the token if it
    still works, and otherwise get the failure at once."""

    close_grace: float = attrs.field(default=5, validator=_seconds)
    """How long leaving the session, `Session.log_in` and `Session.log_out` wait for a refresh in
    the air; then it is cancelled. Also how long a revocation may take."""

    max_futile: int = attrs.field(default=2, validator=_at_least_one)
    """How many refreshes the 401s of one place (an origin and a path) may cause without a sign that
    one helped. After that its 401s go to the caller, except for one refresh per pause. The first
    pause is ``cooldown`` long, each next one twice as long, up to five minutes. Sixteen places have
    a count of their own; all others share one."""

    settle: float = attrs.field(default=0, validator=_seconds)
    """For an API that learns of a new token a moment late: if a renewed token is refused, wait this
    long and send the request once more. 0 means: the 401 goes to the caller at once."""

    keep_fresh: bool = attrs.field(default=False, kw_only=True)
    """Whether a timer refreshes early tokens, so that the first request after a long pause does not
    wait. By default only requests start refreshes."""

    when_unavailable: Literal["stay", "log_out"] = attrs.field(
        default="stay", validator=attrs.validators.in_(("stay", "log_out"))
    )
    """What happens when a refresh fails and the access token no longer works: "stay" logged in, so
    that a later refresh may succeed, or "log_out"."""
