"""Token exchange (RFC 8693), without I/O. The answer: see `read_obtained`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioauth.oauth.form import Form, Parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS: Final = frozenset({"access_token", "refresh_token", "id_token", "saml1", "saml2", "jwt"})


def token_type(name: str) -> str:
    """Return the URN of a token type; a name such as ``"access_token"`` is short for it (3)."""
    return f"urn:ietf:params:oauth:token-type:{name}" if name in _KINDS else name


def exchange_form(
    subject: str,
    subject_type: str,
    *,
    actor: str | None = None,
    actor_type: str | None = None,
    audience: Sequence[str] = (),
    requested_type: str | None = None,
    scope: str = "",
    more: Parameters | None = None,
) -> Form:
    """Build the form (2.1).

    Args:
      subject: The token that is exchanged.
      subject_type: What it is.
      actor: The token of the one who acts for the subject.
      actor_type: What that is.
      audience: By which names the server knows those who are to take the new token.
      requested_type: What the new token is to be.
      scope: What is asked for; "" for what the server gives by default.
      more: Parameters that are added.
    """
    said: dict[str, str | Sequence[str] | None] = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": subject,
        "subject_token_type": token_type(subject_type),
        "actor_token": actor,
        "actor_token_type": None if actor_type is None else token_type(actor_type),
        "audience": tuple(audience) or None,
        "requested_token_type": None if requested_type is None else token_type(requested_type),
        "scope": scope or None,
    }
    form = Form(more or {})
    form.update({name: value for name, value in said.items() if value is not None})
    return form
