"""Client credentials (RFC 6749 4.4), without I/O: the form, and what the answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioauth._secrets import Secrets
from trioauth._tokens import Tokens
from trioauth.oauth.answers import OAUTH, Rules, read_answer
from trioauth.oauth.form import Form, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth.oauth.channel import Answer

_NO_SECRETS = Secrets()


def credentials_form(*, scope: str = "", more: Parameters | None = None) -> Form:
    """Build the form.

    Args:
      scope: What is asked for; "" for what the server gives by default.
      more: Parameters that are added.
    """
    form = Form({"grant_type": "client_credentials"})
    if scope:
        form["scope"] = scope
    form.update(more or {})
    return form


def read_obtained(
    answer: Answer, *, scope: str = "", secrets: Secrets = _NO_SECRETS, rules: Rules = OAUTH
) -> Tokens:
    """Read the answer to a grant that needs no human, this one or another.

    A refresh token in it is ignored: there should be none (RFC 6749 4.4.3), and the grant is asked
    again anyway.

    Args:
      answer: What the server sent.
      scope: What was asked for: an answer without a scope means that (RFC 6749 5.1).
      secrets: What must not be seen in an error.
      rules: How the server says no.

    Raises:
      GrantRefusedError: The server said no.
      GrantMisconfiguredError: The server does not accept this client.
      RefreshUnavailableError: No usable answer.
    """
    obtained = read_answer(answer, secrets=secrets, read=_without_refresh_token, rules=rules)
    return attrs.evolve(obtained, scope=obtained.scope or scope)


def _without_refresh_token(body: Mapping[str, object]) -> Tokens:
    return Tokens.from_response({**body, "refresh_token": None})
