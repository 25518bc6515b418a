"""AuthServer says where things are, is told to misbehave there, and knows two further grants."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from trioauth.testing import AuthServer, Persona

from .program import DEVICE_GRANT, Program, open_program

if TYPE_CHECKING:
    from trio.testing import MockClock

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize(
    ("issuer_path", "there", "elsewhere"),
    [
        ("", (OAUTH, OIDC), (OIDC + "/tenant",)),
        ("/", (OAUTH, OAUTH + "/", OIDC), ()),
        (
            "/tenant",
            (OAUTH + "/tenant", OIDC + "/tenant", "/tenant" + OIDC),
            (OAUTH, OIDC, "/tenant" + OAUTH, OAUTH + "/tenant/"),
        ),
        ("/tenant/", (OAUTH + "/tenant/", OAUTH + "/tenant", "/tenant" + OIDC), (OAUTH,)),
    ],
)
async def test_the_metadata_is_where_the_issuer_says(
    issuer_path: str, there: tuple[str, ...], elsewhere: tuple[str, ...]
) -> None:
    server = AuthServer(persona=Persona(issuer_path=issuer_path), scope="notes")
    program = open_program(server)
    assert server.issuer == f"https://server.test{issuer_path}"
    for path in there:
        metadata = (await program.get(path)).json()
        assert metadata["issuer"] == server.issuer
        assert metadata["token_endpoint"] == server.token_url
        assert metadata["code_challenge_methods_supported"] == ["S256"]
        assert metadata["scopes_supported"] == ["notes"]
        assert DEVICE_GRANT in metadata["grant_types_supported"]
    for path in elsewhere:
        assert (await program.get(path)).status_code == 404


async def test_the_issuer_is_what_a_test_wants_it_to_be() -> None:
    for persona in ("plain", "google"):
        server = AuthServer(issuer="https://id.example.com/notes", persona=persona)
        program = open_program(server)
        assert server.issuer == "https://id.example.com/notes"
        there = "https://id.example.com/notes/.well-known/openid-configuration"
        metadata = (await program.get(there)).json()
        assert metadata["issuer"] == server.issuer
        assert metadata["token_endpoint"] == server.token_url


async def test_on_a_socket_the_path_of_the_issuer_alone_counts() -> None:
    server = AuthServer(issuer="https://id.example.com/notes")
    async with server.serve() as url:
        assert server.issuer == f"{url}/notes"
    assert server.issuer == "https://id.example.com/notes"


@pytest.mark.parametrize(
    "issuer", ["http://id.example.com", "id.example.com", "https://i.example/?a"]
)
def test_an_issuer_that_no_client_takes_is_refused(issuer: str) -> None:
    with pytest.raises(ValueError, match="^issuer"):
        AuthServer(issuer=issuer)


async def test_a_server_may_have_one_form_of_metadata_alone() -> None:
    program = open_program(AuthServer(persona=Persona(well_known=("oauth-authorization-server",))))
    assert (await program.get(OAUTH)).status_code == 200
    assert "scopes_supported" not in (await program.get(OAUTH)).json()
    assert (await program.get(OIDC)).status_code == 404


async def test_the_metadata_lies_as_ordered() -> None:
    server = AuthServer()
    server.lie(metadata={"issuer": "https://another.example", "jwks_uri": None})
    server.lie(metadata={"issuer": lambda issuer: issuer + "/"})
    program = open_program(server)
    metadata = (await program.get(OIDC)).json()
    assert metadata["issuer"] == "https://another.example/"
    assert "jwks_uri" not in metadata
    server.recover()
    assert (await program.get(OIDC)).json()["issuer"] == server.issuer
    with pytest.raises(TypeError, match="there is no 'weather' to lie about, only metadata, "):
        server.lie(weather={"is": "fine"})  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("lie", "name", "expected"),
    [
        ({"state": lambda state: state + "1"}, "state", "another"),
        ({"iss": None}, "iss", None),
        ({"iss": "https://another.example"}, "iss", "another"),
    ],
)
async def test_the_callback_lies_as_ordered(
    lie: dict[str, Any], name: str, expected: str | None
) -> None:
    server = AuthServer()
    server.approve()
    server.lie(callback=lie)
    program = open_program(server)
    callback = await program.callback(scope="notes")
    truth = {"state": program.state, "iss": server.issuer}[name]
    assert callback.get(name) != truth
    assert (name in callback) == (expected is not None)


async def test_an_answer_with_tokens_lies_as_ordered() -> None:
    server = AuthServer()
    server.approve()
    server.lie(token={"token_type": "bEARER", "expires_in": None})
    answer = await open_program(server).log_in(scope="notes")
    assert answer["token_type"] == "bEARER"
    assert "expires_in" not in answer


# --- the API -------------------------------------------------------------------------------

RESOURCE = "/.well-known/oauth-protected-resource"


async def test_the_api_says_who_issues_its_tokens() -> None:
    server = AuthServer(persona="mcp", scope="notes")
    program = open_program(server)
    response = await program.get("https://api.example.com/notes")
    [challenge] = response.headers.get_list("www-authenticate")
    where = f"https://api.example.com{RESOURCE}/notes"
    assert challenge == f'Bearer resource_metadata="{where}"'
    assert (await program.get(where)).json() == {
        "resource": "https://api.example.com/notes",
        "authorization_servers": [server.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["notes"],
    }
    server.lie(resource={"resource": "https://another.example"})
    assert (await program.get(where)).json()["resource"] == "https://another.example"
    wrong = await program.get("/notes", "never issued")
    assert 'Bearer error="invalid_token", resource_metadata=' in wrong.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("where", "at_root", "at_path"),
    [("path", 200, 200), ("root", 200, 404), ("none", 404, 404)],
)
async def test_the_api_may_have_metadata_for_its_root_alone_or_none(
    where: Any, at_root: int, at_path: int
) -> None:
    program = open_program(AuthServer(persona=Persona(resource_metadata=where)))
    assert (await program.get(RESOURCE)).status_code == at_root
    assert (await program.get(f"{RESOURCE}/notes")).status_code == at_path
    assert (await program.get("/notes")).headers["www-authenticate"] == "Bearer"


async def test_what_a_test_ordered_for_a_path_goes_before_an_endpoint() -> None:
    server = AuthServer()
    server.api_answer(OIDC, {"mine": True})
    answer = await open_program(server).get(OIDC, server.log_in().access_token)
    assert answer.json() == {"mine": True}


# --- orders --------------------------------------------------------------------------------


async def test_orders_for_the_token_endpoint_hold_for_revocation_unless_it_has_its_own() -> None:
    server = AuthServer()
    server.fail(500)
    server.fail(502, at="revoke")
    program = open_program(server)
    form = {"client_id": "client", "token": "x"}
    statuses = [
        (await program.http.post(server.revocation_url, data=form)).status_code for _ in range(3)
    ]
    assert statuses == [502, 500, 200]


async def test_each_order_can_be_for_any_endpoint(autojump_clock: MockClock) -> None:
    server = AuthServer()
    program = open_program(server)
    server.delay(7, at="metadata")
    server.answer(200, b"<html>", at="jwks")
    server.drop_answer(at="device")
    server.hang(at="authorize")
    started = trio.current_time()
    await program.get(OIDC)
    assert trio.current_time() == started + 7
    assert (await program.get(server.endpoint("jwks"))).text == "<html>"
    with pytest.raises(httpx.RemoteProtocolError):
        await program.http.post(server.endpoint("device"), data={"client_id": "client"})
    server.approve()
    with trio.move_on_after(1000) as scope:
        await program.authorize()
    assert scope.cancelled_caught
    server.down()
    assert (await program.get(OIDC)).status_code == 503
    server.recover()
    assert (await program.get(OIDC)).status_code == 200


async def test_an_endpoint_that_the_persona_lacks_has_no_url() -> None:
    with pytest.raises(ValueError, match="the persona 'github' has no endpoint 'par'"):
        AuthServer(persona="github").endpoint("par")
    with pytest.raises(ValueError, match="there is no persona 'gogle', only plain, google, "):
        AuthServer(persona="gogle")


# --- two further grants --------------------------------------------------------------------

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


async def post(program: Program, **form: str) -> dict[str, Any]:
    response = await program.token({"client_id": "client", **form})
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_token_is_exchanged_for_another() -> None:
    server = AuthServer()
    server.approve("ann")
    program = open_program(server)
    subject = (await program.log_in(scope="notes"))["access_token"]
    answer = await post(
        program,
        grant_type=EXCHANGE,
        subject_token=subject,
        subject_token_type=ACCESS,
        scope="read",
    )
    assert answer["issued_token_type"] == ACCESS
    assert answer["scope"] == "read"
    assert "refresh_token" not in answer
    assert (await program.get("/", answer["access_token"])).json()["login"] == 2
    for token in (answer["access_token"], server.log_in().access_token):
        more = {"subject_token": token, "subject_token_type": ACCESS}
        assert "access_token" in await post(program, grant_type=EXCHANGE, **more)
    foreign = {"subject_token": "theirs", "subject_token_type": "urn:x"}
    assert "access_token" in await post(program, grant_type=EXCHANGE, **foreign)
    server.check()
    assert server._exchange.site.book.logins[1].granted.subject == "ann"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "form",
    [
        {"subject_token": "x"},
        {"subject_token": "x", "subject_token_type": "urn:x", "actor_token": "y"},
        {"subject_token": "never issued", "subject_token_type": ACCESS},
    ],
)
async def test_an_exchange_that_makes_no_sense_is_refused(form: dict[str, str]) -> None:
    server = AuthServer()
    answer = await post(open_program(server), grant_type=EXCHANGE, **form)
    assert answer["error"] == "invalid_request"


def unsigned(**changes: Any) -> str:
    claims = {
        "iss": "https://idp.example",
        "sub": "ann",
        "aud": "https://server.test",
        "exp": time.time() + 60,
        **changes,
    }
    parts = ({"alg": "none"}, {k: v for k, v in claims.items() if v is not None})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), ""])


async def test_an_assertion_is_taken_from_a_client_without_keys_as_it_is() -> None:
    server = AuthServer(scope="notes")
    program = open_program(server)
    for audience in (server.issuer, [server.token_url]):
        answer = await post(program, grant_type=JWT_BEARER, assertion=unsigned(aud=audience))
        assert answer["scope"] == "notes"
    server.check()
    once = unsigned(jti="1")
    assert "access_token" in await post(program, grant_type=JWT_BEARER, assertion=once)
    assert (await post(program, grant_type=JWT_BEARER, assertion=once))["error"] == "invalid_grant"
    more = await post(program, grant_type=JWT_BEARER, assertion=unsigned(), scope="admin")
    assert more["error"] == "invalid_scope"
    exchange = {"subject_token": "x", "subject_token_type": "urn:x", "scope": "admin"}
    assert (await post(program, grant_type=EXCHANGE, **exchange))["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("assertion", "problem"),
    [
        ("nonsense", "not a JWT"),
        (unsigned(sub=None), "iss or sub is missing"),
        (unsigned(aud="https://another.example"), "aud must be"),
        (unsigned(exp=1), "exp is missing or past"),
        (unsigned(exp=None), "exp is missing or past"),
    ],
)
async def test_an_assertion_that_does_not_hold_is_refused(assertion: str, problem: str) -> None:
    server = AuthServer()
    answer = await post(open_program(server), grant_type=JWT_BEARER, assertion=assertion)
    assert answer["error"] == "invalid_grant"
    assert problem in answer["error_description"]
    assert problem in server.complaints[0]


async def test_an_assertion_of_a_client_with_a_secret_must_be_signed_with_it() -> None:
    pytest.importorskip("joserfc")
    server = AuthServer(client_secret="s" * 32)
    form = {"grant_type": JWT_BEARER, "client_secret": "s" * 32, "assertion": unsigned()}
    assert (await post(open_program(server), **form))["error"] == "invalid_grant"
