"""LoggedIn, LoggedOut: the values of `Session.state`. No secrets in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import careful_repr

if TYPE_CHECKING:
    from trioauth._identity import Identity
    from trioauth._outcomes import LogoutReason


@final
@attrs.frozen
class LoggedIn:
    """There is a login. Nothing here is secret."""

    generation: int
    """The number of the tokens now in use; within a session it only grows."""

    scope: frozenset[str] = frozenset()
    """The scope that the server says it granted (RFC 6749 5.1); empty if it did not say."""

    identity: Identity | None = attrs.field(default=None, repr=False)
    """Who has logged in; None if no ID token was asked for, or none could be validated."""


@final
@attrs.frozen
class LoggedOut:
    """There is no login."""

    reason: LogoutReason
    """Why; see `LogoutReason`."""

    cause: Exception | None = attrs.field(default=None, repr=careful_repr)
    """The exception that ended the login, such as the server's refusal; None if there is none."""

    at_unix: float | None = attrs.field(default=None, eq=False)
    """When the login ended, in seconds since 1970; None if there was none, or if it is unknown."""
