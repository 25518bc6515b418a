"""Exit codes, and how an error becomes one of them and a line for a person (pure)."""

from __future__ import annotations

from typing import Final

import trio

from trioauth._core.login_state import LoggedOut
from trioauth._errors import (
    Error,
    LoggedOutError,
    RefreshUnavailableError,
    StoreError,
    careful,
)
from trioauth._outcomes import REASONS
from trioauth._profiles.files import NoProfileError

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_LOGGED_IN: Final = 3
TRY_LATER: Final = 4
INTERRUPTED: Final = 130
TERMINATED: Final = 143

EPILOG: Final = """\
Exit code: 0, done; 1, it failed; 2, the command line makes no sense, or something is not
installed; 3, not logged in; 4, the server can't be asked now: try later; 130, interrupted."""


class UsageError(Exception):
    """What was asked for makes no sense."""


class FailedError(Exception):
    """It can't be done; the words are for a person."""


class NotLoggedInError(Exception):
    """There is no login; the words are for a person."""


def not_logged_in(name: str, state: object) -> NotLoggedInError:
    """Make the error of a session that is logged out."""
    why = ""
    if isinstance(state, LoggedOut) and state.reason != "never_logged_in":
        cause = careful(state.cause)
        why = f" ({REASONS[state.reason]}{': ' if cause else ''}{cause})"
    return NotLoggedInError(f"not logged in{why}; to log in: trioauth login {name}")


def judge(error: BaseException) -> tuple[int, str] | None:
    """Return the exit code for an error and what to say; None for one that must not happen.

    1. The person pressed Control-C, perhaps while several tasks ran. If tasks failed, all of them
       for reasons that a person can be told: the first of these.
    2. No login, or no profile at all: 3.
    3. No answer for now: 4. If it is the store that is in the way, that must be mended: 1.
    4. Anything else that is ours: 1.
    """
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED, ""
        case BaseExceptionGroup():
            judged = [judge(each) for each in error.exceptions]
            interrupted = [each for each in judged if each and each[0] == INTERRUPTED]
            # Many tasks may have failed in the same way: the first says it.
            return interrupted[0] if interrupted else None if None in judged else judged[0]
        case UsageError() | ModuleNotFoundError():
            return USAGE, str(error)
        case NotLoggedInError() | NoProfileError():
            return NOT_LOGGED_IN, str(error)
        case LoggedOutError():
            return NOT_LOGGED_IN, f"{error}{_because(error)}"
        case RefreshUnavailableError() if isinstance(error.__cause__, StoreError):
            return FAILED, str(error.__cause__)
        case RefreshUnavailableError():
            return TRY_LATER, f"{error}{_because(error)}"
        case trio.TooSlowError():
            return TRY_LATER, "the server took too long; try later"
        case Error() | FailedError():
            return FAILED, str(error)
        case _:
            return None


def _because(error: Error) -> str:
    cause = error.__cause__
    said = str(cause) if isinstance(cause, Error) else careful(cause)
    return f" ({said})" if said not in str(error) else ""
