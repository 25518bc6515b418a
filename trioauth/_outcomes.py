"""Outcomes: why a refresh began and why a login ended; as codes, and in words for a person."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

RefreshCause: TypeAlias = Literal["clock", "rejected", "asked_for"]
"""Why a refresh was started: the token was old; a server refused it; the program asked for a token
without a login, or called `Session.refresh`."""

CAUSES: Final[dict[RefreshCause, str]] = {
    "clock": "the token was old",
    "rejected": "a server refused the token",
    "asked_for": "the program asked for it",
}
"""In words."""

LogoutReason: TypeAlias = Literal[
    "never_logged_in", "asked", "refused", "unavailable", "replaced", "elsewhere"
]
"""Why there is no login:

``never_logged_in``
    There was no login yet.
``asked``
    `Session.log_out` was called.
``refused``
    The authorization server refused to renew; ``cause`` is its answer.
``unavailable``
    No refresh was possible, the token no longer worked, and ``when_unavailable`` is "log_out".
``replaced``
    A new login took its place, here or in another process that shares the store.
``elsewhere``
    Another process that shares the store has logged out.
"""

REASONS: Final[dict[LogoutReason, str]] = {
    "never_logged_in": "nobody has logged in yet",
    "asked": "the session was logged out",
    "refused": "the authorization server refused to renew the login",
    "unavailable": "the login could not be renewed while it lasted",
    "replaced": "a new login has taken the place of the one this began with",
    "elsewhere": "the login was ended by another process that shares the token store",
}
"""In words."""

REMEDIES: Final[dict[LogoutReason, str]] = {
    "never_logged_in": "await session.log_in(...), or pass tokens= to open_session(), to begin",
    "replaced": "ask again",
}
"""What to do, for the reasons where that is not "log in again"."""

UNREMARKABLE: Final[frozenset[LogoutReason]] = frozenset({"never_logged_in", "asked", "replaced"})
"""Reasons that need no explanation: the program itself has logged in or out, or not yet."""
