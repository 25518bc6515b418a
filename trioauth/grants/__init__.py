"""Grants: how tokens are obtained without a human. One file each.

A grant is a pair without I/O, ``request`` builds what to send and ``read`` reads what came back,
and a call that does both with a `TokenEndpoint` in between.

``_answers``     reading an answer: tokens, or which of the errors it is
``_client``      the client (RFC 6749 2) and how it proves who it is
``_revocation``  telling the server that a login is over (RFC 7009)
"""

from __future__ import annotations

from ._bearer_refresh import BearerRefreshGrant
from ._client import ClientAuth
from ._client_credentials import ClientCredentialsGrant
from ._refresh_token import RefreshTokenGrant

__all__ = ["BearerRefreshGrant", "ClientAuth", "ClientCredentialsGrant", "RefreshTokenGrant"]
