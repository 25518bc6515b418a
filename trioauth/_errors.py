"""What can go wrong, sorted by what the caller does next.

The tree::

    trioauth.Error
    ├── LoggedOutError              log in again
    ├── RefreshUnavailableError     try later; still logged in
    ├── GrantError
    │   ├── GrantRefusedError       the login is over
    │   └── GrantMisconfiguredError mend the configuration; nothing is lost
    │       └── MetadataError       what the server says of itself can't be used
    ├── LoginError                  a log-in with a person did not succeed; begin it again
    │   ├── LoginDeclinedError      the person said no
    │   └── LoginTimeoutError       the person did not answer in time
    ├── IdentityError               an ID token was refused
    ├── TokenResponseError          the server's answer made no sense
    ├── OriginError                 this URL may not have the token
    └── StoreError                  mend the store; nothing was overwritten
        └── StoreConflictError      somebody else saved first; load again

No message, argument or attribute that shows holds a token or a client secret. `Error._rotated`
does, and shows nowhere.
"""

from __future__ import annotations

import math
import os
import re
import socket
import ssl
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import trio

from ._secrets import REFRESH_TOKEN, Hidden
from ._secrets import printable as printable  # noqa: PLC0414  # others take it from here

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._outcomes import LogoutReason

# Who stands between a session and the code of a program.
_BETWEEN = frozenset({"trioauth", "contextlib"})

# Where the interpreter's own kinds of `OSError` are defined.
_INTERPRETER: Final = frozenset({"builtins", "socket", "ssl"})
# What the system says when a name can't be looked up: to be had only from an exception's text.
_LOOK_UP: Final[Mapping[int, str]] = {
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NONAME: "Name or service not known",
}
# What OpenSSL says, such as CERTIFICATE_VERIFY_FAILED and "self-signed certificate".
_TLS_REASON = re.compile(r"[A-Z0-9_]{1,60}")
_TLS_PROBLEM = re.compile(r"[A-Za-z0-9 ,.'():*-]{1,120}")
# How far the causes of an exception are followed.
_LONGEST_CHAIN = 50


def careful(error: BaseException | None) -> str:
    """Say what an exception is, and what it says, unless that might be a secret; "" for None.

    What our own exceptions and the interpreter say is no secret. What others quote we can't know:
    the parser of a grant of your own may show in its error what it could not parse; and many
    derive from `OSError`, or from ours. So of those it says where in the program's own code they
    came from. Never raises, whatever the exception.
    """
    if error is None:
        return ""
    name = type(error).__name__
    words = _words(error)
    if words is None:
        # What it says is not even asked for: a `__str__` may raise, too.
        return printable(name + _place(error))
    return printable(f"{name}: {words}" if words else name)


def careful_repr(error: BaseException | None) -> str:
    """Return the ``repr`` of an exception in a field, with no more in it than `careful` says."""
    if error is None or (_is_ours(error) and _words(error) is not None):
        return repr(error)
    return f"<{careful(error)}>"


def system_words(error: BaseException) -> str:
    """Return what the interpreter says first in a chain of causes; "" if it says nothing.

    httpx, httpcore and trio wrap what the system and TLS say in exceptions of their own.
    """
    for each in _chain(error):
        if words := _words_of_system(each):
            return printable(words)
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    # `exceptions` of this very class: a stranger's may raise.
    group: Any = BaseExceptionGroup
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _LONGEST_CHAIN:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = each.__context__ if each.__cause__ is None else each.__cause__
        waiting += [] if inner is None else [inner]
        if issubclass(type(each), group):
            waiting += group.exceptions.__get__(each)


def _is_ours(error: BaseException) -> bool:
    # Not a subclass from elsewhere: what that one quotes, we can't know.
    kind = type(error)
    return issubclass(kind, Error) and kind.__module__.partition(".")[0] == "trioauth"


def _words(error: BaseException) -> str | None:
    """Return the words of an exception if they are no secret; None if they are a stranger's."""
    if not _is_ours(error) and type(error) is not trio.TooSlowError:
        return _words_of_system(error)
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # the `__str__` of an argument
        return None


def _words_of_system(error: BaseException) -> str | None:
    kind = type(error)
    try:
        if not issubclass(kind, OSError) or kind.__module__ not in _INTERPRETER:
            return None
        if issubclass(kind, ssl.SSLError):
            return _words_of_tls(error)
        # Not the text, which a program may have written: what the system says for the number.
        number: Any = vars(OSError)["errno"].__get__(error)
        return _LOOK_UP.get(number) if kind is socket.gaierror else os.strerror(number)
    except Exception:  # noqa: BLE001  # a number that is none
        return None


def _words_of_tls(error: BaseException) -> str | None:
    reason, problem = getattr(error, "reason", None), getattr(error, "verify_message", None)
    if not isinstance(reason, str) or not _TLS_REASON.fullmatch(reason):
        return None
    words = reason.replace("_", " ").lower()
    if isinstance(problem, str) and _TLS_PROBLEM.fullmatch(problem):
        words += f": {problem}"
    return words


def _place(error: BaseException) -> str:
    """Name the outermost line that is neither ours nor contextlib's; "" if there is none.

    A `TypeError` without one is that of a call: what we called is not async, or takes something
    else.
    """
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _BETWEEN:
            return f" in {code.co_qualname} ({PurePath(code.co_filename).name}:{step.tb_lineno})"
        step = step.tb_next
    # By the class, here as above: `isinstance` asks a stranger's `__class__`, which may raise.
    called = issubclass(type(error), TypeError) and error.__traceback__ is not None
    return " (is it async, and are its parameters right?)" if called else ""


def seconds_of(value: object) -> float | None:
    """Return a number of seconds from outside, checked; None for what is none.

    That is: not a number, a bool, negative, infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except Exception:  # noqa: BLE001  # an int of any size, or a subclass with a `__float__`
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


class Error(Exception):
    """The base of all errors of this library."""

    # Here, as the defaults below: a subclass may forget to call our `__init__`.
    _hidden: Hidden | None = None

    @property
    def _rotated(self) -> str | None:
        """A new refresh token in an answer that is of no other use: to be saved. A secret.

        None, too, if it is none that could be saved.
        """
        value: object = None if self._hidden is None else self._hidden.value
        return value if isinstance(value, str) and REFRESH_TOKEN.fullmatch(value) else None

    @_rotated.setter
    def _rotated(self, refresh_token: str | None) -> None:
        self._hidden = None if refresh_token is None else Hidden(refresh_token)


class LoggedOutError(Error):
    """There is no login to work with. What to do: log in again.

    Raised to every task that needed the login when it ended, and to whoever
    asks afterwards, at once and without I/O. ``__cause__`` says why, where
    there is more to say than ``reason``.
    """

    reason: LogoutReason = "asked"
    """Why the login ended; see `trioauth.LoggedOut`."""

    at_unix: float | None = None
    """When it ended, on the wall clock (`time.time`); None if that is not known."""

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

    Args:
      message: What happened, without any text of the answer: that may quote a secret.
      retry_after: Seconds the server asked us to wait. What can't be such a number (negative,
          infinite, NaN) counts as None: then it did not ask.
      safe_to_repeat: Whether the server certainly did not use the refresh token.
      rotated: A new refresh token in an answer that is of no other use. The session saves it, and
          goes on with it: the old one may be spent. It shows nowhere.

    Raises:
      TypeError: ``retry_after`` is not a number.
    """

    retry_at: float | None = None
    """When asking again makes sense, on trio's clock (`trio.current_time`). Set by the session."""

    retry_after: float | None = None
    """Seconds the server asked us to wait (RFC 9110 10.2.3), or None. Set by the grant."""

    safe_to_repeat: bool = False
    """The server certainly did not use the refresh token. Set by the grant."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        safe_to_repeat: bool = False,
        rotated: str | None = None,
    ) -> None:
        super().__init__(message)
        if not isinstance(retry_after, int | float | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            kind = type(retry_after).__name__
            raise TypeError(f"retry_after must be seconds as a number, or None, not a {kind}")
        # Not an error: it comes from a header, and an error would hide what the grant has to say.
        self.retry_after = seconds_of(retry_after)
        self.safe_to_repeat = safe_to_repeat
        self._rotated = rotated


class GrantError(Error):
    """The authorization server answered with an error (RFC 6749 5.2)."""

    error: str = ""
    """The error code, such as ``invalid_grant``."""

    description: str | None = None
    """What the server says about it, control characters removed; for a person to read."""

    def __init__(self, error: str, description: str | None = None) -> None:
        self.error = printable(error)
        self.description = None if description is None else printable(description)
        super().__init__(self.error, self.description)

    def __str__(self) -> str:
        said: tuple[object, ...] = (self.error, self.description)
        return ": ".join(text for text in said if isinstance(text, str) and text)


class GrantRefusedError(GrantError):
    """The server said no, finally. The login is over; what to do: log in again."""


class GrantMisconfiguredError(GrantError):
    """The server does not accept this client or this kind of request (``invalid_client``, ...).

    What to do: mend the configuration. Nothing is lost: the refresh token was
    not used, the store was not touched, and the session is still logged in.
    """


class MetadataError(GrantMisconfiguredError):
    """What a server says of itself can't be used, or is not to be had.

    What to do: see whether ``issuer=`` is what the server calls itself, to the letter, or give the
    endpoints by hand (``server=``). Nothing is lost, and no secret was sent.
    """

    member: str | None = None
    """The member of the metadata that is wrong; None if there are none."""

    def __init__(self, message: str, *, member: str | None = None) -> None:
        super().__init__("invalid_metadata")
        # Not cut short: it quotes little, and says which addresses were tried.
        self.description, self.args = message, (message,)
        self.member = member


class LoginError(Error):
    """A log-in with a person did not succeed. What to do: begin it again."""

    code: str = ""
    """The server's ``error`` code, or a word of ours."""

    description: str | None = None
    """What happened, control characters removed; for a person to read."""

    def __init__(self, code: str, description: str | None = None) -> None:
        self.code = printable(code)
        self.description = None if description is None else printable(description)
        super().__init__(self.code, self.description)

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.code, self.description)))


class LoginDeclinedError(LoginError):
    """The person said no, or may not (``access_denied``)."""


class LoginTimeoutError(LoginError):
    """The person did not answer in time, or the code has expired."""


class IdentityError(Error):
    """An ID token was refused (OpenID Connect Core 3.1.3.7), and the tokens beside it with it."""

    claim: str | None = None
    """The claim or member of the header that is wrong, or ``"signature"``; None if else."""

    _names_another: bool = False  # than before a refresh, and is good in itself

    def __init__(self, message: str, *, claim: str | None = None) -> None:
        super().__init__(message)
        self.claim = claim


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

    path: str | None = None
    """The file, for a store that is one."""

    key: str | None = None
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
