"""Grants in which one token stands for another: RFC 7523 2.1 and RFC 8693. Takes ``now``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ._book import Granted
from ._forms import listed
from ._keys import read_unverified, verified

if TYPE_CHECKING:
    from ._clients import Client
    from ._messages import Answer, Request
    from ._site import Site

_TYPES = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN = _TYPES + "access_token"
_MORE = "more than this client may have"


def serve_assertion(
    site: Site, request: Request, client: Client, form: dict[str, str]
) -> Granted | Answer:
    """Take a JWT for what it says (RFC 7523 3): signed by the client's key, if it has any."""
    assertion = form.get("assertion", "")
    claims = _claims(assertion, client)
    problem = _problem(site, claims)
    if not site.may_have(form.get("scope", "")):
        return site.refuse(request, "invalid_scope", _MORE)
    if claims is None or problem:
        site.complain(f"token: assertion: {problem}")
        return site.refuse(request, "invalid_grant", f"assertion: {problem}", grant="jwt_bearer")
    return _granted(site, client, str(claims["sub"]), form)


def exchange(
    site: Site, request: Request, client: Client, form: dict[str, str], now: float
) -> Granted | Answer:
    """Exchange a token (RFC 8693 2.1); an access token of this server must be good."""
    if not {"subject_token", "subject_token_type"} <= form.keys():
        site.complain("token: subject_token or subject_token_type is missing")
        return site.refuse(request, "invalid_request", "subject_token or its type is missing")
    if ("actor_token" in form) != ("actor_token_type" in form):
        site.complain("token: actor_token and actor_token_type go together")
        return site.refuse(request, "invalid_request", "actor_token and its type go together")
    if not site.may_have(form.get("scope", "")):
        return site.refuse(request, "invalid_scope", _MORE)
    subject = "a-person"
    if form["subject_token_type"] == ACCESS_TOKEN:
        token = site.book.find_access(form["subject_token"])
        if token is None or not site.book.is_good(token, now):
            return site.refuse(request, "invalid_request", "subject_token is not valid")
        if token.login.granted is not None:
            subject = token.login.granted.subject
    return _granted(site, client, subject, form)


def _granted(site: Site, client: Client, subject: str, form: dict[str, str]) -> Granted:
    scopes = tuple(form.get("scope", site.scope).split())
    return Granted(client.client_id, subject, scopes, resource=form.get("resource", ""))


def _claims(assertion: str, client: Client) -> dict[str, object] | None:
    if client.jwks is None and client.secret is None:
        read = read_unverified(assertion)
    else:
        read = verified(assertion, client.jwks, client.secret) or None
    return None if read is None else read[1]


def _problem(site: Site, claims: dict[str, object] | None) -> str:
    if claims is None:
        return "not a JWT, or signed by another key"
    expires_at, audiences = claims.get("exp"), listed(claims.get("aud"))
    accepted = {site.places.issuer, site.places.url("token")}
    if "iss" not in claims or "sub" not in claims:
        return "iss or sub is missing"
    if not any(audience in accepted for audience in map(str, audiences)):
        return "aud must be the issuer or the token endpoint"
    if not isinstance(expires_at, int | float) or expires_at <= time.time():
        return "exp is missing or past"
    if "jti" in claims and not site.once("jti", str(claims["jti"])):
        return "jti was used before"
    return ""
