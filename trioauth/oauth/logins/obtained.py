"""What a log-in has brought: its tokens; why it was refused; why it can't be renewed (pure)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs

from trioauth._errors import GrantRefusedError, LoginError, RefreshUnavailableError
from trioauth._secrets import printable
from trioauth._tokens import decode_object
from trioauth.oauth.answers import read_answer, scopes_in
from trioauth.oauth.offline import BY_SCOPE, offline_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.answers import Rules
    from trioauth.oauth.channel import Answer
    from trioauth.oauth.form import Parameters
    from trioauth.oauth.metadata import AuthorizationServer

_OFFLINE_SCOPE: Final = "offline_access"
# What a server says that can't answer now (RFC 6749 4.1.2.1).
_LATER: Final = frozenset({"temporarily_unavailable", "server_error"})

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
    except RefreshUnavailableError:
        own = _own_refusal(answer)
        if own is None:
            raise
        refused = own
    else:
        return attrs.evolve(tokens, scope=scopes_in(tokens.scope, scope.split()) or scope)
    # Outside the block above: the error has all that matters of the exception.
    raise refused


def _own_refusal(answer: Answer) -> LoginError | None:
    """Return the error of a server that says no in a word of its own; None if it does not.

    Whatever the status: GitHub and Slack refuse with 200. A refresh does not read such words as the
    end of a login. A log-in ends here: a code can't be sent again, and a device that asks again
    hears the same.
    """
    code, words = said(answer, "error"), said(answer, "error_description")
    if code is None or code in _LATER or answer.status == 429 or answer.status >= 500:
        return None
    return LoginError(code, words)


def said(answer: Answer, name: str) -> str | None:
    """Return a member of an answer that is a text, fit to be shown."""
    body, _ = decode_object(answer.body)
    value = body.get(name)
    return printable(value, secrets=answer._sent) if isinstance(value, str) and value else None


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
    offline = offline_at(host)
    wanted: Mapping[str, str] = {} if offline is None else offline.parameters
    missing = {name: value for name, value in wanted.items() if parameters.get(name) != value}
    if missing:
        return f"For one, this server wants parameters={missing!r}"
    wants = _OFFLINE_SCOPE if offline is None else offline.scope
    if wants and wants not in scope.split():
        sure = offline is not None or wants in server.scopes_supported
        how = "this server wants" if sure else "most servers want"
        return f"For one, {how} the scope {wants}"
    return (offline or BY_SCOPE).otherwise
