"""AuthServer, in memory and on a real socket: the server that programs are tested with."""

import base64
import hashlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioauth import BearerRefreshGrant, MemoryStore
from trioauth._tokens import Tokens
from trioauth.testing import AuthServer, Presented, Seen


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module


Opener = Callable[..., Any]


@pytest.fixture
def open_client(library: ModuleType) -> Opener:
    """Opens a client of either library for a server in memory."""

    def opener(server: AuthServer, **options: Any) -> Any:
        transport = server.transport() if library is httpx else server.transport2()
        return library.AsyncClient(transport=transport, base_url=server.url, **options)

    return opener


def bearer(secret: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def basic(client_id: str, client_secret: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


def refresh_form(secret: str | None, **more: str) -> dict[str, str]:
    return {
        "grant_type": "refresh_token",
        "refresh_token": secret or "",
        "client_id": "client",
        **more,
    }


async def refresh(client: Any, server: AuthServer, secret: str | None, **more: str) -> Any:
    return await client.post(server.token_url, data=refresh_form(secret, **more))


def outcomes(server: AuthServer) -> list[str]:
    return [each.outcome for each in server.ledger.presented]


# --- logging in ----------------------------------------------------------------------------


async def test_each_log_in_starts_a_login_of_its_own(open_client: Opener) -> None:
    server = AuthServer(lifetime=60, scope="read  write")
    first, second = server.log_in(), server.log_in()
    assert first.access_token.startswith("at-canary-1-1-")
    assert second.refresh_token is not None
    assert second.refresh_token.startswith("rt-canary-2-1-")
    assert first.expires_in == 60
    assert first.scope == {"read", "write"}
    async with open_client(server) as client:
        answers = [
            (await client.get("/notes?x=1", headers=bearer(tokens.access_token))).json()
            for tokens in (first, second)
        ]
    assert answers == [
        {
            "generation": 1,
            "login": login,
            "method": "GET",
            "path": "/notes",
            "length": 0,
            "sha256": None,
        }
        for login in (1, 2)
    ]
    assert server.ledger.requests == {1: 2}


def test_a_token_issued_outside_trio_begins_its_life_when_it_is_first_seen() -> None:
    server = AuthServer(lifetime=10)
    tokens = server.log_in()

    async def main() -> list[int]:
        async with httpx.AsyncClient(transport=server.transport(), base_url=server.url) as client:
            statuses: list[int] = []
            for seconds in (100, 9.9, 0.2):
                await trio.sleep(seconds)
                response = await client.get("/", headers=bearer(tokens.access_token))
                statuses.append(response.status_code)
            return statuses

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == [200, 200, 401]


def test_an_order_for_less_than_no_time_names_the_parameter() -> None:
    server = AuthServer()
    with pytest.raises(ValueError, match="lifetime must be more than 0 seconds"):
        AuthServer(lifetime=0)
    with pytest.raises(ValueError, match="reuse_grace must be"):
        AuthServer(reuse_grace=-1)
    with pytest.raises(ValueError, match="seconds must be"):
        server.delay(float("nan"))
    with pytest.raises(ValueError, match="seconds must be"):
        server.api_delay(-1)
    with pytest.raises(ValueError, match="times must be at least 1"):
        server.hang(0)
    with pytest.raises(TypeError, match="either error or body"):
        server.fail(error="invalid_grant", body=b"no")
    with pytest.raises(AttributeError):
        server.lifetime = 5


async def test_no_secret_shows_in_a_repr(open_client: Opener) -> None:
    server = AuthServer(client_secret="canary-secret")
    tokens = server.log_in()
    async with open_client(server) as client:
        await refresh(client, server, tokens.refresh_token, client_secret="canary-secret")
        await client.get("/", headers=bearer(tokens.access_token))
    exchange = server._exchange
    shown = repr([server, server.ledger, server.ledger.presented, exchange, exchange.api.book])
    assert "1 refreshes, 1 refresh tokens presented (0 reused, 0 repeats), 1 requests" in shown
    assert "canary" not in shown


# --- refreshing ----------------------------------------------------------------------------


async def test_a_refresh_token_rotates(open_client: Opener, autojump_clock: MockClock) -> None:
    server = AuthServer(lifetime=60, scope="read")
    tokens = server.log_in()
    async with open_client(server) as client:
        response = await refresh(client, server, tokens.refresh_token, scope="read")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        new = Tokens.from_response(response.json())
        assert (new.expires_in, set(new.scope)) == (60, {"read"})
        assert new.access_token.startswith("at-canary-1-2-")
        assert new.refresh_token is not None
        # The old access token lives on: only the refresh token is spent.
        for access_token in (tokens.access_token, new.access_token):
            assert (await client.get("/", headers=bearer(access_token))).status_code == 200
        assert (await refresh(client, server, new.refresh_token)).status_code == 200
    assert server.ledger.requests == {1: 1, 2: 1}
    assert server.ledger.refreshes == 2
    assert server.ledger.presented == [Presented(0, 1, 1, "rotated"), Presented(0, 2, 1, "rotated")]
    assert (server.ledger.reused, server.ledger.repeats) == (0, 0)


async def test_a_refresh_token_used_twice_ends_the_login(open_client: Opener) -> None:
    server = AuthServer()
    tokens, other = server.log_in(), server.log_in()
    async with open_client(server) as client:
        new = (await refresh(client, server, tokens.refresh_token)).json()
        response = await refresh(client, server, tokens.refresh_token)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
        assert (await refresh(client, server, new["refresh_token"])).status_code == 400
        for secret in (tokens.access_token, new["access_token"]):
            assert (await client.get("/", headers=bearer(secret))).status_code == 401
        # The login of another client is none of its business.
        assert (await client.get("/", headers=bearer(other.access_token))).status_code == 200
    assert outcomes(server) == ["rotated", "reused", "refused"]
    assert (server.ledger.reused, server.ledger.repeats) == (1, 1)


async def test_within_the_grace_period_a_repeat_gets_the_same_answer(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer(reuse_grace=10)
    tokens = server.log_in()
    async with open_client(server) as client:
        first = await refresh(client, server, tokens.refresh_token)
        await trio.sleep(10)
        assert (await refresh(client, server, tokens.refresh_token)).content == first.content
        await trio.sleep(0.1)
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400
        # The login is over now, for the repeats, too.
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400
    assert outcomes(server) == ["rotated", "repeated", "reused", "reused"]
    assert (server.ledger.reused, server.ledger.repeats, server.ledger.refreshes) == (2, 3, 1)


async def test_the_grace_ends_with_the_login(open_client: Opener) -> None:
    server = AuthServer(reuse_grace=1000)
    tokens = server.log_in()
    async with open_client(server) as client:
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
        server.revoke()
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400


async def test_tokens_that_were_not_issued_are_not_repeats_of_each_other(
    open_client: Opener,
) -> None:
    server = AuthServer()
    async with open_client(server) as client:
        for secret in ("one", "another"):
            assert (await refresh(client, server, secret)).status_code == 400
    assert outcomes(server) == ["refused", "refused"]
    assert server.ledger.repeats == 0


async def test_the_grace_ends_when_the_successor_is_used(open_client: Opener) -> None:
    server = AuthServer(reuse_grace=1000)
    tokens = server.log_in()
    async with open_client(server) as client:
        new = (await refresh(client, server, tokens.refresh_token)).json()
        assert (await refresh(client, server, new["refresh_token"])).status_code == 200
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400
    assert outcomes(server) == ["rotated", "rotated", "reused"]


async def test_without_rotation_the_refresh_token_stays(open_client: Opener) -> None:
    server = AuthServer(rotate=False, lifetime=None)
    tokens = server.log_in()
    assert tokens.expires_in is None
    async with open_client(server) as client:
        for generation in (2, 3):
            new = (await refresh(client, server, tokens.refresh_token)).json()
            assert set(new) == {"access_token", "token_type"}
            response = await client.get("/", headers=bearer(new["access_token"]))
            assert response.json()["generation"] == generation
        headers = bearer(tokens.refresh_token)
        body = (await client.post(server.bearer_refresh_url, headers=headers)).json()
    assert body["refreshToken"] == tokens.refresh_token
    assert set(body) == {"accessToken", "refreshToken"}
    assert outcomes(server) == ["kept", "kept", "kept"]


async def test_the_bearer_endpoint_rotates_and_refuses(open_client: Opener) -> None:
    server = AuthServer(lifetime=60)
    tokens = server.log_in()
    headers = bearer(tokens.refresh_token)
    async with open_client(server) as client:
        response = await client.post(server.bearer_refresh_url, headers=headers)
        body = response.json()
        assert body["expiresIn"] == 60
        assert body["refreshToken"].startswith("rt-canary-1-2-")
        assert (await client.get("/", headers=bearer(body["accessToken"]))).status_code == 200
        for wrong in (headers, bearer("nobody's"), {}, {"Authorization": "Bearer"}):
            response = await client.post(server.bearer_refresh_url, headers=wrong)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert outcomes(server) == ["rotated", "reused", "refused"]
    assert server.ledger.presented[-1].number is None


async def test_client_credentials_are_one_login(open_client: Opener) -> None:
    server = AuthServer(client_secret="s3cret")
    form = {"grant_type": "client_credentials"}
    auth = basic("client", "s3cret")
    seen: list[tuple[int, int]] = []
    async with open_client(server) as client:
        for _ in range(2):
            tokens = (await client.post(server.token_url, data=form, headers=auth)).json()
            assert "refresh_token" not in tokens
            facts = (await client.get("/", headers=bearer(tokens["access_token"]))).json()
            seen.append((facts["login"], facts["generation"]))
        server.revoke()
        assert (await client.get("/", headers=bearer(tokens["access_token"]))).status_code == 401
        tokens = (await client.post(server.token_url, data=form, headers=auth)).json()
        facts = (await client.get("/", headers=bearer(tokens["access_token"]))).json()
        seen.append((facts["login"], facts["generation"]))
    assert seen == [(1, 1), (1, 2), (2, 1)]
    assert (server.ledger.refreshes, server.ledger.presented) == (3, [])


# --- errors of RFC 6749 5.2 ----------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"
GRANT = "grant_type=client_credentials"


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (GRANT, basic("cl%3Aient", "s+%26%C3%A9"), 200, None),
        (f"{GRANT}&client_id=cl%3Aient", basic("cl%3Aient", "s+%26%C3%A9"), 200, None),
        (f"{GRANT}&client_id=cl%3Aient&client_secret=s+%26%C3%A9", {}, 200, None),
        (f"{GRANT}&scope=read&x=", basic("cl%3Aient", "s+%26%C3%A9"), 200, None),
        # Wrong secret, no secret, wrong client, nothing at all, no Basic, no base64, no colon.
        (GRANT, basic("cl%3Aient", "wrong"), 401, "invalid_client"),
        (f"{GRANT}&client_id=cl%3Aient&client_secret=wrong", {}, 401, "invalid_client"),
        (f"{GRANT}&client_id=cl%3Aient", {}, 401, "invalid_client"),
        (GRANT, basic("nobody", "s+%26%C3%A9"), 401, "invalid_client"),
        (GRANT, {}, 401, "invalid_client"),
        (GRANT, bearer("x"), 401, "invalid_client"),
        (GRANT, {"Authorization": "Basic !"}, 401, "invalid_client"),
        (GRANT, {"Authorization": "Basic YWJj"}, 401, "invalid_client"),
        (
            GRANT,
            {"Authorization": basic("cl%3Aient", "s+%26%C3%A9")["Authorization"] + "!"},
            401,
            "invalid_client",
        ),
        # Two ways at once, two clients at once.
        (f"{GRANT}&client_secret=x", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        (f"{GRANT}&client_id=me", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        (f"{GRANT}&{GRANT}", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        (f"{GRANT}&x=%ff", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        ("", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        ("grant_type=", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        ("grant_type=refresh_token", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_request"),
        ("grant_type=password", basic("cl%3Aient", "s+%26%C3%A9"), 400, "unsupported_grant_type"),
        (f"{GRANT}&scope=read+all", basic("cl%3Aient", "s+%26%C3%A9"), 400, "invalid_scope"),
        (
            "grant_type=refresh_token&refresh_token=x&scope=all",
            basic("cl%3Aient", "s+%26%C3%A9"),
            400,
            "invalid_scope",
        ),
    ],
)
async def test_the_token_endpoint_is_strict(
    body: str, headers: dict[str, str], status: int, error: str | None
) -> None:
    server = AuthServer(client_id="cl:ient", client_secret="s &é", scope="read write")
    async with httpx.AsyncClient(transport=server.transport()) as client:
        response = await client.post(
            server.token_url, content=body, headers={"Content-Type": FORM, **headers}
        )
    assert (response.status_code, response.json().get("error")) == (status, error)
    assert response.headers["cache-control"] == "no-store"
    # The challenge is for those who tried the header (RFC 6749 5.2).
    challenged = status == 401 and "Authorization" in headers
    assert response.headers.get("www-authenticate") == ("Basic" if challenged else None)


async def test_a_public_client_has_no_client_credentials() -> None:
    server = AuthServer()
    form = {"grant_type": "client_credentials", "client_id": "client"}
    async with httpx.AsyncClient(transport=server.transport()) as client:
        response = await client.post(server.token_url, data=form)
        assert (response.status_code, response.json()["error"]) == (400, "unauthorized_client")


async def test_what_is_not_a_form_or_not_a_post_is_refused() -> None:
    server = AuthServer()
    form = refresh_form(server.log_in().refresh_token)
    async with httpx.AsyncClient(transport=server.transport()) as client:
        response = await client.post(server.token_url, json=form)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
        response = await client.get(server.token_url, params=form)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert server.ledger.presented == []


# --- revocation ----------------------------------------------------------------------------


async def test_revoking_a_refresh_token_ends_the_login(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    form = {"token": tokens.refresh_token, "client_id": "client"}
    async with open_client(server) as client:
        response = await client.post(server.revocation_url, data=form)
        assert (response.status_code, response.content) == (200, b"")
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400
        assert (await client.get("/", headers=bearer(tokens.access_token))).status_code == 401
    assert server.ledger.revocations == 1
    assert outcomes(server) == ["refused"]


async def test_revoking_an_access_token_ends_that_alone(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    form = {"token": tokens.access_token, "client_id": "client"}
    async with open_client(server) as client:
        await client.post(server.revocation_url, data=form)
        assert (await client.get("/", headers=bearer(tokens.access_token))).status_code == 401
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200


async def test_revoking_an_unknown_token_is_fine_but_not_for_strangers(
    open_client: Opener,
) -> None:
    server = AuthServer()
    async with open_client(server) as client:

        async def revoke(**form: str) -> int:
            response = await client.post(server.revocation_url, data=form)
            status: int = response.status_code
            return status

        assert await revoke(token="unknown", client_id="client") == 200
        assert await revoke(client_id="client") == 400
        assert await revoke(token="unknown", client_id="stranger") == 401
    assert server.ledger.revocations == 1


# --- the API -------------------------------------------------------------------------------


async def test_the_api_says_what_is_wrong_with_a_token(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    challenges: list[str] = []
    async with open_client(server) as client:
        server.expire()
        for headers in ({}, basic("a", "b"), bearer("nobody's"), bearer(tokens.access_token)):
            response = await client.get("/notes", headers=headers)
            assert response.status_code == 401
            challenges.append(response.headers["www-authenticate"])
    invalid = 'Bearer error="invalid_token"'
    assert challenges == ["Bearer", "Bearer", invalid, invalid]
    assert server.ledger.unauthorized == 4
    assert server.ledger.requests_seen[2:] == [
        Seen("GET", "/notes", None, 401),
        ("GET", "/notes", 1, 401),
    ]


async def test_an_access_token_lives_for_its_lifetime(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer(lifetime=10)
    headers = bearer(server.log_in().access_token)
    async with open_client(server) as client:
        await trio.sleep(9.9)
        assert (await client.get("/", headers=headers)).status_code == 200
        await trio.sleep(0.1)
        assert (await client.get("/", headers=headers)).status_code == 401


async def test_a_body_arrives_whole(open_client: Opener) -> None:
    server = AuthServer()
    headers = bearer(server.log_in().access_token)

    async def upload() -> AsyncIterator[bytes]:  # noqa: ASYNC900  # httpx wants one
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            yield b"part"

    async with open_client(server) as client:
        facts = (await client.put("/file", headers=headers, content=upload())).json()
    assert facts["length"] == 12
    assert facts["sha256"] == hashlib.sha256(b"part" * 3).hexdigest()
    assert facts["method"] == "PUT"


async def test_the_special_paths(open_client: Opener, autojump_clock: MockClock) -> None:
    server = AuthServer()
    headers = bearer(server.log_in().access_token)
    async with open_client(server, headers=headers, timeout=None) as client:
        assert (await client.get("/slow?seconds=2.5")).json()["path"] == "/slow"
        assert trio.current_time() == 2.5

        response = await client.get("/stream?chunks=3&seconds=0.5")
        assert response.content == b"chunk 1\nchunk 2\nchunk 3\n"
        assert trio.current_time() == 4
        assert "content-length" not in response.headers

        response = await client.post("/redirect?to=https://other.test/x&status=307")
        assert response.status_code == 307
        assert response.headers["location"] == "https://other.test/x"
        assert (await client.get("/redirect?to=/x")).status_code == 303

        response = await client.get("/status/403")
        assert (response.status_code, response.json()["generation"]) == (403, 1)
        response = await client.get("/status/204")
        assert (response.status_code, response.content) == (204, b"")
        response = await client.head("/x")
        assert (response.status_code, response.content) == (200, b"")
        assert int(response.headers["content-length"]) > 0

        for path in (
            "/slow?seconds=-1",
            "/slow?seconds=inf",
            "/slow?seconds=soon",
            "/stream?chunks=-1",
            "/stream?chunks=10001",
            "/status/100",
            "/status/teapot",
            "/redirect?status=700",
        ):
            assert (await client.get(path)).status_code == 400, path


async def test_the_open_path_wants_no_token(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.reject_all()
    async with open_client(server) as client:
        assert (await client.get("/open")).json()["generation"] is None
        facts = (await client.get("/open", headers=bearer(tokens.access_token))).json()
        assert facts["generation"] == 1
    assert server.ledger.requests == {1: 1}


# --- sessions on it -------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, "cs-canary"])
async def test_it_opens_a_session_that_is_logged_in(
    secret: str | None, autojump_clock: MockClock
) -> None:
    server = AuthServer(client_id="shop", client_secret=secret, lifetime=60)
    async with server.open_session() as session:
        await trio.sleep(60)
        assert (await session.get("/notes")).json()["generation"] == 2
        await session.log_out()
    assert server.ledger.revocations == 1


async def test_it_opens_a_session_that_is_logged_out_or_goes_on_with_a_store() -> None:
    server = AuthServer()
    store = MemoryStore()
    async with server.open_session(logged_in=False, store=store) as session:
        assert session.generation == 0
        await session.log_in(server.log_in())
        await session.refresh()
    async with server.open_session(logged_in=False, store=store) as session:
        answer = (await session.get("/notes")).json()
    assert (answer["login"], answer["generation"]) == (1, 2)


async def test_the_options_of_a_session_go_before_what_it_fills_in() -> None:
    server = AuthServer()
    tokens = server.log_in()
    grant = BearerRefreshGrant(server.bearer_refresh_url)
    # In memory the server answers at every host.
    base_url = "https://api.example.com/v1/"
    async with server.open_session(grant, tokens=tokens, base_url=base_url) as session:
        server.expire()
        response = await session.get("notes")
        assert str(response.url) == "https://api.example.com/v1/notes"
        assert response.json()["login"] == 1
    assert server.ledger.refreshes == 1


async def test_a_session_goes_over_the_socket_while_there_is_one() -> None:
    server = AuthServer()
    async with server.serve() as url, server.open_session() as session:
        server.expire()
        response = await session.get("/notes")
        assert str(response.url) == f"{url}/notes"
        assert response.json()["generation"] == 2


# --- orders --------------------------------------------------------------------------------


async def test_expire_leaves_the_refresh_tokens_alone(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.expire()
    async with open_client(server) as client:
        assert (await client.get("/", headers=bearer(tokens.access_token))).status_code == 401
        new = (await refresh(client, server, tokens.refresh_token)).json()
        assert (await client.get("/", headers=bearer(new["access_token"]))).status_code == 200


async def test_revoke_ends_every_login_but_no_later_one(open_client: Opener) -> None:
    server = AuthServer()
    logins = [server.log_in(), server.log_in()]
    server.revoke()
    later = server.log_in()
    async with open_client(server) as client:
        for tokens in logins:
            assert (await client.get("/", headers=bearer(tokens.access_token))).status_code == 401
            response = await refresh(client, server, tokens.refresh_token)
            assert response.json()["error"] == "invalid_grant"
        assert (await client.get("/", headers=bearer(later.access_token))).status_code == 200


async def test_reject_all_is_a_switch(open_client: Opener) -> None:
    server = AuthServer()
    headers = bearer(server.log_in().access_token)
    async with open_client(server) as client:
        server.reject_all()
        assert (await client.get("/", headers=headers)).status_code == 401
        server.reject_all(False)
        assert (await client.get("/", headers=headers)).status_code == 200


async def test_failures_come_in_the_order_they_were_ordered(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.fail(times=2, headers={"Retry-After": "5"})
    server.fail(400, error="invalid_grant")
    server.fail(502, body=b"<html>")
    server.answer(200, b"{}", {"Content-Type": "application/json"})
    answers: list[tuple[int, bytes]] = []
    async with open_client(server) as client:
        for number in range(5):
            response = await refresh(client, server, tokens.refresh_token)
            answers.append((response.status_code, response.content))
            assert response.headers.get("retry-after") == ("5" if number < 2 else None)
        assert server.ledger.refreshes == 0
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
    assert answers == [
        (503, b""),
        (503, b""),
        (400, b'{"error": "invalid_grant"}'),
        (502, b"<html>"),
        (200, b"{}"),
    ]
    assert outcomes(server) == ["failed"] * 5 + ["rotated"]
    assert server.ledger.repeats == 5


async def test_an_order_without_times_stands_until_recover(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.fail(429, times=None)
    server.delay(7)
    async with open_client(server, timeout=None) as client:
        for _ in range(3):
            assert (await refresh(client, server, tokens.refresh_token)).status_code == 429
        assert trio.current_time() == 21
        server.recover()
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
        assert trio.current_time() == 21


async def test_orders_hold_for_every_endpoint_and_note_no_more_than_came(
    open_client: Opener,
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.fail(times=4)
    async with open_client(server) as client:
        form = {"token": tokens.refresh_token, "client_id": "client"}
        for response in [
            await client.post(server.revocation_url, data=form),
            await client.post(server.bearer_refresh_url, headers=bearer(tokens.refresh_token)),
            await client.post(server.bearer_refresh_url),
            await client.post(server.token_url, content=b"?"),
        ]:
            assert response.status_code == 503
        assert (await client.get("/open")).status_code == 200
    assert [(each.number, each.outcome) for each in server.ledger.presented] == [(1, "failed")]
    assert server.ledger.revocations == 0


async def test_a_dropped_answer_is_processed_all_the_same(
    open_client: Opener, library: ModuleType
) -> None:
    server = AuthServer(reuse_grace=10)
    tokens = server.log_in()
    server.drop_answer(2)
    async with open_client(server) as client:
        with pytest.raises(library.RemoteProtocolError, match="broke") as caught:
            await refresh(client, server, tokens.refresh_token)
        assert caught.value.request.url == server.token_url
        # The second is a repeat, whose answer is lost as well.
        with pytest.raises(library.RemoteProtocolError):
            await refresh(client, server, tokens.refresh_token)
        new = (await refresh(client, server, tokens.refresh_token)).json()
        assert new["refresh_token"].startswith("rt-canary-1-2-")
    assert outcomes(server) == ["dropped", "repeated", "repeated"]
    assert server.ledger.refreshes == 1


async def test_a_hung_request_waits_until_it_is_cancelled(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.hang()
    async with open_client(server, timeout=None) as client:
        with trio.move_on_after(1e6) as scope:
            await refresh(client, server, tokens.refresh_token)
        assert scope.cancelled_caught
        assert server.ledger.in_flight == 0
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
    assert outcomes(server) == ["hung", "rotated"]


async def test_down_comes_before_all_other_orders(open_client: Opener, library: ModuleType) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.hang()
    server.down()
    async with open_client(server) as client:
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 503
        server.down(status=None)
        with pytest.raises(library.ConnectError, match="can't be reached") as caught:
            await refresh(client, server, tokens.refresh_token)
        assert caught.value.request.url == server.token_url
        # The API is another server.
        assert (await client.get("/open")).status_code == 200
        server.recover()
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
    # What never arrived was not presented.
    assert outcomes(server) == ["failed", "rotated"]


async def test_a_delayed_answer_was_processed_when_the_request_arrived(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.delay(5)
    async with open_client(server, timeout=None) as client:
        with trio.move_on_after(1) as scope:
            await refresh(client, server, tokens.refresh_token)
        assert scope.cancelled_caught
        assert outcomes(server) == ["rotated"]
        await refresh(client, server, tokens.refresh_token)
        assert trio.current_time() == 6
    assert outcomes(server) == ["rotated", "reused"]


async def test_a_request_cancelled_before_it_left_never_arrives(open_client: Opener) -> None:
    server = AuthServer()
    tokens = server.log_in()
    async with open_client(server) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await refresh(client, server, tokens.refresh_token)
    assert scope.cancelled_caught
    assert server.ledger.presented == []


async def test_the_ledger_knows_how_many_were_in_flight_at_once(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer()
    logins = [server.log_in() for _ in range(3)]
    server.delay(1)
    async with open_client(server, timeout=None) as client:
        async with trio.open_nursery() as nursery:
            for tokens in logins:
                nursery.start_soon(refresh, client, server, tokens.refresh_token)
            await wait_all_tasks_blocked()
            assert server.ledger.in_flight == 3
        # Neither revocation nor the API count.
        form = {"token": "unknown", "client_id": "client"}
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: client.post(server.revocation_url, data=form))
                nursery.start_soon(client.get, "/open")
    assert (server.ledger.in_flight, server.ledger.max_in_flight) == (0, 3)


async def test_api_delay_holds_for_the_api_alone(
    open_client: Opener, autojump_clock: MockClock
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    server.api_delay(3)
    async with open_client(server, timeout=None) as client:
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
        assert trio.current_time() == 0
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client.get, "/open")
        assert trio.current_time() == 3


async def test_the_api_answers_what_was_ordered_to_a_good_token(
    open_client: Opener,
) -> None:
    server = AuthServer()
    server.api_answer("/orders", {"number": 7}, 201)
    async with open_client(server) as client:
        assert (await client.post(f"{server.url}/orders")).status_code == 401
        headers = bearer(server.log_in().access_token)
        for _ in range(2):
            response = await client.post(f"{server.url}/orders?gift=1", headers=headers)
            assert (response.status_code, response.json()) == (201, {"number": 7})
        server.api_answer("/orders", [])
        assert (await client.get(f"{server.url}/orders", headers=headers)).json() == []
    assert [seen.status for seen in server.ledger.requests_seen] == [401, 201, 201, 200]
    with pytest.raises(ValueError, match='path must begin with a slash, as in "/orders", not be'):
        server.api_answer("orders", {})


async def wait_in_flight(server: AuthServer, number: int) -> None:
    with trio.fail_after(5):
        while server.ledger.in_flight != number:  # noqa: ASYNC110  # a ledger has no events
            await trio.lowlevel.checkpoint()


# --- on a real socket ----------------------------------------------------------------------


async def test_it_serves_on_a_socket_as_it_does_in_memory(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server = AuthServer()
    tokens = server.log_in()
    assert server.url == "https://server.test"
    with caplog.at_level(logging.WARNING):
        async with server.serve() as url, httpx.AsyncClient(base_url=url) as client:
            assert server.url == url
            assert server.token_url == f"{url}/oauth/token"
            assert server.revocation_url == f"{url}/oauth/revoke"
            assert server.bearer_refresh_url == f"{url}/auth/refresh"
            headers = bearer(tokens.access_token)
            facts = (await client.put("/a%20b?c", headers=headers, content=b"x" * 10**6)).json()
            assert (facts["path"], facts["length"]) == ("/a%20b", 10**6)
            response = await client.get("/stream?chunks=3", headers=headers)
            assert response.content == b"chunk 1\nchunk 2\nchunk 3\n"
            assert (await client.head("/", headers=headers)).status_code == 200
            assert (await client.get("/status/204", headers=headers)).status_code == 204
            assert (await refresh(client, server, tokens.refresh_token)).status_code == 200
    assert server.url == "https://server.test"
    assert server.ledger.requests == {1: 4}
    assert (capfd.readouterr().out, caplog.records) == ("", [])


async def test_on_a_socket_no_answer_is_a_closed_connection() -> None:
    server = AuthServer()
    tokens = server.log_in()
    async with server.serve(), httpx.AsyncClient() as client:
        server.drop_answer()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await refresh(client, server, tokens.refresh_token)
        server.down(status=None)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await refresh(client, server, tokens.refresh_token)
        server.down()
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 503
        server.recover()
        assert (await refresh(client, server, tokens.refresh_token)).status_code == 400
    assert outcomes(server) == ["dropped", "failed", "reused"]


async def test_an_answer_may_promise_more_than_it_holds() -> None:
    server = AuthServer()
    server.answer(200, b"{", {"content-length": "100"})
    async with server.serve(), httpx.AsyncClient() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await refresh(client, server, "any")


async def test_a_client_that_leaves_is_noticed() -> None:
    server = AuthServer()
    server.hang()
    async with server.serve(), httpx.AsyncClient(timeout=None) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refresh, client, server, "any")
            await wait_in_flight(server, 1)
            nursery.cancel_scope.cancel()
        await wait_in_flight(server, 0)
    assert outcomes(server) == ["hung"]


async def test_half_a_request_is_not_processed() -> None:
    server = AuthServer()
    async with server.serve() as url:
        host, port = url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"POST /open HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
            )
            await stream.send_eof()
            with trio.fail_after(5):
                while await stream.receive_some():
                    pass
    assert server.ledger.requests_seen == []


async def test_leaving_stops_the_server_although_a_request_hangs() -> None:
    server = AuthServer()
    server.hang()
    failures: list[Exception] = []

    async def ask() -> None:
        try:
            await refresh(client, server, "any")
        except httpx.TransportError as exc:
            failures.append(exc)

    # Less than the 3 seconds that hypercorn would give it.
    with trio.fail_after(2):
        async with httpx.AsyncClient(timeout=None) as client, trio.open_nursery() as nursery:
            async with server.serve() as url:
                nursery.start_soon(ask)
                await wait_in_flight(server, 1)
            with pytest.raises(OSError):
                await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    assert len(failures) == 1


async def test_an_exception_of_the_block_comes_out_bare() -> None:
    server = AuthServer()
    mistake = KeyError("mistake")
    with pytest.raises(KeyError) as caught:
        async with server.serve():
            raise mistake
    assert caught.value is mistake
    assert server.url == "https://server.test"


async def test_an_exception_of_a_cancelled_block_is_not_lost() -> None:
    with trio.CancelScope() as scope, pytest.raises(KeyError):
        async with AuthServer().serve():
            scope.cancel()
            raise KeyError("mistake")


async def test_cancelling_the_block_stops_the_server() -> None:
    server = AuthServer()
    with trio.CancelScope() as scope:
        async with server.serve():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert server.url == "https://server.test"


async def test_cancelled_before_it_started_serve_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with trio.CancelScope() as scope:
        scope.cancel()
        async with AuthServer().serve(port=port):
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        async with AuthServer().serve(port=taken.getsockname()[1]):
            pytest.fail("the port is taken")


async def test_it_does_not_serve_on_a_clock_that_jumps(autojump_clock: MockClock) -> None:
    with pytest.raises(RuntimeError, match=r"autojumping clock.*server\.transport\(\)"):
        async with AuthServer().serve():
            raise AssertionError("it does not serve")
    autojump_clock.autojump_threshold = 0.5
    async with AuthServer().serve():
        pass


async def test_only_http_is_served() -> None:
    request = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with AuthServer().serve() as url:
        host, port = url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(request)
            with trio.fail_after(5):
                assert b" 500 " in await stream.receive_some()


async def test_without_hypercorn_serve_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "trioauth.testing._serve", raising=False)
    monkeypatch.setitem(sys.modules, "hypercorn.config", None)
    with pytest.raises(ImportError, match=r'pip install "trioauth\[testing\]"'):
        async with AuthServer().serve():
            pytest.fail("there is no hypercorn")


def test_a_bodiless_status_gets_no_body() -> None:
    server = AuthServer()
    server.answer(304, b"ignored")

    async def main() -> tuple[int, bytes]:
        async with httpx.AsyncClient(transport=server.transport()) as client:
            response = await refresh(client, server, "any")
            return response.status_code, response.content

    assert trio.run(main) == (304, b"")
    assert outcomes(server) == ["failed"]
