"""JWTs as grants, and token exchange, at a server that Authlib's classes make."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

import pytest
import trio
from joserfc import jwt
from joserfc.jwk import ECKey

import trioauth
from trioauth import AuthorizationServer, ClientSecretBasic, OAuthClient

if os.environ.get("CI") != "true":
    pytest.importorskip("authlib", reason="the dependency group `interop` is not installed")

from .authlib_server import EXCHANGE, Client, Server, serving  # noqa: E402  # if it is there
from .people import both_see, open_session  # noqa: E402  # as above

pytestmark = [pytest.mark.interop, pytest.mark.slow]

# Authlib does not decode what RFC 6749 2.3.1 has encoded, so nothing odd is in these.
ID, SECRET = "the-gateway", "the-secret-of-a-gateway"
KEY = ECKey.generate_key("P-256", parameters={"kid": "1", "alg": "ES256"})
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def server_with(*subjects: str) -> Server:
    return Server(Client(ID, SECRET), KEY, set(subjects))


def client_of(server: Server, secret: str = SECRET, **options: Any) -> OAuthClient:
    known = AuthorizationServer(token_endpoint=server.token_url)
    return OAuthClient(ID, server=known, auth=ClientSecretBasic(secret), **options)


def assertion_for(server: Server, **changes: object) -> str:
    now = int(time.time())
    claims = {
        "iss": ID,
        "sub": "ann",
        "aud": server.token_url,
        "exp": now + 60,
        "iat": now,
        "jti": secrets.token_urlsafe(),
    }
    return jwt.encode({"alg": "ES256", "kid": "1"}, {**claims, **changes}, KEY)


async def test_assertion_is_asked_for_anew_for_each_token() -> None:
    async with serving(server_with()) as server:

        async def assertion() -> str:
            await trio.lowlevel.checkpoint()
            return assertion_for(server)

        grant = client_of(server, scope="read").jwt_bearer(assertion)
        async with open_session(grant, server) as session:
            for _ in range(3):
                await both_see(session, server, 1)
                server.expire()
    assert server.errors == []
    assert [form["grant_type"] for form in server.requests] == [[JWT_BEARER]] * 3
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "changes",
    [{"sub": "bob"}, {"aud": "https://elsewhere.example.com/token"}, {"exp": 1}],
    ids=["subject", "audience", "expired"],
)
async def test_assertion_that_is_refused_is_sent_once(changes: dict[str, object]) -> None:
    async with serving(server_with()) as server:
        grant = client_of(server).jwt_bearer(assertion_for(server, **changes))
        async with open_session(grant, server) as session:
            for _ in range(2):
                with pytest.raises(trioauth.LoggedOutError):
                    await session.get("me")
    assert server.errors == ["invalid_grant"]


async def test_token_is_exchanged_for_one_of_another_api() -> None:
    async with serving(server_with("a subject", "its successor")) as server:
        subjects = iter(["a subject", "its successor"])

        async def subject() -> str:
            await trio.lowlevel.checkpoint()
            return next(subjects)

        client = client_of(server, scope="read write", resource="https://api.example.com")
        grant = client.exchange(
            subject, actor="an actor", audience=["one", "two"], requested_type="access_token"
        )
        async with open_session(grant, server) as session:
            await both_see(session, server, 1)
            server.expire()
            await both_see(session, server, 1)
    assert server.errors == []
    kind = ["urn:ietf:params:oauth:token-type:access_token"]
    assert server.requests == [
        {
            "grant_type": [EXCHANGE],
            "subject_token": [token],
            "subject_token_type": kind,
            "actor_token": ["an actor"],
            "actor_token_type": kind,
            "requested_token_type": kind,
            "audience": ["one", "two"],
            "resource": ["https://api.example.com"],
            "scope": ["read write"],
        }
        for token in ("a subject", "its successor")
    ]


async def test_subject_that_is_refused_is_sent_once_and_shown_nowhere() -> None:
    async with serving(server_with()) as server:
        grant = client_of(server).exchange("a subject that is a secret")
        async with open_session(grant, server) as session:
            with pytest.raises(trioauth.LoggedOutError) as excinfo:
                await session.get("me")
            with pytest.raises(trioauth.LoggedOutError):
                await session.get("me")
    assert "a subject that" not in str(excinfo.value)
    assert server.errors == ["invalid_grant"]


async def test_gateway_with_a_wrong_secret_is_told_that_its_settings_are_wrong() -> None:
    async with serving(server_with("a subject")) as server:
        grant = client_of(server, "another-secret").exchange("a subject")
        async with open_session(grant, server) as session:
            with pytest.raises(trioauth.GrantMisconfiguredError, match="invalid_client"):
                await session.get("me")
    assert server.errors == ["invalid_client"]
