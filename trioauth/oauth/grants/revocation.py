"""Revocation (RFC 7009), without I/O: the form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .form import Form

if TYPE_CHECKING:
    from trioauth._tokens import Tokens


def revocation_form(tokens: Tokens) -> Form:
    """Build the form: of the refresh token, and with it the access token (2.1); else of that."""
    if tokens.refresh_token is None:
        return Form({"token": tokens.access_token, "token_type_hint": "access_token"})
    return Form({"token": tokens.refresh_token, "token_type_hint": "refresh_token"})
