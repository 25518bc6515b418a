"""Grants: how tokens are obtained without a human. One file each.

A grant is a pair without I/O, ``request`` builds what to send and ``read`` reads what came back,
and a call that does both with a `TokenEndpoint` in between.

``_refresh_token``       `RefreshTokenGrant` (RFC 6749 6)
``_client_credentials``  `ClientCredentialsGrant` (RFC 6749 4.4)
``_bearer_refresh``      `BearerRefreshGrant`, for a server of one's own

Imports from: the base, ``oauth``.
"""

from __future__ import annotations

from trioauth.oauth._client_auth import ClientAuth

from ._bearer_refresh import BearerRefreshGrant
from ._client_credentials import ClientCredentialsGrant
from ._refresh_token import RefreshTokenGrant

__all__ = ["BearerRefreshGrant", "ClientAuth", "ClientCredentialsGrant", "RefreshTokenGrant"]
