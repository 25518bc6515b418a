"""``trioauth token NAME``: the access token, renewed if need be. Never asks a person."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from typing import TYPE_CHECKING, Any, Final

from .exits import DONE, EPILOG, FailedError

if TYPE_CHECKING:
    from trioauth._session import Session
    from trioauth.stores._contract import Record

_DESCRIPTION: Final = """\
Print the access token of a login, and nothing else, on stdout. If it is about to expire it is
renewed first. However many such commands run at once, it is renewed once. It never
asks a person."""

FORMATS: Final = ("raw", "header", "json", "exec-credential")

# A token that another program gets should not expire on the way there, nor at its first request.
_MIN_VALIDITY: Final = 30.0

# The newest first, which is for one that does not say what it wants.
_EXEC_APIS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def add_token(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "token", help="print the access token", description=_DESCRIPTION, epilog=EPILOG
    )
    add: Any = parser.add_argument
    add("name", metavar="NAME", help="of the profile")
    add("--format", choices=FORMATS, default="raw", help=(
        "raw: the token; header: a line for curl -H @-; json: with its expiry, in epoch seconds; "
        "exec-credential: for kubectl"
    ))  # fmt: skip
    add("--min-validity", type=_seconds, default=_MIN_VALIDITY, metavar="SECONDS",
        help="renew it if it is not good for so long (%(default)g)")  # fmt: skip
    add("--refresh", action="store_true", help="renew it in any case")
    parser.set_defaults(run=run)


async def run(options: argparse.Namespace) -> int:
    """Print the token.

    Cancellation:
      Safe. A refresh in the air gets a few seconds to land.

    Raises:
      NotLoggedInError: There is no login.
      FailedError: It can't be renewed, and that was asked for.
      Error: Why there is no token.
    """
    from trioauth._errors import LoggedOutError
    from trioauth._profiles.files import load_profile
    from trioauth._profiles.keeping import store_of

    from .exits import not_logged_in
    from .opening import open_login
    from .speaking import hand_out

    profile = load_profile(options.name)
    store = store_of(profile)
    async with open_login(profile) as session:
        if not session.logged_in:
            raise not_logged_in(profile.name, session.state)
        try:
            token = await _current(session, await store.load(), options)
        except LoggedOutError:
            raise not_logged_in(profile.name, session.state) from None
        hand_out(_written(token, options.format, await store.load()))
    return DONE


async def _current(session: Session, record: Record | None, options: argparse.Namespace) -> str:
    """Return the token that was asked for.

    Cancellation:
      Safe. You stop waiting; a refresh goes on.

    Raises:
      FailedError: It can't be renewed, and that was asked for.
      Error: As `Session.token`.
    """
    tokens = None if record is None else record.tokens
    if tokens is not None and tokens.refresh_token is None:
        if options.refresh:
            raise FailedError(
                "this login can't be renewed, because the server gave no refresh token; for a new "
                f"one: trioauth login {options.name}"
            )
        # To renew it would end it, and it may be good for a while yet.
        return await session.token()
    if options.refresh:
        await session.refresh()
    return await session.token(options.min_validity)


def _written(token: str, how: str, record: Record | None) -> str:
    """Write a token in one of the `FORMATS`.

    Args:
      token: The access token.
      how: Which format.
      record: What is in the store by now: of another token, if this one could not be saved, or
          another process was faster still. Then the expiry is not known.
    """
    tokens = None if record is None else record.tokens
    if record is None or tokens is None or tokens.access_token != token:
        return write(token, how)
    return write(token, how, expires_at=record.expires_at_unix, scope=tokens.scope)


def write(
    token: str,
    how: str,
    *,
    expires_at: float | None = None,
    scope: frozenset[str] = frozenset(),
) -> str:
    """Write a token in one of the `FORMATS`."""
    match how:
        case "raw":
            return token
        case "header":
            return f"Authorization: Bearer {token}"
        case "json":
            return json.dumps(
                {
                    "access_token": token,
                    "token_type": "Bearer",
                    "expires_at": None if expires_at is None else math.floor(expires_at),
                    "scope": " ".join(sorted(scope)),
                }
            )
        case _:
            status = {"token": token}
            if expires_at is not None:
                moment = time.gmtime(math.floor(expires_at))
                status["expirationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
            return json.dumps(
                {"apiVersion": _exec_api(), "kind": "ExecCredential", "status": status}
            )


def _exec_api() -> str:
    """Return the version that kubectl asked for: it takes no other."""
    try:
        asked: Any = json.loads(os.environ.get("KUBERNETES_EXEC_INFO", ""))["apiVersion"]
    except (ValueError, KeyError, TypeError):
        asked = None
    return asked if asked in _EXEC_APIS else _EXEC_APIS[0]


def _seconds(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return number
