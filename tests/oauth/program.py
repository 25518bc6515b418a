"""A program that logs in with bare httpx requests, rightly unless it is told otherwise."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs
import httpx

if TYPE_CHECKING:
    from trioauth.testing import AuthServer

REDIRECT = "http://127.0.0.1:7000/callback"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@attrs.define
class Program:
    """What it remembers of a log-in."""

    server: AuthServer
    http: httpx.AsyncClient
    verifier: str = ""
    state: str = ""
    nonce: str = ""

    def request(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a new authorization request; None leaves one out."""
        self.verifier, self.state, self.nonce = (secrets.token_urlsafe(32) for _ in range(3))
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.server.client_id,
            "redirect_uri": REDIRECT,
            "scope": "openid notes",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    def url(self, **changes: str | None) -> str:
        return f"{self.server.endpoint('authorize')}?{urlencode(self.request(**changes))}"

    async def authorize(self, **changes: str | None) -> httpx.Response:
        return await self.http.get(self.url(**changes), timeout=None)

    async def callback(self, **changes: str | None) -> dict[str, str]:
        """Return what the browser brings back."""
        response = await self.authorize(**changes)
        assert response.status_code == 302, response.text
        return parameters_of(response.headers["location"])

    def code_form(self, code: str, /, **changes: str | None) -> dict[str, str]:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": self.server.client_id,
            "code_verifier": self.verifier,
            **changes,
        }
        return {name: value for name, value in form.items() if value is not None}

    async def token(self, form: dict[str, str], **options: Any) -> httpx.Response:
        return await self.http.post(self.server.token_url, data=form, **options)

    async def log_in(self, **changes: str | None) -> dict[str, Any]:
        """Log in all the way, and return the answer of the token endpoint."""
        callback = await self.callback(**changes)
        redirect_uri = changes.get("redirect_uri", REDIRECT)
        form = self.code_form(callback["code"], redirect_uri=redirect_uri)
        response = await self.token(form, headers={"Accept": "application/json"})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def poll(self, device_code: str, **changes: str) -> httpx.Response:
        form = {
            "grant_type": DEVICE_GRANT,
            "device_code": device_code,
            "client_id": self.server.client_id,
            **changes,
        }
        return await self.token(form)

    async def get(self, url: str, token: str | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.http.get(url, headers=headers)


def open_program(server: AuthServer) -> Program:
    http = httpx.AsyncClient(transport=server.transport(), base_url=server.url)
    return Program(server, http)


def parameters_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def claims_of(token: str) -> dict[str, Any]:
    import json

    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims
