"""Grants: how tokens are obtained without a human. The code is in ``trioauth/oauth/grants``."""

from __future__ import annotations

from .oauth.by_secret import ClientAuth
from .oauth.grants.bearer_refresh_grant import BearerRefreshGrant
from .oauth.grants.client_credentials_grant import ClientCredentialsGrant
from .oauth.grants.refresh_token_grant import RefreshTokenGrant

__all__ = ["BearerRefreshGrant", "ClientAuth", "ClientCredentialsGrant", "RefreshTokenGrant"]
