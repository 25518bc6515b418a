"""ID tokens and the userinfo endpoint (OpenID Connect Core). Takes ``now``, on both clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._messages import in_json

if TYPE_CHECKING:
    from ._book import Granted, Login
    from ._messages import Answer, Request
    from ._site import Site

# Seconds that an ID token is good for.
_LIFE = 300


def id_token(site: Site, login: Login, granted: Granted, now: float, unix: float) -> str:
    """Return the ID token of a login (OpenID Connect Core 2), with the lies that were ordered.

    Args:
      site: Whose it is.
      login: Which login it is about.
      granted: What was granted.
      now: On trio's clock, on which the person was there.
      unix: The same moment on the wall clock, which is an ID token's.
    """
    claims: dict[str, object] = {
        "iss": site.places.issuer,
        "sub": granted.subject,
        "aud": granted.client_id,
        "iat": int(unix),
        "exp": int(unix) + _LIFE,
        **granted.claims,
    }
    if granted.nonce is not None:
        claims["nonce"] = granted.nonce
    if granted.since is not None:
        if login.auth_time is None:
            # Said once: the two clocks may go at a different pace, and it must stay (12.2).
            login.auth_time = int(unix - (now - granted.since))
        claims["auth_time"] = login.auth_time
    if granted.acr is not None:
        claims["acr"] = granted.acr
    header = site.lies.about("id_token_header", site.keys.header())
    site.keys.lie_with(str(header.get("alg")))
    client = site.clients.find(granted.client_id)
    secret = None if client is None else client.secret
    told = site.lies.about("id_token", claims)
    return site.keys.sign(header, told, secret, site.lies.signature)


def userinfo(site: Site, request: Request, now: float) -> Answer:
    """Say who has logged in (OpenID Connect Core 5.3)."""
    if b"access_token=" in request.body:
        site.complain("userinfo: the access token must be in the Authorization header")
    token = site.book.find_access(request.bearer_token)
    if token is None or not site.book.is_good(token, now):
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        return in_json(401, {"error": "invalid_token"}, challenge)
    granted = token.login.granted
    if granted is None or "openid" not in granted.scopes:
        challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="openid"'}
        return in_json(403, {"error": "insufficient_scope"}, challenge)
    claims = {"sub": granted.subject, **granted.claims}
    return in_json(200, site.lies.about("userinfo", claims))
