"""What a log-in has brought: its tokens; why it was refused; why it can't be renewed (pure)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs

from trioauth._errors import GrantRefusedError, LoginError
from trioauth.oauth.answers import read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.answers import Rules
    from trioauth.oauth.channel import Answer
    from trioauth.oauth.form import Parameters
    from trioauth.oauth.metadata import AuthorizationServer

# What it takes to get a refresh token where a scope does not do it. From the providers'
# documentation: Google "Using OAuth 2.0 for Web Server Applications", Dropbox "OAuth Guide".
_OFFLINE_PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {
    "accounts.google.com": {"access_type": "offline", "prompt": "consent"},
    "www.dropbox.com": {"token_access_type": "offline"},
}
_OFFLINE_SCOPE: Final = "offline_access"

_logger = logging.getLogger("trioauth")


def read_first_tokens(answer: Answer, *, scope: str, rules: Rules) -> Tokens:
    """Read the answer that ends a log-in.

    Args:
      answer: It hides itself what was sent.
      scope: What was asked for: an answer without a scope means that (RFC 6749 5.1).
      rules: How the server says no.

    Raises:
      LoginError: The server said no.
      GrantMisconfiguredError: The server does not accept this client.
      RefreshUnavailableError: No usable answer.
    """
    try:
        tokens = read_answer(answer, rules=rules)
    except GrantRefusedError as exc:
        # It is about this attempt, and about no login that there may be.
        refused = LoginError(exc.error, exc.description)
    else:
        return attrs.evolve(tokens, scope=tokens.scope or scope)
    # Outside the block above: the error has all that matters of the exception.
    raise refused


def tell_if_not_renewable(
    tokens: Tokens, server: AuthorizationServer, *, scope: str, parameters: Parameters
) -> None:
    """Say in the log if no refresh token came, and what to ask for to get one."""
    if tokens.refresh_token is None:
        _logger.warning(
            "logged in, but no refresh token came, so the login ends with its access token. %s",
            remedy(server, scope=scope, parameters=parameters),
        )


def remedy(server: AuthorizationServer, *, scope: str, parameters: Parameters) -> str:
    """Say what to ask for, so that the server gives a refresh token."""
    host = urlsplit(server.authorization_endpoint or server.issuer or "").hostname or ""
    wanted = _OFFLINE_PARAMETERS.get(host, {})
    missing = {name: value for name, value in wanted.items() if parameters.get(name) != value}
    if missing:
        return f"For one, this server wants parameters={missing!r}"
    if _OFFLINE_SCOPE not in scope.split() and not wanted:
        sure = _OFFLINE_SCOPE in server.scopes_supported
        how = "this server wants" if sure else "most servers want"
        return f"For one, {how} the scope {_OFFLINE_SCOPE}"
    return "It was asked for: see whether the server's settings allow this client to have one"
