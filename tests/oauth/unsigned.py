"""An answer with an ID token that is not signed, and a client that gets it."""

from __future__ import annotations

from typing import Any

from trioauth import AuthorizationServer, Identity, OAuthClient, Tokens

from .world import GOOD, ISSUER, TOKEN_URL

JWKS = f"{ISSUER}/keys"
SERVER = AuthorizationServer(issuer=ISSUER, token_endpoint=TOKEN_URL, jwks_uri=JWKS)
# Its signature is none; that is found out last.
UNSIGNED = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJpdC1jYW5hcnkifQ.aXQtY2FuYXJ5LXNpZw"
ANN = Identity({"iss": ISSUER, "sub": "ann"})
OLD = Tokens("at-canary-1", "rt-canary-1", identity=ANN)
ANSWER = {**GOOD, "refresh_token": "rt-canary-2", "id_token": UNSIGNED}


def client_of(**options: Any) -> OAuthClient:
    return OAuthClient("notes", **{"server": SERVER, "scope": "openid", **options})
