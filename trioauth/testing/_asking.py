"""Reading an authorization request, and what is to be said about it. Pure but for what was seen.

In the order of RFC 6749 4.1.2.1: with an unknown client or redirect URI the person sees a page, for
the browser must not be sent anywhere; whatever else is wrong, the client is told by redirect.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, final
from urllib.parse import urlencode, urlsplit

import attrs

from ._forms import read_form, read_query
from ._messages import whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._clients import Client
    from ._messages import Answer, Request
    from ._site import Site

# RFC 7636 4.2: a SHA-256, in base64url.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# RFC 3986 2.3: what needs no escape in a URL, so that nothing on the way can spoil it.
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_LONGEST = {"state": 128, "nonce": 43}


@final
@attrs.frozen
class Asked:
    """An authorization request that makes sense. Its values don't show in its ``repr``."""

    client: Client
    redirect_uri: str = attrs.field(repr=False)
    parameters: Mapping[str, str] = attrs.field(repr=False)

    def get(self, name: str) -> str | None:
        """Return a parameter."""
        return self.parameters.get(name)

    @property
    def prompts(self) -> frozenset[str]:
        """What the person must be shown (OpenID Connect Core 3.1.2.1)."""
        return frozenset(self.parameters.get("prompt", "").split())


def read_parameters(request: Request) -> Mapping[str, str] | None:
    """Read what a browser brings, in the query or in a form."""
    if request.method == "POST":
        return read_form(request)
    return read_query(request)


def read_request(site: Site, parameters: Mapping[str, str] | None) -> Asked | Answer:
    """Say what is asked for, or show what is wrong with it."""
    if parameters is None:
        site.complain("authorize: a parameter occurs twice")
        return _page("a parameter occurs twice")
    client = site.clients.find(parameters.get("client_id"))
    if client is None:
        site.complain("authorize: client_id is unknown")
        return _page("client_id is unknown")
    redirect_uri = parameters.get("redirect_uri", "")
    if not client.takes(redirect_uri, site.persona.redirects):
        site.complain("authorize: redirect_uri is not registered")
        return _page("redirect_uri is not registered")
    asked = Asked(client, redirect_uri, dict(parameters))
    if (problem := _problem(site, asked)) is not None:
        code, description = problem
        site.complain(f"authorize: {description}")
        return redirect(site, asked, {"error": code, "error_description": description})
    _check_manners(site, asked)
    return asked


def redirect(site: Site, asked: Asked, parameters: Mapping[str, str]) -> Answer:
    """Send the browser back with these parameters, and with those that every callback has."""
    callback: dict[str, object] = dict(parameters)
    if (state := asked.get("state")) is not None:
        callback["state"] = state
    if site.persona.callback_iss:
        callback["iss"] = site.places.issuer
    told = urlencode(site.lies.about("callback", callback))
    uri = asked.redirect_uri
    joint = "&" if urlsplit(uri).query else "?"
    return whole(302, b"", {"Location": f"{uri}{joint}{told}", "Cache-Control": "no-store"})


def _page(text: str) -> Answer:
    """Show the person what is wrong."""
    body = f"<!doctype html><title>Error</title><p>{text}</p>".encode()
    return whole(400, body, {"Content-Type": "text/html; charset=utf-8"})


def _problem(site: Site, asked: Asked) -> tuple[str, str] | None:
    """Return code and description of the error that the client is to be told of."""
    challenge = asked.get("code_challenge")
    if asked.get("response_type") != "code":
        return "unsupported_response_type", "response_type must be code"
    if "request" in asked.parameters:
        return "request_not_supported", "request is not supported"
    if challenge is None:
        return "invalid_request", "code_challenge is missing"
    if asked.get("code_challenge_method") != "S256":
        return "invalid_request", "code_challenge_method must be S256"
    if not _CHALLENGE.fullmatch(challenge):
        return "invalid_request", "code_challenge must be a SHA-256 in base64url"
    if not site.may_have(asked.parameters.get("scope", "")):
        return "invalid_scope", "scope is more than this server has"
    if "none" in asked.prompts and (len(asked.prompts) > 1 or asked.get("max_age") == "0"):
        return "invalid_request", "prompt=none goes with no other prompt, nor with max_age=0"
    if not _is_json_object(asked.parameters.get("claims", "{}")):
        return "invalid_request", "claims must be a JSON object"
    return None


def _check_manners(site: Site, asked: Asked) -> None:
    """Complain about what works, and should not be done."""
    if asked.get("state") is None:
        site.complain("authorize: state is missing")
    site.once("code_challenge", asked.parameters["code_challenge"])
    for name, longest in _LONGEST.items():
        value = asked.get(name)
        if value is None:
            continue
        site.once(name, value)
        if len(value) > longest or not _UNRESERVED.fullmatch(value):
            site.complain(
                f"authorize: {name} must be up to {longest} characters of A-Z a-z 0-9 - . _ ~"
            )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
