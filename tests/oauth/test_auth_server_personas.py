"""AuthServer as other servers: each quirk that a program has to cope with is a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import trio

from trioauth.testing import AuthServer
from trioauth.testing._personas import NAMES

from .program import Program, claims_of, open_program
from .test_auth_server_devices import poll_after, start

if TYPE_CHECKING:
    from trio.testing import MockClock

JSON = {"Accept": "application/json"}
LOCAL = "http://localhost:8000/callback"


def server_like(name: str, **options: Any) -> AuthServer:
    server = AuthServer(persona=name, redirect_uris=(LOCAL,), **options)
    server.approve()
    return server


async def log_in(program: Program, **changes: str | None) -> dict[str, Any]:
    return await program.log_in(**{"scope": "notes", "redirect_uri": LOCAL, **changes})


def refresh_form(secret: str) -> dict[str, str]:
    return {"grant_type": "refresh_token", "client_id": "client", "refresh_token": secret}


@pytest.mark.parametrize("name", NAMES)
async def test_each_persona_lets_a_person_log_in_and_the_program_use_its_api(name: str) -> None:
    server = server_like(name)
    program = open_program(server)
    tokens = await log_in(program, audience="https://api.example.com")
    response = await program.get("/notes", tokens["access_token"])
    assert response.status_code == 200
    assert server.complaints == []
    assert server.persona.name == name


@pytest.mark.parametrize("name", NAMES)
async def test_each_endpoint_of_a_persona_is_found_by_its_url(name: str) -> None:
    server = server_like(name)
    program = open_program(server)
    for endpoint in server.persona.endpoints:
        before = server.ledger.calls[endpoint]
        server.answer(418, b"", at=endpoint)
        assert (await program.get(server.endpoint(endpoint))).status_code == 418
        assert server.ledger.calls[endpoint] == before + 1


@pytest.mark.parametrize(
    ("name", "without", "how"),
    [
        ("google", {}, {"access_type": "offline"}),
        ("entra", {}, {"scope": "notes offline_access"}),
        ("okta", {}, {"scope": "notes offline_access"}),
        ("auth0", {}, {"scope": "notes offline_access"}),
        ("authentik", {}, {"scope": "notes offline_access"}),
        ("dex", {}, {"scope": "notes offline_access"}),
        ("dropbox", {}, {"token_access_type": "offline"}),
        ("salesforce", {}, {"scope": "notes refresh_token"}),
        ("keycloak", None, {}),
        ("github", None, {}),
        ("cognito", None, {}),
        ("slack", None, {}),
        ("gitlab", None, {}),
        ("gitea", None, {}),
        ("github-oauth-app", {}, None),
    ],
)
async def test_a_refresh_token_comes_to_those_who_ask_as_the_provider_wants(
    name: str, without: dict[str, str] | None, how: dict[str, str] | None
) -> None:
    if without is not None:
        assert "refresh_token" not in await log_in(open_program(server_like(name)), **without)
    if how is not None:
        assert "refresh_token" in await log_in(open_program(server_like(name)), **how)


async def test_google_gives_a_second_refresh_token_only_after_a_second_consent() -> None:
    program = open_program(server_like("google"))
    assert "refresh_token" in await log_in(program, access_type="offline")
    assert "refresh_token" not in await log_in(program, access_type="offline")
    asked = await log_in(program, access_type="offline", prompt="consent")
    assert "refresh_token" in asked


async def test_google_has_its_own_name_and_statuses_for_devices(autojump_clock: MockClock) -> None:
    server = AuthServer(persona="google")
    program = open_program(server)
    assert server.endpoint("device") == "https://oauth2.googleapis.com/device/code"
    device = await start(program)
    assert device["verification_url"] == "https://www.google.com/device"
    assert "verification_uri" not in device
    assert "verification_uri_complete" not in device
    assert (await poll_after(program, 5, device))["status"] == 428
    server.deny()
    refused = await poll_after(program, 5, device)
    assert (refused["status"], refused["error"]) == (403, "access_denied")


async def test_entra_names_another_issuer_than_it_was_asked_for() -> None:
    server = server_like("entra")
    program = open_program(server)
    assert server.issuer == "https://login.microsoftonline.com/common/v2.0"
    metadata = (await program.get(f"{server.issuer}/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == "https://login.microsoftonline.com/{tenantid}/v2.0"
    assert "code_challenge_methods_supported" not in metadata
    assert "iss" not in await program.callback(redirect_uri=LOCAL, scope="notes")
    assert "code" in await program.callback(redirect_uri="http://localhost:1/callback")


async def test_the_id_token_of_entra_names_its_tenant() -> None:
    pytest.importorskip("joserfc")
    tokens = await log_in(open_program(server_like("entra")), scope="openid")
    claims = claims_of(tokens["id_token"])
    assert claims["iss"] == f"https://login.microsoftonline.com/{claims['tid']}/v2.0"


async def test_entra_has_its_own_errors_for_devices(autojump_clock: MockClock) -> None:
    server = AuthServer(persona="entra")
    program = open_program(server)
    device = await start(program)
    assert device["interval"] == "5"
    assert "message" in device
    unknown = (await program.poll("unknown")).json()
    assert unknown["error"] == "bad_verification_code"
    server.deny()
    assert (await poll_after(program, 5, device))["error"] == "authorization_declined"


async def test_github_answers_in_forms_and_with_200_whatever_is_wrong() -> None:
    server = server_like("github")
    program = open_program(server)
    form = refresh_form("never issued")
    response = await program.token(form)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/x-www-form-urlencoded")
    assert dict(parse_qsl(response.text))["error"] == "bad_refresh_token"
    in_json = await program.token(form, headers=JSON)
    assert in_json.json()["error"] == "bad_refresh_token"
    wrong = await program.token(program.code_form("unknown"), headers=JSON)
    assert wrong.json()["error"] == "bad_verification_code"
    another = await program.token({**form, "client_id": "another"}, headers=JSON)
    assert (another.status_code, another.json()["error"]) == (200, "incorrect_client_credentials")
    tokens = await log_in(program, scope="repo gist openid")
    assert "id_token" not in tokens
    assert (tokens["scope"], tokens["token_type"]) == ("repo,gist,openid", "bearer")
    assert tokens["expires_in"] == 28800
    metadata = await program.get(f"{server.issuer}/.well-known/openid-configuration")
    assert metadata.status_code == 404


async def test_github_punishes_early_polls_after_the_approval_too(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona="github", client_secret="s")
    program = open_program(server)
    # Without its secret, which is not for devices.
    response = await program.http.post(
        server.endpoint("device"), data={"client_id": "client"}, headers=JSON
    )
    device = response.json()
    assert device["verification_uri"] == "https://github.com/login/device"
    server.approve()
    answers: list[dict[str, str]] = []
    for seconds in (1, 9, 15):
        await trio.sleep(seconds)
        answers.append(dict(parse_qsl((await program.poll(device["device_code"])).text)))
    assert [answer.get("error") for answer in answers] == ["slow_down", "slow_down", None]
    assert [answer.get("interval") for answer in answers[:2]] == ["10", "15"]
    refresh = refresh_form(answers[2]["refresh_token"])
    assert "error" in (await program.token(refresh)).text


async def test_auth0_has_a_slash_in_its_issuer_and_wants_an_audience() -> None:
    server = server_like("auth0")
    program = open_program(server)
    metadata = (await program.get("/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == "https://tenant.auth0.com/"
    assert metadata["jwks_uri"] == "https://tenant.auth0.com/.well-known/jwks.json"
    opaque = await log_in(program)
    assert (await program.get("/", opaque["access_token"])).status_code == 401
    meant = await log_in(program, audience="https://api.example.com")
    assert (await program.get("/", meant["access_token"])).status_code == 200


async def test_okta_forgives_a_repeat_for_half_a_minute(autojump_clock: MockClock) -> None:
    server = server_like("okta")
    program = open_program(server)
    tokens = await log_in(program, scope="notes offline_access")
    form = refresh_form(tokens["refresh_token"])
    first = (await program.token(form)).json()
    await trio.sleep(29)
    assert (await program.token(form)).json() == first
    await trio.sleep(2)
    assert (await program.token(form)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("name", ["cognito", "okta", "auth0", "slack", "dropbox", "salesforce"])
async def test_some_want_the_redirect_uri_to_the_letter(name: str) -> None:
    program = open_program(server_like(name))
    other_port = await program.authorize(redirect_uri="http://localhost:8001/callback")
    assert other_port.status_code == 400
    assert (await program.authorize(redirect_uri=LOCAL)).status_code == 302


@pytest.mark.parametrize("name", ["gitlab", "gitea"])
async def test_some_let_the_port_of_an_ip_address_be_any(name: str) -> None:
    server = AuthServer(persona=name, redirect_uris=("http://127.0.0.1/callback",))
    server.approve()
    program = open_program(server)
    assert (await program.authorize(redirect_uri="http://127.0.0.1:9/callback")).status_code == 302
    assert (await program.authorize(redirect_uri="http://localhost:9/callback")).status_code == 400


async def test_slack_says_whether_it_is_ok_and_has_a_token_type_of_its_own() -> None:
    server = server_like("slack")
    program = open_program(server)
    tokens = await log_in(program, scope="chat:write users:read")
    assert (tokens["ok"], tokens["token_type"]) == (True, "bot")
    assert tokens["scope"] == "chat:write,users:read"
    response = await program.token(refresh_form("never issued"))
    assert response.status_code == 200
    assert response.json()["ok"] is False
    assert response.json()["error"] == "invalid_refresh_token"


@pytest.mark.parametrize(
    ("name", "member"),
    [("gitlab", "created_at"), ("salesforce", "instance_url"), ("salesforce", "issued_at")],
)
async def test_some_say_more_than_they_have_to(name: str, member: str) -> None:
    assert member in await log_in(open_program(server_like(name)))


async def test_salesforce_does_not_say_how_long_its_tokens_live() -> None:
    assert "expires_in" not in await log_in(open_program(server_like("salesforce")))


@pytest.mark.parametrize("name", ["google", "dropbox", "salesforce", "cognito"])
async def test_some_never_rotate(name: str) -> None:
    server = server_like(name)
    program = open_program(server)
    parameters = {"access_type": "offline", "token_access_type": "offline"}
    tokens = await log_in(program, scope="refresh_token", **parameters)
    for _ in range(2):
        refreshed = (await program.token(refresh_form(tokens["refresh_token"]))).json()
        assert "refresh_token" not in refreshed
        assert "access_token" in refreshed


@pytest.mark.parametrize("name", ["entra", "keycloak", "gitea"])
async def test_some_rotate_and_let_the_old_refresh_token_live(name: str) -> None:
    server = server_like(name)
    program = open_program(server)
    old = (await log_in(program, scope="notes offline_access"))["refresh_token"]
    for _ in range(2):
        new = (await program.token(refresh_form(old))).json()["refresh_token"]
        assert new != old
        assert (await program.token(refresh_form(new))).status_code == 200
    assert server.ledger.reused == 0


async def test_github_ends_the_old_access_token_with_the_refresh() -> None:
    program = open_program(server_like("github"))
    tokens, others = await log_in(program), await log_in(program)
    assert (await program.get("/", tokens["access_token"])).status_code == 200
    form = refresh_form(tokens["refresh_token"])
    refreshed = (await program.token(form, headers=JSON)).json()
    assert (await program.get("/", tokens["access_token"])).status_code == 401
    assert (await program.get("/", refreshed["access_token"])).status_code == 200
    assert (await program.get("/", others["access_token"])).status_code == 200


async def test_what_is_said_of_a_server_goes_before_what_its_persona_has() -> None:
    server = AuthServer(persona="okta", lifetime=60, rotate=False, reuse_grace=0)
    assert (server.lifetime, server.rotate, server.reuse_grace) == (60, False, 0)
    default = AuthServer(persona="okta")
    assert (default.lifetime, default.rotate, default.reuse_grace) == (3600, True, 30)


async def test_on_a_socket_a_persona_has_its_paths_on_loopback() -> None:
    server = AuthServer(persona="entra")
    async with server.serve() as url, httpx.AsyncClient(trust_env=False) as http:
        assert server.issuer == f"{url}/common/v2.0"
        response = await http.get(f"{server.issuer}/.well-known/openid-configuration")
        metadata = response.json()
        assert metadata["issuer"] == f"{url}/{{tenantid}}/v2.0"
        assert metadata["token_endpoint"] == f"{url}/common/oauth2/v2.0/token"
        assert urlsplit(metadata["token_endpoint"]).netloc == urlsplit(url).netloc
        prm = await http.get(f"{url}/.well-known/oauth-protected-resource/notes")
        assert prm.json()["resource"] == f"{url}/notes"
    assert server.issuer == "https://login.microsoftonline.com/common/v2.0"


async def test_a_person_follows_the_redirect_to_a_real_port() -> None:
    server = AuthServer()
    server.approve()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    heard: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        heard.append(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    program, person = open_program(server), server.person(follows=True)
    url = program.url(scope="notes", redirect_uri=f"http://127.0.0.1:{port}/callback")

    class Shown:
        kind = "browser"
        user_code = None

        def __init__(self) -> None:
            self.url = url

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        assert await person(Shown()) is None
        nursery.cancel_scope.cancel()
    assert person.page == "done"
    assert heard[0].startswith(b"GET /callback?code=")
