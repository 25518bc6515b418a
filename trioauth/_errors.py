"""What can go wrong, sorted by what the caller does next.

The tree::

    trioauth.Error
    ├── LoggedOutError              log in again
    ├── RefreshUnavailableError     try later; still logged in
    ├── GrantError
    │   ├── GrantRefusedError       the login is over
    │   └── GrantMisconfiguredError mend the configuration; nothing is lost
    ├── TokenResponseError          the server's answer made no sense
    ├── OriginError                 this URL may not have the token
    └── StoreError                  mend the store; nothing was overwritten
        └── StoreConflictError      somebody else saved first; load again

No message, argument or attribute of these ever holds a token or a client secret.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import os

    from ._outcomes import LogoutReason

_LONGEST_DESCRIPTION = 200
# Who stands between a session and the code of a program.
_BETWEEN = frozenset({"trioauth", "contextlib"})


def printable(text: str, *, secrets: tuple[str, ...] = ()) -> str:
    """Make a server's text fit for a log line: no control characters, no secrets, not too long."""
    # The longest first: one may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "[redacted]")
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= _LONGEST_DESCRIPTION else text[:_LONGEST_DESCRIPTION] + "..."


def careful(error: BaseException | None) -> str:
    """Say what an exception is, and what it says, unless that might be a secret; "" for None.

    Ours never say one, nor does the operating system. What others quote, nobody knows: the
    parser of a grant of your own may show in its error what it could not parse. So of those it says
    where in the program's own code they came from.
    """
    if error is None:
        return ""
    name = type(error).__name__
    if not isinstance(error, Error | OSError | trio.TooSlowError):
        # What it says is not even asked for: a `__str__` may raise, too.
        return printable(name + _place(error))
    text = str(error)
    return printable(f"{name}: {text}" if text else name)


def _place(error: BaseException) -> str:
    """Name the outermost line that is neither ours nor contextlib's; "" if there is none.

    A `TypeError` without one is that of a call: what we called is not async, or takes something
    else.
    """
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if step.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _BETWEEN:
            return f" in {code.co_qualname} ({PurePath(code.co_filename).name}:{step.tb_lineno})"
        step = step.tb_next
    called = isinstance(error, TypeError) and error.__traceback__ is not None
    return " (is it async, and are its parameters right?)" if called else ""


class Error(Exception):
    """The base of all errors of this library."""


class LoggedOutError(Error):
    """There is no login to work with. What to do: log in again.

    Raised to every task that needed the login when it ended, and to whoever
    asks afterwards, at once and without I/O. ``__cause__`` says why, where
    there is more to say than ``reason``.
    """

    reason: LogoutReason
    """Why the login ended; see `trioauth.LoggedOut`."""

    at_unix: float | None
    """When it ended, in seconds since 1970 on the wall clock; None if that is not known."""

    def __init__(
        self, message: str, reason: LogoutReason = "asked", *, at_unix: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.at_unix = at_unix


class RefreshUnavailableError(Error):
    """No usable answer could be had. What to do: try later; the login still stands.

    A grant raises it, too, to say what it knows: after how many seconds the
    server wants to be asked again, and whether the refresh token certainly was
    not used. Any other exception out of a grant counts as "unavailable, and the
    refresh token may have been used".
    """

    retry_at: float | None = None
    """When asking again makes sense, on trio's clock (`trio.current_time`). Set by the session."""

    retry_after: float | None
    """Seconds the server asked us to wait (RFC 9110 10.2.3), or None. Set by the grant."""

    safe_to_repeat: bool
    """The server certainly did not use the refresh token. Set by the grant."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, safe_to_repeat: bool = False
    ) -> None:
        super().__init__(message)
        if not isinstance(retry_after, int | float | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            kind = type(retry_after).__name__
            raise TypeError(f"retry_after must be seconds as a number, or None, not a {kind}")
        self.retry_after = retry_after
        self.safe_to_repeat = safe_to_repeat


class GrantError(Error):
    """The authorization server answered with an error (RFC 6749 5.2)."""

    error: str
    """The error code, such as ``invalid_grant``."""

    description: str | None
    """What the server says about it, control characters removed; for a person to read."""

    def __init__(self, error: str, description: str | None = None) -> None:
        self.error = printable(error)
        self.description = None if description is None else printable(description)
        super().__init__(self.error, self.description)

    def __str__(self) -> str:
        return self.error if self.description is None else f"{self.error}: {self.description}"


class GrantRefusedError(GrantError):
    """The server said no, finally. The login is over; what to do: log in again."""


class GrantMisconfiguredError(GrantError):
    """The server does not accept this client or this kind of request (``invalid_client``, ...).

    What to do: mend the configuration. Nothing is lost: the refresh token was
    not used, the store was not touched, and the session is still logged in.
    """


class TokenResponseError(Error):
    """What a token endpoint answered, or a grant returned, made no sense.

    The message says what was wrong with it.
    """


class OriginError(Error):
    """This URL may not have the token. Nothing was sent.

    What to do: add its origin to ``origins=`` of `trioauth.open_session`, if it
    is to be trusted with the token; else send it through a client of its own.
    """


class StoreError(Error):
    """The token store can't be read or written. Nothing in it was overwritten."""

    path: str | None
    """The file, for a store that is one."""

    key: str | None
    """The key, for a store that has such."""

    def __init__(
        self, message: str, *, path: str | os.PathLike[str] | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = None if path is None else str(path)
        self.key = key


class StoreConflictError(StoreError):
    """`TokenStore.save` found another generation than the expected one, and wrote nothing.

    Somebody else saved first; what to do: load, and go on with what is there.
    """
