"""Grants: how tokens are obtained without a human. The code is in ``trioauth/oauth/grants``."""

from __future__ import annotations

from .oauth.grants import (
    BearerRefreshGrant,
    ClientAuth,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)

__all__ = ["BearerRefreshGrant", "ClientAuth", "ClientCredentialsGrant", "RefreshTokenGrant"]
