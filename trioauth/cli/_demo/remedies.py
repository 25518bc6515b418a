"""Why a show can't go on, and what to do. Pure, and without secrets."""

from __future__ import annotations

from typing import Any

from trioauth._challenge import challenge
from trioauth._errors import (
    Error,
    GrantError,
    GrantMisconfiguredError,
    LoggedOutError,
    RefreshUnavailableError,
    careful,
    printable,
    system_words,
)

TOKEN_VARIABLE, SECRET_VARIABLE = "TRIOAUTH_REFRESH_TOKEN", "TRIOAUTH_CLIENT_SECRET"

# RFC 6750 3.1 and RFC 9470 3.
_CODES = frozenset(
    {
        "invalid_request",
        "invalid_token",
        "insufficient_scope",
        "insufficient_user_authentication",
    }
)


class NoShow(Exception):  # noqa: N818  # nobody's error
    """It can't go on; the message says why, and what to do."""


NO_TOKEN = (LoggedOutError, RefreshUnavailableError, GrantMisconfiguredError)
"""What a session raises if there is no token to be had."""


def no_token(error: Error) -> str:
    """Say why there is no token to be had."""
    cause = error.__cause__
    said = careful(cause).removeprefix(f"{type(cause).__name__}: ")
    if isinstance(error, GrantMisconfiguredError):
        return (
            f"the token endpoint does not accept this client ({error}). Check --client-id, "
            f"--client-auth, --scope, and {SECRET_VARIABLE} if the client has a secret. Nothing "
            "is lost: the refresh token was not used."
        )
    if isinstance(cause, GrantError):
        return (
            f"the token endpoint refused the refresh token ({said}): it is spent, expired or "
            "revoked, or was given to another client. Log in again as you did to get it, and pass "
            f"the new one in {TOKEN_VARIABLE}."
        )
    if isinstance(error, LoggedOutError):
        return f"{error}."
    return (
        f"the token endpoint gave no usable answer ({said}). Check --token-url, and whether the "
        "server can be reached from here."
    )


def no_answer(error: Exception) -> str:
    """Say why the API gave no answer, by an exception of httpx or httpx2."""
    said = type(error).__name__
    # What httpx says may quote what was sent; what the operating system, or TLS, says does not.
    if said == "ConnectError" and (words := system_words(error)):
        said += f": {words}"
    return f"the API gave no answer ({said}). Check --api, and whether it can be reached from here."


def wrong_answer(response: Any) -> str:
    """Say what is wrong with an answer of the API, of httpx or httpx2."""
    status: int = response.status_code
    asked = challenge(response)
    said = f"status {status}"
    # Some servers quote the token they refuse.
    if asked is not None and asked.error in _CODES:
        said += f", {asked.error}"
    if status == 401:
        return (
            f"the API refuses the token, although it is new ({said}). Is it meant for this API? "
            "Its audience and --scope decide."
        )
    if status == 403:
        return (
            f"the API knows the token, and does not let it do this ({said}). Name a URL in --api "
            "that it may GET, or ask for more with --scope."
        )
    if status == 429:
        return f"the API is asked too often ({said}). Lower --rate, or try again later."
    if 300 <= status < 400:
        return f"the API redirects ({said}), and a token follows nobody. Name the target in --api."
    if status >= 500:
        return f"the API is in trouble itself ({said}). Try again later."
    return f"the API has nothing to say there ({said}). Name a URL in --api that answers a GET."


def not_saved(words: str) -> str:
    """Say why tokens could not be saved."""
    return (
        f"the tokens could not be saved ({printable(words)}), and what can't be kept must not be "
        "renewed. See to that, or name another file in --store."
    )


def login_over(words: str) -> str:
    """Say that the login ended in the middle of it."""
    return (
        f"the login is over ({printable(words)}). Some servers end it for refreshing too often; "
        "theirs is the log to look into. Log in again as you did the first time."
    )
