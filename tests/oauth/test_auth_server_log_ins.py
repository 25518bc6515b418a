"""AuthServer where people log in: authorization, PKCE, pushed requests, approval and complaints."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioauth.testing import AuthServer, Persona

from .program import REDIRECT, Program, open_program, parameters_of


@pytest.fixture
def server() -> AuthServer:
    # Without openid there is no ID token, and so no need of joserfc.
    return AuthServer(lifetime=600)


async def log_in(program: Program, **changes: str | None) -> dict[str, Any]:
    return await program.log_in(**{"scope": "notes", **changes})


async def test_a_program_that_does_all_right_logs_in_without_a_complaint(
    server: AuthServer,
) -> None:
    server.approve()
    program = open_program(server)
    callback = await program.callback(scope="notes read")
    assert callback["state"] == program.state
    assert callback["iss"] == server.issuer
    assert "canary" in callback["code"]
    response = await program.token(program.code_form(callback["code"]))
    tokens = response.json()
    assert tokens["scope"] == "notes read"
    assert "id_token" not in tokens
    assert (await program.get("/notes", tokens["access_token"])).json()["login"] == 1
    refreshed = await program.token(
        {
            "grant_type": "refresh_token",
            "refresh_token": tokens["refresh_token"],
            "client_id": "client",
            "scope": "read",
        }
    )
    assert refreshed.json()["refresh_token"] != tokens["refresh_token"]
    assert server.complaints == []
    server.check()
    assert server.ledger.calls == {"authorize": 1, "token": 2}


async def test_the_client_is_answered_only_when_the_person_has_decided(server: AuthServer) -> None:
    program = open_program(server)
    callbacks: list[dict[str, str]] = []

    async def ask() -> None:
        callbacks.append(await program.callback(scope="notes"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert callbacks == []
        server.approve()
    assert all("code" in callback for callback in callbacks)
    assert len(callbacks) == 2
    server.deny()
    callback = await program.callback(scope="notes")
    assert callback["error"] == "access_denied"
    assert callback["state"] == program.state


async def test_prompt_none_does_not_wait_for_a_person(server: AuthServer) -> None:
    program = open_program(server)
    assert (await program.callback(prompt="none"))["error"] == "login_required"
    server.approve()
    assert "code" in await program.callback(prompt="none")
    both = await program.callback(prompt="none login")
    assert both["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "page"),
    [
        ({"client_id": "another"}, "client_id is unknown"),
        ({"redirect_uri": "https://evil.example/callback"}, "redirect_uri is not registered"),
        ({"redirect_uri": None}, "redirect_uri is not registered"),
        ({"redirect_uri": "http://127.0.0.1:7000/callback#x"}, "redirect_uri is not registered"),
        ({"redirect_uri": "http://127.0.0.1:port/callback"}, "redirect_uri is not registered"),
        ({"redirect_uri": "http://10.0.0.1/callback"}, "redirect_uri is not registered"),
        ({"redirect_uri": "http://app.example/callback"}, "redirect_uri is not registered"),
    ],
)
async def test_an_unknown_client_or_redirect_uri_shows_a_page_and_redirects_nowhere(
    server: AuthServer, changes: dict[str, str | None], page: str
) -> None:
    response = await open_program(server).authorize(**changes)
    assert response.status_code == 400
    assert page in response.text
    assert "location" not in response.headers
    assert server.complaints == [f"authorize: {page}"]


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"response_type": "token"}, "unsupported_response_type", "response_type must be code"),
        ({"request": "eyJ"}, "request_not_supported", "request is not supported"),
        ({"code_challenge": None}, "invalid_request", "code_challenge is missing"),
        ({"code_challenge_method": "plain"}, "invalid_request", "code_challenge_method must be"),
        ({"code_challenge_method": None}, "invalid_request", "code_challenge_method must be"),
        ({"code_challenge": "short"}, "invalid_request", "code_challenge must be a SHA-256"),
        ({"prompt": "none", "max_age": "0"}, "invalid_request", "prompt=none goes with"),
        ({"claims": "[]"}, "invalid_request", "claims must be a JSON object"),
        ({"claims": "{"}, "invalid_request", "claims must be a JSON object"),
    ],
)
async def test_what_else_is_wrong_the_client_is_told_by_redirect(
    server: AuthServer, changes: dict[str, str | None], error: str, complaint: str
) -> None:
    callback = await open_program(server).callback(**changes)
    assert callback["error"] == error
    assert complaint in callback["error_description"]
    [text] = server.complaints
    assert complaint in text
    with pytest.raises(AssertionError, match="the server complains:\n  authorize: "):
        server.check()


async def test_a_scope_that_the_server_does_not_have_is_refused() -> None:
    server = AuthServer(scope="notes")
    program = open_program(server)
    assert (await program.callback(scope="notes admin"))["error"] == "invalid_scope"
    server.approve()
    assert "code" in await program.callback(scope="notes offline_access")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"state": None}, "state is missing"),
        ({"state": "s" * 129}, "state must be up to 128 characters"),
        ({"nonce": "two words"}, "nonce must be up to 43 characters"),
        ({"access_token": "x"}, "access_token is in the URL"),
        ({"client_secret": "x"}, "client_secret is in the URL"),
    ],
)
async def test_bad_manners_are_let_pass_and_complained_about(
    server: AuthServer, changes: dict[str, str | None], complaint: str
) -> None:
    server.approve()
    assert "code" in await open_program(server).callback(scope="notes", **changes)
    [text] = server.complaints
    assert complaint in text


async def test_what_must_be_new_each_time_is_complained_about_when_it_is_not(
    server: AuthServer,
) -> None:
    server.approve()
    program = open_program(server)
    url = program.url(scope="notes")
    for _ in range(2):
        await program.http.get(url)
    assert server.complaints == [
        f"{name} was used before; it must be new each time"
        for name in ("code_challenge", "state", "nonce")
    ]


async def test_a_repeated_parameter_is_refused_but_for_resource(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    url = program.url(scope="notes")
    assert (await program.http.get(f"{url}&scope=more")).status_code == 400
    assert server.complaints == ["authorize: a parameter occurs twice"]
    twice = program.url(scope="notes", resource="https://a.example")
    assert (await program.http.get(f"{twice}&resource=https://b.example")).status_code == 302


async def test_the_request_may_come_as_a_form_and_in_no_other_way(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    url = server.endpoint("authorize")
    response = await program.http.post(url, data=program.request(scope="notes"))
    assert "code=" in response.headers["location"]
    assert (await program.http.put(url)).status_code == 405


# --- redirect URIs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirects", "registered", "asked", "fits"),
    [
        ("loopback", (), "http://127.0.0.1:1/x", True),
        ("loopback", (), "http://[::1]:1/x", True),
        ("loopback", (), "http://localhost:1/x", True),
        ("loopback", (), "https://127.0.0.1:1/x", False),
        ("loopback", ("http://127.0.0.1/cb",), "http://127.0.0.1:9/cb", True),
        ("loopback", ("http://127.0.0.1/cb",), "http://127.0.0.1:9/other", False),
        ("loopback", ("http://127.0.0.1/cb",), "http://localhost:9/cb", False),
        ("loopback", ("https://app.example/cb",), "https://app.example/cb", True),
        ("loopback", ("https://app.example/cb",), "https://app.example/cb/", False),
        ("ip", ("http://[::1]/cb",), "http://[::1]:9/cb", True),
        ("ip", ("http://localhost/cb",), "http://localhost:9/cb", False),
        ("localhost", ("http://localhost/cb",), "http://localhost:9/cb", True),
        ("localhost", ("http://127.0.0.1/cb",), "http://127.0.0.1:9/cb", False),
        ("exact", ("http://localhost:8000/cb",), "http://localhost:8000/cb", True),
        ("exact", ("http://localhost:8000/cb",), "http://localhost:8001/cb", False),
        ("exact", (), "http://localhost:8000/cb", False),
    ],
)
async def test_a_redirect_uri_fits_as_the_profile_says(
    redirects: Any, registered: tuple[str, ...], asked: str, fits: bool
) -> None:
    server = AuthServer(persona=Persona(redirects=redirects), redirect_uris=registered)
    server.approve()
    response = await open_program(server).authorize(redirect_uri=asked, scope="notes")
    assert (response.status_code == 302) == fits
    assert not fits or response.headers["location"].startswith(f"{asked}?code=")


def test_one_redirect_uri_is_given_in_a_list() -> None:
    with pytest.raises(TypeError, match=r"redirect_uris must be several, as in \[uri\]"):
        AuthServer(redirect_uris=REDIRECT)


async def test_the_query_of_a_redirect_uri_stays() -> None:
    uri = "https://app.example/cb?tenant=1"
    server = AuthServer(redirect_uris=(uri,))
    server.approve()
    response = await open_program(server).authorize(redirect_uri=uri, scope="notes")
    assert response.headers["location"].startswith(f"{uri}&code=")


# --- codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"code": "another"}, "code is unknown"),
        ({"redirect_uri": None}, "redirect_uri must be the one"),
        ({"redirect_uri": REDIRECT + "/"}, "redirect_uri must be the one"),
        ({"code_verifier": None}, "code_verifier must be 43 to 128"),
        ({"code_verifier": "v" * 129}, "code_verifier must be 43 to 128"),
        ({"code_verifier": "v" * 43}, "code_verifier does not fit"),
    ],
)
async def test_a_code_needs_what_belongs_to_it(
    server: AuthServer, changes: dict[str, str | None], complaint: str
) -> None:
    server.approve()
    program = open_program(server)
    code = (await program.callback(scope="notes"))["code"]
    response = await program.token(program.code_form(code, **changes))
    assert response.json()["error"] == "invalid_grant"
    [text] = server.complaints
    assert text.startswith(f"token: {complaint}")


async def test_a_code_is_good_once_and_its_second_use_ends_the_login(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    form = program.code_form((await program.callback(scope="notes"))["code"])
    first = (await program.token(form)).json()
    assert (await program.get("/", first["access_token"])).status_code == 200
    assert (await program.token(form)).json()["error"] == "invalid_grant"
    assert (await program.get("/", first["access_token"])).status_code == 401
    assert server.complaints == ["token: code was used before"]


async def test_a_code_is_good_for_a_minute(server: AuthServer, autojump_clock: MockClock) -> None:
    server.approve()
    program = open_program(server)
    form = program.code_form((await program.callback(scope="notes"))["code"])
    await trio.sleep(60)
    assert (await program.token(form)).json()["error"] == "invalid_grant"
    assert server.complaints == ["token: code has expired"]


async def test_a_code_is_no_good_to_another_client(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    server.publish_client({"client_id": "https://app.example/client", "redirect_uris": [REDIRECT]})
    code = (await program.callback(scope="notes"))["code"]
    form = program.code_form(code, client_id="https://app.example/client")
    assert (await program.token(form)).json()["error"] == "invalid_grant"
    assert server.complaints == ["token: code was given to another client"]


async def test_a_code_in_the_url_of_the_token_request_is_complained_about(
    server: AuthServer,
) -> None:
    server.approve()
    program = open_program(server)
    form = program.code_form((await program.callback(scope="notes"))["code"])
    response = await program.http.post(server.token_url, params={"code": "x"}, data=form)
    assert response.status_code == 200
    assert server.complaints == ["token: code is in the URL; it must be in the body or a header"]


async def test_a_refresh_may_ask_for_no_more_than_was_granted(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    tokens = await log_in(program)
    form = {"grant_type": "refresh_token", "client_id": "client", "scope": "notes admin"}
    response = await program.token({**form, "refresh_token": tokens["refresh_token"]})
    assert response.json()["error"] == "invalid_scope"
    unknown = await program.token({**form, "refresh_token": "never issued", "scope": ""})
    assert unknown.json()["error"] == "invalid_grant"


async def test_tokens_are_for_the_resources_that_were_named(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    form = program.code_form(
        (await program.callback(scope="notes", resource="https://a.example"))["code"]
    )
    elsewhere = await program.token({**form, "resource": "https://b.example"})
    assert elsewhere.json()["error"] == "invalid_target"
    tokens = (await program.token({**form, "resource": "https://a.example"})).json()
    refresh = {
        "grant_type": "refresh_token",
        "client_id": "client",
        "refresh_token": tokens["refresh_token"],
    }
    wider = await program.token({**refresh, "resource": "https://b.example"})
    assert wider.json()["error"] == "invalid_target"
    assert (await program.token(refresh)).status_code == 200
    server.check()


# --- pushed requests -----------------------------------------------------------------------


async def push(program: Program, **changes: str | None) -> dict[str, Any]:
    form = program.request(scope="notes", **changes)
    response = await program.http.post(program.server.endpoint("par"), data=form)
    answer: dict[str, Any] = {"status": response.status_code, **response.json()}
    return answer


async def pull(program: Program, uri: str, **more: str) -> Any:
    query = urlencode({"client_id": "client", "request_uri": uri, **more})
    return await program.http.get(f"{program.server.endpoint('authorize')}?{query}")


async def test_a_pushed_request_is_good_once() -> None:
    server = AuthServer(persona=Persona(requires_par=True))
    server.approve()
    program = open_program(server)
    pushed = await push(program)
    assert (pushed["status"], pushed["expires_in"]) == (201, 60)
    response = await pull(program, pushed["request_uri"])
    callback = parameters_of(response.headers["location"])
    assert (await program.token(program.code_form(callback["code"]))).status_code == 200
    assert server.complaints == []
    assert (await pull(program, pushed["request_uri"])).status_code == 400
    assert server.complaints.pop().startswith("authorize: request_uri is unknown, used")
    assert (await program.authorize(scope="notes")).status_code == 400
    assert server.complaints == ["authorize: the request must be pushed (RFC 9126)"]


async def test_a_pushed_request_expires_after_a_minute(
    server: AuthServer, autojump_clock: MockClock
) -> None:
    server.approve()
    program = open_program(server)
    pushed = await push(program)
    await trio.sleep(60)
    assert (await pull(program, pushed["request_uri"])).status_code == 400


async def test_a_pushed_request_takes_nothing_beside_it(server: AuthServer) -> None:
    server.approve()
    program = open_program(server)
    pushed = await push(program)
    response = await pull(program, pushed["request_uri"], scope="more")
    assert response.status_code == 302
    assert server.complaints == ["authorize: with request_uri, client_id is all that may be sent"]


async def test_a_pushed_request_is_no_good_to_another_client(server: AuthServer) -> None:
    server.approve()
    other = "https://app.example/client"
    server.publish_client({"client_id": other, "redirect_uris": [REDIRECT]})
    program = open_program(server)
    pushed = await push(program)
    query = urlencode({"client_id": other, "request_uri": pushed["request_uri"]})
    response = await program.http.get(f"{server.endpoint('authorize')}?{query}")
    assert response.status_code == 400


async def test_what_would_be_refused_is_refused_when_it_is_pushed(server: AuthServer) -> None:
    program = open_program(server)
    assert (await push(program, code_challenge=None))["error"] == "invalid_request"
    assert (await push(program, request_uri="urn:x"))["error"] == "invalid_request"
    assert (await push(program, client_id="another"))["error"] == "invalid_client"
    assert len(server.complaints) == 3


# --- the person's prompt -------------------------------------------------------------------


class Shown:
    """An invitation to log in."""

    def __init__(self, kind: str, url: str, user_code: str | None = None) -> None:
        self.kind, self.url, self.user_code = kind, url, user_code


async def test_a_person_pastes_where_they_were_sent(server: AuthServer) -> None:
    program, person = open_program(server), server.person()
    server.approve()
    pasted = await person(Shown("browser", program.url(scope="notes")))
    assert pasted is not None
    assert pasted.startswith(REDIRECT)
    assert parameters_of(pasted)["state"] == program.state
    assert person.page is None


async def test_a_cancelled_person_closes_the_browser_and_the_log_in_stays_undecided(
    server: AuthServer,
) -> None:
    program, person = open_program(server), server.person()
    shown = Shown("browser", program.url(scope="notes"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(person, shown)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert person.page is None
    server.approve()
    # No code was made for the browser that is closed.
    assert server._exchange.codes._codes == {}
    assert await person(Shown("browser", program.url(scope="notes"))) is not None
    assert len(server._exchange.codes._codes) == 1


async def test_a_person_sees_what_is_wrong(server: AuthServer) -> None:
    program, person = open_program(server), server.person()
    assert await person(Shown("browser", program.url(client_id="another"))) is None
    assert person.page is not None
    assert "client_id is unknown" in person.page
    server.down(None)
    assert await person(Shown("browser", program.url())) is None
    assert person.page == "the server can't be reached"
