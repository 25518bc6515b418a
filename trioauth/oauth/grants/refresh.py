"""Refreshing (RFC 6749 6), without I/O: the form, and what the answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioauth._errors import GrantRefusedError
from trioauth._secrets import Secrets
from trioauth.oauth.answers import OAUTH, Rules, read_answer, scopes_in
from trioauth.oauth.form import Form, Parameters

if TYPE_CHECKING:
    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import Answer

_NO_SECRETS = Secrets()


def refresh_form(tokens: Tokens | None, *, scope: str = "", more: Parameters | None = None) -> Form:
    """Build the form.

    Args:
      tokens: The ones to be renewed.
      scope: At most what was granted before; "" for just that.
      more: Parameters that are added.

    Raises:
      GrantRefusedError: There is no refresh token.
    """
    if tokens is None or tokens.refresh_token is None:
        raise GrantRefusedError(
            "no_refresh_token",
            "this login has none, so the server was not asked; log in again, and ask for one "
            "(often by the scope offline_access)",
        )
    form = Form(
        {
            "grant_type": "refresh_token",
            "refresh_token": tokens.refresh_token,
        }
    )
    if scope:
        form["scope"] = scope
    form.update(more or {})
    return form


def read_refreshed(
    answer: Answer,
    tokens: Tokens | None,
    *,
    scope: str = "",
    secrets: Secrets = _NO_SECRETS,
    rules: Rules = OAUTH,
) -> Tokens:
    """Read the answer.

    Args:
      answer: What the server sent.
      tokens: The ones to be renewed. They don't show in an error, even if the server echoes them.
      scope: What was asked for: an answer without a scope means that (RFC 6749 5.1).
      secrets: What else must not be seen.
      rules: How the server says no.

    Raises:
      GrantRefusedError: The server said no.
      GrantMisconfiguredError: The server does not accept this client.
      RefreshUnavailableError: No usable answer.
    """
    renewed = read_answer(answer, tokens, secrets=secrets, rules=rules)
    known = frozenset[str]() if tokens is None else tokens.scope
    return attrs.evolve(renewed, scope=scopes_in(renewed.scope, known) or scope)
