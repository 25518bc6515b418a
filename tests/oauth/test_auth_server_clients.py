"""AuthServer and its clients: how they say who they are, and those that register."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest

from trioauth.testing import AuthServer

from .program import REDIRECT, Program, open_program

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CREDENTIALS = {"grant_type": "client_credentials"}
SECRET = "a secret of thirty-two characters"


def basic(client_id: str, secret: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


async def test_a_client_says_who_it_is_in_one_way() -> None:
    server = AuthServer(client_secret="s")
    program = open_program(server)
    by_body = {"client_id": "client", "client_secret": "s"}
    assert (await program.token(CREDENTIALS | by_body)).status_code == 200
    header = basic("client", "s")
    assert (await program.token(CREDENTIALS, headers=header)).status_code == 200
    with_id = CREDENTIALS | {"client_id": "client"}
    assert (await program.token(with_id, headers=header)).status_code == 200
    server.check()
    twice = await program.token(CREDENTIALS | by_body, headers=header)
    assert twice.json()["error"] == "invalid_request"
    another = await program.token(CREDENTIALS | {"client_id": "another"}, headers=header)
    assert another.json()["error"] == "invalid_request"
    assert server.complaints == ["token: more than one way of client authentication"] * 2


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"client_id": "another"},
        {"client_id": "client", "client_secret": "wrong"},
    ],
)
async def test_an_unknown_client_and_a_wrong_secret_are_complained_about(
    form: dict[str, str],
) -> None:
    server = AuthServer(client_secret="s")
    response = await open_program(server).token(CREDENTIALS | form)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert server.complaints == ["token: unknown client or wrong secret"]


# --- assertions ----------------------------------------------------------------------------


def key_pair() -> tuple[Any, dict[str, Any]]:
    jwk = pytest.importorskip("joserfc.jwk")
    key = jwk.ECKey.generate_key("P-256", {"kid": "mine"})
    return key, key.as_dict(private=False)


def assertion(server: AuthServer, key: Any, alg: str = "ES256", **changes: Any) -> str:
    from joserfc import jws

    now = int(time.time())
    claims = {
        "iss": server.client_id,
        "sub": server.client_id,
        "aud": server.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": f"jti-{time.perf_counter_ns()}",
        **changes,
    }
    import json

    payload = json.dumps({name: value for name, value in claims.items() if value is not None})
    kid = {"kid": "mine"} if alg == "ES256" else {}
    return jws.serialize_compact({"alg": alg, **kid}, payload, key, algorithms=[alg])


async def assert_client(program: Program, text: str, **more: str) -> Any:
    form = {"client_assertion": text, "client_assertion_type": ASSERTION}
    return await program.token({**CREDENTIALS, **form, **more})


@pytest.mark.parametrize("in_a_set", [True, False])
async def test_a_client_with_a_key_signs(in_a_set: bool) -> None:
    key, public = key_pair()
    server = AuthServer(client_jwks={"keys": [public]} if in_a_set else public)
    program = open_program(server)
    for audience in (server.issuer, server.token_url, [server.issuer]):
        response = await assert_client(program, assertion(server, key, aud=audience))
        assert response.status_code == 200, response.text
    server.check()
    assert (await program.token(CREDENTIALS | {"client_id": "client"})).status_code == 401


async def test_a_client_signs_with_its_secret() -> None:
    jwk = pytest.importorskip("joserfc.jwk")
    server = AuthServer(client_secret=SECRET)
    key = jwk.OctKey.import_key(SECRET)
    program = open_program(server)
    assert (await assert_client(program, assertion(server, key, "HS256"))).status_code == 200
    server.check()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"iss": "another"}, "iss must be the client_id"),
        ({"sub": "another"}, "no client has signed it"),
        ({"sub": 7}, "no client has signed it"),
        ({"aud": "https://another.example"}, "aud must be"),
        ({"exp": None}, "exp or iat is missing"),
        ({"iat": None}, "exp or iat is missing"),
        ({"exp": 1}, "exp is past"),
        ({"exp": 10**11}, "exp is past, or more than a day ahead"),
        ({"jti": None}, "jti is missing"),
    ],
)
async def test_an_assertion_with_wrong_claims_is_refused_and_complained_about(
    changes: dict[str, Any], problem: str
) -> None:
    key, public = key_pair()
    server = AuthServer(client_jwks=public)
    response = await assert_client(open_program(server), assertion(server, key, **changes))
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    [text] = server.complaints
    assert text.startswith(f"token: client_assertion: {problem}")


async def test_an_assertion_is_good_once_and_only_as_what_it_is() -> None:
    key, public = key_pair()
    server = AuthServer(client_jwks=public)
    program = open_program(server)
    text = assertion(server, key)
    assert (await assert_client(program, text)).status_code == 200
    assert (await assert_client(program, text)).status_code == 401
    assert "token: client_assertion: jti was used before" in server.complaints
    for changes, problem in (
        ({"client_assertion_type": "jwt"}, "client_assertion_type must be"),
        ({"client_id": "another"}, "client_id is another one's"),
    ):
        server.complaints.clear()
        assert (await assert_client(program, assertion(server, key), **changes)).status_code == 401
        assert problem in server.complaints[0]


@pytest.mark.parametrize("text", ["nonsense", "a.b.c", "bnVsbA.bnVsbA.x"])
async def test_what_is_no_assertion_is_refused(text: str) -> None:
    pytest.importorskip("joserfc")
    server = AuthServer(client_secret=SECRET)
    assert (await assert_client(open_program(server), text)).status_code == 401


async def test_an_assertion_of_another_key_or_of_none_is_refused() -> None:
    key, public = key_pair()
    other, _ = key_pair()
    server = AuthServer(client_jwks={"keys": [public, {**public, "kid": "old"}]})
    program = open_program(server)
    assert (await assert_client(program, assertion(server, other))).status_code == 401
    parts = assertion(server, key).split(".")
    none = base64.urlsafe_b64encode(b'{"alg": "none"}').rstrip(b"=").decode()
    assert (await assert_client(program, f"{none}.{parts[1]}.")).status_code == 401
    keyed = base64.urlsafe_b64encode(b'{"alg": "ES256"}').rstrip(b"=").decode()
    assert (await assert_client(program, f"{keyed}.{parts[1]}.{parts[2]}")).status_code == 401
    assert len(server.complaints) == 3
    public_only = AuthServer()
    signed = assertion(public_only, key)
    assert (await assert_client(open_program(public_only), signed)).status_code == 401


# --- registration --------------------------------------------------------------------------


async def register(program: Program, **metadata: Any) -> Any:
    return await program.http.post(program.server.endpoint("register"), json=metadata)


async def test_a_client_registers_and_logs_in_until_it_is_forgotten() -> None:
    server = AuthServer()
    server.approve()
    program = open_program(server)
    native = {"application_type": "native", "token_endpoint_auth_method": "none"}
    response = await register(program, redirect_uris=[REDIRECT], client_name="n", **native)
    assert response.status_code == 201
    client = response.json()
    assert client["client_name"] == "n"
    assert "client_secret" not in client
    client_id = client["client_id"]
    callback = await program.callback(client_id=client_id, scope="notes")
    form = program.code_form(callback["code"], client_id=client_id)
    assert (await program.token(form)).status_code == 200
    server.check()
    server.forget_clients()
    assert (await program.authorize(client_id=client_id)).status_code == 400
    again = await register(program, redirect_uris=[REDIRECT])
    assert again.json()["client_id"] != client_id


async def test_a_client_that_says_no_method_gets_a_secret() -> None:
    server = AuthServer()
    program = open_program(server)
    client = (await register(program, redirect_uris=[REDIRECT])).json()
    assert server.complaints == [
        "register: with a redirect URI of loopback, application_type must be native"
    ]
    server.complaints.clear()
    web = await register(program, redirect_uris=["https://app.example/cb"])
    assert web.status_code == 201
    server.check()
    assert client["client_secret_expires_at"] == 0
    header = basic(client["client_id"], client["client_secret"])
    assert (await program.token(CREDENTIALS, headers=header)).status_code == 200
    server.lie(registration={"client_secret_expires_at": None})
    other = (await register(program, grant_types=["client_credentials"])).json()
    assert "client_secret_expires_at" not in other


async def test_a_client_registers_its_keys() -> None:
    key, public = key_pair()
    server = AuthServer()
    program = open_program(server)
    metadata = {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [public]}}
    client = (await register(program, redirect_uris=[REDIRECT], **metadata)).json()
    names = {"iss": client["client_id"], "sub": client["client_id"]}
    response = await assert_client(program, assertion(server, key, **names))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({}, "redirect_uris is missing"),
        ({"redirect_uris": "http://127.0.0.1/"}, "redirect_uris must be a list"),
        ({"jwks": {}, "jwks_uri": "https://x.example"}, "jwks and jwks_uri exclude"),
    ],
)
async def test_a_registration_that_makes_no_sense_is_complained_about(
    metadata: dict[str, Any], problem: str
) -> None:
    server = AuthServer()
    response = await register(open_program(server), **metadata)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_client_metadata")
    assert problem in server.complaints[0]


async def test_a_registration_must_be_a_json_object() -> None:
    server = AuthServer()
    program = open_program(server)
    url = server.endpoint("register")
    for content in (b"nonsense", b"[]"):
        assert (await program.http.post(url, content=content)).status_code == 400
    assert (await program.get(url)).status_code == 405
    assert server.complaints == ["register: the body must be a JSON object"] * 2


# --- client id metadata documents ----------------------------------------------------------


async def test_a_client_id_that_is_a_url_is_known_by_its_document() -> None:
    server = AuthServer()
    server.approve()
    program = open_program(server)
    url = "https://app.example/client.json"
    server.publish_client({"client_id": url, "redirect_uris": ["http://127.0.0.1/callback"]})
    assert "code" in await program.callback(client_id=url, scope="notes")
    server.check()
    elsewhere = await program.authorize(client_id=url, redirect_uri="http://127.0.0.1:1/x")
    assert elsewhere.status_code == 400
    with pytest.raises(TypeError, match="must have its URL as client_id"):
        server.publish_client({})
