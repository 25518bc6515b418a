"""Who the client is: every way to say so, and that it says so in exactly one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ._forms import listed, read_basic
from ._keys import read_unverified, verified

if TYPE_CHECKING:
    from ._clients import Client
    from ._messages import Answer, Request
    from ._persona import Endpoint
    from ._site import Site

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# More than an assertion needs to live, in seconds.
_DAY = 86400.0
# How far the clocks of client and server may be apart.
_LEEWAY = 300.0


def authenticate(
    site: Site, request: Request, form: dict[str, str], endpoint: Endpoint, grant: str = ""
) -> Client | Answer:
    """Return the client that has said who it is (RFC 6749 2.3), or the refusal.

    By ``Authorization: Basic``, by ``client_secret``, by ``client_assertion`` (RFC 7523 2.2), or,
    if it is public, by ``client_id`` alone.
    """
    by_header = request.authorization is not None
    client_id = form.get("client_id")
    credentials = read_basic(request.authorization or "") if by_header else None
    ways = by_header + ("client_secret" in form) + ("client_assertion" in form)
    if ways > 1 or (credentials and client_id not in {None, credentials[0]}):
        site.complain(f"{endpoint}: more than one way of client authentication")
        return site.refuse(request, "invalid_request", "more than one way of client authentication")
    if "client_assertion" in form:
        return _by_assertion(site, request, form, endpoint)
    client_secret = form.get("client_secret")
    if by_header:
        client_id, client_secret = credentials or (None, None)
    client = site.clients.find(client_id)
    if client is not None and (client_secret or "") == (client.secret or "") and not client.jwks:
        return client
    if client is not None and client_secret is None and _needs_no_secret(site, grant):
        return client
    if client_secret is not None or client is None:
        site.complain(f"{endpoint}: unknown client or wrong secret")
    challenge = {"WWW-Authenticate": "Basic"} if by_header else {}
    description = "unknown client or wrong secret"
    return site.refuse(request, "invalid_client", description, 401, headers=challenge)


def _needs_no_secret(site: Site, grant: str) -> bool:
    """Say whether a confidential client may leave its secret out: at GitHub's, for a device."""
    return grant.endswith(":device_code") and site.persona.device_public


def _by_assertion(
    site: Site, request: Request, form: dict[str, str], endpoint: Endpoint
) -> Client | Answer:
    """Check a client assertion (RFC 7523 3)."""
    read = None
    assertion = form["client_assertion"]
    # The client is who it says to be, so its keys are to be found by that.
    client = site.clients.find(_subject(assertion))
    if client is not None:
        read = verified(assertion, client.jwks, client.secret)
    if client is None or read is None:
        problem = "no client has signed it"
    else:
        problem = _problem(site, client, form, read[1], endpoint)
    if client is not None and not problem:
        return client
    site.complain(f"{endpoint}: client_assertion: {problem}")
    return site.refuse(request, "invalid_client", f"client_assertion: {problem}", 401)


def _subject(assertion: str) -> str | None:
    _, claims = read_unverified(assertion) or ({}, {})
    subject = claims.get("sub")
    return subject if isinstance(subject, str) else None


def _problem(
    site: Site, client: Client, form: dict[str, str], claims: dict[str, Any], endpoint: Endpoint
) -> str:
    """Say what is wrong with the claims; "" if nothing is."""
    now, audiences = time.time(), listed(claims.get("aud"))
    accepted = {site.places.issuer, site.places.url("token"), site.places.url(endpoint)}
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        return f"client_assertion_type must be {ASSERTION_TYPE}"
    if form.get("client_id", client.client_id) != client.client_id:
        return "client_id is another one's"
    if claims.get("iss") != client.client_id:
        return "iss must be the client_id, as sub is"
    if not any(audience in accepted for audience in map(str, audiences)):
        return "aud must be the issuer or the endpoint"
    if not isinstance(claims.get("exp"), int | float) or "iat" not in claims:
        return "exp or iat is missing"
    if not now - _LEEWAY < claims["exp"] < now + _DAY:
        return "exp is past, or more than a day ahead"
    if not claims.get("jti"):
        return "jti is missing"
    return "" if site.once("jti", str(claims["jti"])) else "jti was used before"
