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
        └── StoreConflictError      another session saved first; load again

No message, public attribute or argument of an error holds a token or a client secret. The private
`Error._rotated` may hold a refresh token: it is in no text and no ``repr``.
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

# Modules whose frames lie between a session and the program's own code in a traceback.
_BETWEEN = frozenset({"trioauth", "contextlib"})

# The modules that define the interpreter's own classes of `OSError`.
_INTERPRETER: Final = frozenset({"builtins", "socket", "ssl"})
# The system's words for a name that can't be looked up. `os.strerror` does not know these numbers,
# and the text of the exception may have been written by the program.
_LOOK_UP: Final[Mapping[int, str]] = {
    socket.EAI_AGAIN: "Temporary failure in name resolution",
    socket.EAI_FAIL: "Non-recoverable failure in name resolution",
    socket.EAI_NONAME: "Name or service not known",
}
# The form of OpenSSL's words, such as CERTIFICATE_VERIFY_FAILED and "self-signed certificate".
_TLS_REASON = re.compile(r"[A-Z0-9_]{1,60}")
_TLS_PROBLEM = re.compile(r"[A-Za-z0-9 ,.'():*-]{1,120}")
# How far the causes of an exception are followed.
_LONGEST_CHAIN = 50


def careful(error: BaseException | None) -> str:
    """Return the class of an exception, and its words if they hold no secret; "" for None.

    The words of our own exceptions and of the interpreter hold no secret. Those of others may: the
    parser of a program's own grant may quote what it could not parse. Subclasses of `OSError` and
    of our errors count as others. In place of their words stands the line of the program that they
    came from. Never raises, whatever the exception.
    """
    if error is None:
        return ""
    name = type(error).__name__
    words = _words(error)
    if words is None:
        # Its `__str__` is not called: that may raise, too.
        return printable(name + _place(error))
    return printable(f"{name}: {words}" if words else name)


def careful_repr(error: BaseException | None) -> str:
    """Return the ``repr`` of an exception; if its words may hold a secret, what `careful` says."""
    if error is None or (_is_ours(error) and _words(error) is not None):
        return repr(error)
    return f"<{careful(error)}>"


def system_words(error: BaseException) -> str:
    """Return the words of the first exception of the interpreter in a chain of causes; "" if none.

    httpx, httpcore and trio wrap the exceptions of the system and of TLS in their own.
    """
    for each in _chain(error):
        if words := _words_of_system(each):
            return printable(words)
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    # The attribute of this very class: a subclass may have replaced it by one that raises.
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
    # A subclass from elsewhere is not ours: its words may quote a secret.
    kind = type(error)
    return issubclass(kind, Error) and kind.__module__.partition(".")[0] == "trioauth"


def _words(error: BaseException) -> str | None:
    """Return the words of an exception; None if they may hold a secret."""
    if not _is_ours(error) and type(error) is not trio.TooSlowError:
        return _words_of_system(error)
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an argument whose `__str__` raises
        return None


def _words_of_system(error: BaseException) -> str | None:
    kind = type(error)
    try:
        if not issubclass(kind, OSError) or kind.__module__ not in _INTERPRETER:
            return None
        if issubclass(kind, ssl.SSLError):
            return _words_of_tls(error)
        # By the number, because a program may have written the text.
        number: Any = vars(OSError)["errno"].__get__(error)
        return _LOOK_UP.get(number) if kind is socket.gaierror else os.strerror(number)
    except Exception:  # noqa: BLE001  # not a number, or not one of the system's
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
    """Name the outermost line of the traceback that is not in ours nor contextlib's code.

    Without such a line, a `TypeError` comes from our call itself: what we called is not async, or
    has other parameters. "" in all other cases.
    """
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _BETWEEN:
            return f" in {code.co_qualname} ({PurePath(code.co_filename).name}:{step.tb_lineno})"
        step = step.tb_next
    # `issubclass`, here as above: `isinstance` reads `__class__` of the object, which may raise.
    called = issubclass(type(error), TypeError) and error.__traceback__ is not None
    return " (is it async, and are its parameters right?)" if called else ""


def seconds_of(value: object) -> float | None:
    """Check a number of seconds from outside: return it as a float, or None if it is not usable.

    Not usable: a bool or another type than a number, and what is negative, infinite or NaN.
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

    # A default on the class, as those below: a subclass may forget to call our `__init__`.
    _hidden: Hidden | None = None

    @property
    def _rotated(self) -> str | None:
        """A new refresh token from an answer that can't be used otherwise. Secret; to be saved.

        None if there is none, or if its characters are not allowed.
        """
        value: object = None if self._hidden is None else self._hidden.value
        return value if isinstance(value, str) and REFRESH_TOKEN.fullmatch(value) else None

    @_rotated.setter
    def _rotated(self, refresh_token: str | None) -> None:
        self._hidden = None if refresh_token is None else Hidden(refresh_token)


class LoggedOutError(Error):
    """There is no login to work with. What to do: log in again.

    Raised to every task that needed the login when it ended, and to every later
    call, at once and without I/O. ``__cause__`` is what the server or the store
    said, if that is known.
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
    """The server gave no usable answer. What to do: try later; the login still stands.

    A grant raises it, too, to say what it knows: after how many seconds the
    server wants to be asked again, and whether it certainly did not use the
    refresh token. Any other exception from a grant counts as "unavailable, and
    the refresh token may have been used".

    Args:
      message: What happened, without any text of the answer, because that may quote a secret.
      retry_after: Seconds that the server asked us to wait; None (the default) if it did not ask.
          A number that is negative, infinite or NaN counts as None.
      safe_to_repeat: True if the server certainly did not use the refresh token. By default False.
      rotated: A new refresh token, if the answer has one but can't be used otherwise. The session
          saves it and uses it from then on, because the old one may be spent. It is in no text
          and no ``repr``. By default None.

    Raises:
      TypeError: ``retry_after`` is not a number.
    """

    retry_at: float | None = None
    """When to try again, on trio's clock (`trio.current_time`). Set by the session."""

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
        # Not an error: the number comes from a header, and a `ValueError` would hide this error.
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
        self.description: str | None = message  # Not cut short: it says which addresses were tried.
        self.args: tuple[str, ...] = (message,)
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
    """The answer of a token endpoint, or the result of a grant, can't be understood.

    The message says what is wrong with it.
    """


class OriginError(Error):
    """This URL may not have the token. Nothing was sent.

    What to do: if the host may have the token, add its origin to ``origins=`` of
    `trioauth.open_session`; otherwise use another client for this request.
    """


class StoreError(Error):
    """The token store can't be read or written. Nothing in it was overwritten."""

    path: str | None = None
    """The file, if the store keeps its records in a file."""

    key: str | None = None
    """The key, if the store keeps its records by keys."""

    def __init__(
        self, message: str, *, path: str | os.PathLike[str] | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.path = None if path is None else str(path)
        self.key = key


class StoreConflictError(StoreError):
    """`TokenStore.save` found another generation than the expected one, and wrote nothing.

    Another session or process saved first. What to do: load, and go on with what is there.
    """
