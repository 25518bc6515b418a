"""What the server says about itself, and the API about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._clients import is_loopback_uri
from ._messages import in_json, whole
from ._places import RESOURCE

if TYPE_CHECKING:
    from ._messages import Answer, Request
    from ._persona import Endpoint
    from ._site import Site

MEMBERS: dict[str, Endpoint] = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "device_authorization_endpoint": "device",
    "pushed_authorization_request_endpoint": "par",
    "revocation_endpoint": "revoke",
    "userinfo_endpoint": "userinfo",
    "jwks_uri": "jwks",
    "registration_endpoint": "register",
}
GRANTS = {
    "authorization_code": "authorization_code",
    "refresh_token": "refresh_token",
    "client_credentials": "client_credentials",
    "device_code": "urn:ietf:params:oauth:grant-type:device_code",
    "jwt_bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "token_exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
}


def metadata(site: Site, request: Request) -> Answer:
    """Serve the server's metadata (RFC 8414 3.2)."""
    if not site.places.has_metadata(request.path):
        return whole(404, b"")
    persona = site.persona
    body: dict[str, object] = {"issuer": site.places.issuer}
    for member, endpoint in MEMBERS.items():
        if (url := site.places.url(endpoint)) is not None:
            body[member] = url
    body |= {
        "response_types_supported": ["code"],
        "grant_types_supported": list(GRANTS.values()),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
            "private_key_jwt",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [persona.signing_alg],
        "authorization_response_iss_parameter_supported": persona.callback_iss,
        "require_pushed_authorization_requests": persona.requires_par,
        "client_id_metadata_document_supported": True,
    }
    if site.scope:
        body["scopes_supported"] = site.scope.split()
    return in_json(200, site.lies.about("metadata", body))


def resource_metadata(site: Site, request: Request) -> Answer:
    """Serve the API's metadata (RFC 9728 3.2)."""
    path = request.path.removeprefix(RESOURCE)
    where = site.persona.resource_metadata
    if where == "none" or (where == "root" and path):
        return whole(404, b"")
    body: dict[str, object] = {
        "resource": (request.origin or site.places.base) + path,
        "authorization_servers": [site.places.issuer],
        "bearer_methods_supported": ["header"],
    }
    if site.scope:
        body["scopes_supported"] = site.scope.split()
    return in_json(200, site.lies.about("resource", body))


def register(site: Site, request: Request, body: dict[str, object] | None) -> Answer:
    """Register a client (RFC 7591 3)."""
    if (problem := _registration_problem(body)) is not None or body is None:
        site.complain(f"register: {problem}")
        text = {"error": "invalid_client_metadata", "error_description": problem}
        return site.say(request, 400, text)
    client = site.clients.register(body)
    if body.get("application_type") != "native" and any(map(is_loopback_uri, client.redirect_uris)):
        # Without it a client is a web application, which must have https (OpenID Registration 2).
        site.complain("register: with a redirect URI of loopback, application_type must be native")
    answer: dict[str, object] = {**body, "client_id": client.client_id}
    if client.secret is not None:
        answer |= {"client_secret": client.secret, "client_secret_expires_at": 0}
    return site.say(request, 201, site.lies.about("registration", answer))


def _registration_problem(body: dict[str, object] | None) -> str | None:
    if body is None:
        return "the body must be a JSON object"
    if "jwks" in body and "jwks_uri" in body:
        return "jwks and jwks_uri exclude each other"
    uris, grants = body.get("redirect_uris"), body.get("grant_types", ["authorization_code"])
    if isinstance(grants, list) and "authorization_code" in grants and not uris:
        return "redirect_uris is missing"
    if not isinstance(uris, list | None):
        return "redirect_uris must be a list"
    return None
