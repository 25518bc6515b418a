"""Becoming a client of a server that has never heard of the program, and staying it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import pytest
import trio

from trioauth import (
    BackChannel,
    GrantMisconfiguredError,
    GrantRefusedError,
    Invitation,
    LoggedOutError,
    LoginDeclinedError,
    LoginTimeoutError,
    OAuthClient,
    RefreshUnavailableError,
    StoreError,
    Tokens,
)
from trioauth.oauth.kept import Kept
from trioauth.oauth.registration import Registration, client_document, read_registration
from trioauth.testing import AuthServer, Victim, every_checkpoint

from .stage import API, EXACT, MCP, Stage, stage_of
from .world import ISSUER, World, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trio.testing import MockClock

    from trioauth.oauth.channel import Answer

FIXED = "http://localhost:20003/cb"
NO_PAR = attrs.evolve(EXACT, endpoints={k: v for k, v in MCP.endpoints.items() if k != "par"})


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = stage_of(tmp_path)
    yield stage
    stage.auth.check()


# --- one client, however often --------------------------------------------------------------------


async def test_a_program_registers_once_and_logs_in_again_and_again(stage: Stage) -> None:
    # opencode#40767: a new client at each login.
    for _ in range(3):
        await stage.log_in()
    assert stage.client_id == "registered-1"
    assert stage.kept["client"] == stage.kept["login"]
    assert stage.kept["client"]["awaited"] is False
    if os.name != "nt":
        assert (stage.folder / "client.json").stat().st_mode & 0o777 == 0o600


async def test_the_resource_goes_along_to_the_end(stage: Stage) -> None:
    await stage.log_in()
    assert stage.kept["login"]["resource"] == [API]
    [login] = stage.auth._exchange.site.book.logins
    assert login.granted is not None
    assert login.granted.resource == API
    async with stage.open(stage.client()) as session:
        stage.auth.expire()
        assert (await session.get("/mcp")).status_code == 200


async def test_after_a_restart_nothing_is_asked_but_the_token_endpoint(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    await stage.log_in()
    stage.auth.lie(resource={"authorization_servers": ["https://evil.example"]})
    stage.auth.expire()
    async with stage.open(stage.client()) as session:
        assert (await session.get("/mcp")).status_code == 200
        # And so the refresh token does not go to whom the API names now.
        assert stage.kept["login"]["issuer"] == "https://server.test"
    assert stage.auth.ledger.refreshes == 1


async def test_a_client_survives_the_log_out(stage: Stage) -> None:
    client = stage.client()
    await stage.log_in(client)
    async with stage.open(client) as session:
        await session.log_out()
    assert stage.auth.ledger.revocations == 1
    await stage.log_in()
    assert stage.client_id == "registered-1"


async def test_two_log_ins_at_once_wait_for_each_other_where_they_register(stage: Stage) -> None:
    clients = [stage.client(), stage.client()]
    async with trio.open_nursery() as nursery:
        async with clients[0].newcomer.keep.lock():
            nursery.start_soon(stage.log_in, clients[1])
            await trio.sleep(0.1)
            assert not (stage.folder / "client.json").exists()
        nursery.start_soon(stage.log_in, clients[0])
    assert stage.client_id in {"registered-1", "registered-2"}


async def test_a_client_that_others_registered_during_a_log_in_stays(tmp_path: Path) -> None:
    auth = stage_of(tmp_path).auth
    client, person = OAuthClient.for_resource(API), auth.person()
    keep = client.newcomer.keep

    async def prompt(invitation: Invitation, /) -> str | None:
        kept = await keep.load()
        assert kept.client is not None
        newer = attrs.evolve(kept.client, client=Registration(client_id="registered-7"))
        await keep.save(attrs.evolve(kept, client=newer))
        return await person(invitation)

    async with auth.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=prompt))
        await session.refresh()
    kept = await keep.load()
    assert kept.client is not None
    assert kept.login is not None
    assert kept.client.client.client_id == "registered-7"
    assert kept.login.client.client_id == "registered-1"


async def test_without_a_file_the_client_is_kept_for_this_run(stage: Stage) -> None:
    client = stage.client(keep=None)
    await stage.log_in(client)
    await stage.log_in(client)
    assert not (stage.folder / "client.json").exists()
    kept = await client.newcomer.keep.load()
    assert kept.login is not None
    assert kept.login.client.client_id == "registered-1"


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ({}, {"redirect_uri": "http://127.0.0.1/other"}, 2),
        ({}, {"ports": [20001]}, 2),
        ({"ports": [20001]}, {"ports": [20001]}, 1),
        ({"scope": "notes"}, {"scope": "notes write"}, 2),
        ({"scope": "notes write"}, {"scope": "notes"}, 1),
        ({"redirect_uri": FIXED}, {"redirect_uri": FIXED}, 1),
    ],
)  # fmt: skip
async def test_a_client_serves_for_as_long_as_it_has_what_is_wanted(
    stage: Stage, first: dict[str, Any], second: dict[str, Any], count: int
) -> None:
    await stage.log_in(stage.client(**first))
    await stage.log_in(stage.client(**second))
    assert stage.client_id == f"registered-{count}"


async def test_a_client_of_another_server_is_not_used(stage: Stage) -> None:
    await stage.log_in()
    kept = stage.kept
    kept["client"]["issuer"] = "https://other.example"
    (stage.folder / "client.json").write_text(json.dumps(kept), "utf-8")
    await stage.log_in()
    assert stage.client_id == "registered-2"


# --- what servers forget --------------------------------------------------------------------------


async def test_a_forgotten_client_is_registered_once_more_and_the_person_asked_once(
    tmp_path: Path,
) -> None:
    # chatcli#1308, kimi-code#2606: registrations purged by the server.
    stage = stage_of(tmp_path)
    await stage.log_in()
    stage.auth.forget_clients()
    await stage.log_in()
    assert stage.client_id == "registered-2"


async def test_a_server_that_refuses_the_new_client_too_is_not_asked_again(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    await stage.log_in()
    stage.auth.fail(401, error="invalid_client", times=None, at="par")
    with pytest.raises(GrantMisconfiguredError, match="invalid_client"):
        await stage.log_in()
    assert stage.kept["client"]["client"]["client_id"] == "registered-2"
    # The login that there was goes on as what it was.
    assert stage.client_id == "registered-1"


@pytest.mark.parametrize(
    ("error", "description", "count"),
    [
        ("invalid_request", "Invalid redirect_uri", 2),
        ("invalid_redirect_uri", "", 2),
        ("invalid_request", "scope is missing", 1),
        ("invalid_scope", "", 1),
    ],
)
async def test_a_refused_redirect_uri_is_registered_once_more(
    tmp_path: Path, error: str, description: str, count: int
) -> None:
    stage = stage_of(tmp_path)
    await stage.log_in()
    body = {"error": error, "error_description": description}
    stage.auth.answer(400, json.dumps(body).encode(), at="par")
    try:
        await stage.log_in()
    except GrantMisconfiguredError:
        pass
    assert stage.kept["client"]["client"]["client_id"] == f"registered-{count}"


async def test_what_a_server_shows_to_the_person_alone_costs_one_log_in(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    # mcp2cli#54, mcp-remote#72: a mismatch for good. In memory, for the clock's sake.
    auth = stage_of(tmp_path, NO_PAR).auth
    client = OAuthClient.for_resource(API, name="Notes")
    keep = client.newcomer.keep
    async with auth.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=auth.person()))
        auth.forget_clients()
        with pytest.raises(LoginTimeoutError):
            await session.log_in(client.browser(prompt=auth.person(), patience=60))
        kept = await keep.load()
        assert kept.client is not None
        assert kept.client.awaited is True
        await session.log_in(client.browser(prompt=auth.person()))
    kept = await keep.load()
    assert kept.login is not None
    assert kept.login.client.client_id == "registered-2"


async def test_a_log_in_that_was_given_up_does_not_spoil_the_next(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, NO_PAR)
    auth = AuthServer(persona=NO_PAR, scope="notes")
    stage.auth = auth
    with trio.move_on_after(0.3):
        await stage.log_in()
    auth.approve()
    await stage.log_in()
    auth.check()


async def test_a_person_who_declines_leaves_the_client_as_it_is(stage: Stage) -> None:
    stage.auth.deny()
    with pytest.raises(LoginDeclinedError):
        await stage.log_in()
    assert stage.kept["client"]["awaited"] is False
    assert stage.kept["login"] is None
    stage.auth.approve()
    await stage.log_in()
    assert stage.client_id == "registered-1"


async def test_a_refresh_that_meets_a_forgotten_client_ends_the_login(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    client = stage.client()
    await stage.log_in(client)
    stage.auth.forget_clients()
    stage.auth.expire()
    async with stage.open(client) as session:
        with pytest.raises(LoggedOutError) as caught:
            await session.get("/mcp")
        assert isinstance(caught.value.__cause__, GrantRefusedError)
        assert "registers another" in str(caught.value.__cause__)
        assert stage.kept["client"] is None
        await session.log_in(client.browser(prompt=stage.auth.person()))
        assert (await session.get("/mcp")).status_code == 200
    assert stage.client_id == "registered-2"


async def test_a_newer_client_is_not_dropped_with_the_one_of_the_login(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    client = stage.client()
    await stage.log_in(client)
    kept = stage.kept
    kept["client"]["client"]["client_id"] = "registered-7"
    (tmp_path / "client.json").write_text(json.dumps(kept), "utf-8")
    stage.auth.forget_clients()
    async with stage.open(client) as session:
        with pytest.raises(LoggedOutError):
            await session.refresh()
    assert stage.kept["client"]["client"]["client_id"] == "registered-7"


async def test_what_else_is_wrong_with_a_refresh_keeps_the_login(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    await stage.log_in()
    stage.auth.fail(400, error="invalid_scope")
    async with stage.open(stage.client()) as session:
        with pytest.raises(GrantMisconfiguredError, match="invalid_scope"):
            await session.refresh()
        assert session.logged_in
    assert stage.kept["client"] is not None


# --- the file -------------------------------------------------------------------------------------


async def test_a_lost_file_sends_no_token_anywhere_and_keeps_the_login(stage: Stage) -> None:
    await stage.log_in()
    (stage.folder / "client.json").unlink()
    async with stage.open(stage.client()) as session:
        with pytest.raises(GrantMisconfiguredError, match="pass keep="):
            await session.refresh()
        assert session.logged_in
    assert stage.auth.ledger.presented == []


async def test_a_login_of_another_server_than_the_named_one_is_not_refreshed(stage: Stage) -> None:
    await stage.log_in()
    transport = stage.auth.transport()
    channel = BackChannel(lambda: httpx.AsyncClient(transport=transport))
    for other in ({"issuer": "https://other.example"}, {"client_id": "another"}):
        with pytest.raises(GrantMisconfiguredError, match="nothing says which server"):
            await stage.client(**other)(Tokens("at-canary-1", "rt-canary-1"), channel)
    assert stage.auth.ledger.presented == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "client": null, "login": null}',
        '{"version": 1}',
        '{"version": 1, "client": {"ports": 7}, "login": null}',
        '{"version": 1, "client": "rt-canary-1", "login": null}',
        '{"version": 1, "client": null, "login": {"ports": [], "resource": [], "client": {}}}',
    ],
)
async def test_a_file_that_is_not_ours_is_left_as_it_is_and_no_person_asked(
    stage: Stage, text: str
) -> None:
    path = stage.folder / "client.json"
    path.write_text(text, "utf-8")
    with pytest.raises(StoreError, match="left as it is"):
        await stage.log_in()
    assert path.read_text("utf-8") == text


async def test_a_file_that_can_not_be_written_is_known_before_the_person_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("can't write client.json: no space left")

    monkeypatch.setattr("trioauth.stores._disk.replace", full)
    asked: list[object] = []
    client = stage.client()
    async with stage.open(client) as session:

        async def prompt(invitation: object, /) -> str | None:
            asked.append(invitation)
            await trio.sleep_forever()
            return None

        with pytest.raises(StoreError, match="no space left"):
            await session._asking.obtain(client.browser(prompt=prompt))
    assert asked == []


def test_what_is_kept_is_read_back(tmp_path: Path) -> None:
    assert Kept.from_text(Kept().to_text().encode()) == Kept()


# --- who we are -----------------------------------------------------------------------------------


async def test_a_server_that_takes_documents_gets_ours_and_registers_nothing(stage: Stage) -> None:
    place = "https://app.example.com/client.json"
    client = stage.client(metadata_url=place, ports=[20011, 20012])
    stage.auth.publish_client(client.document())
    await stage.log_in(client)
    assert stage.client_id == place
    assert client.document() == {
        "client_id": place,
        "client_name": "Notes",
        "redirect_uris": ["http://127.0.0.1:20011/callback", "http://127.0.0.1:20012/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
    async with stage.open(client) as session:
        await session.refresh()


async def test_a_server_that_takes_no_documents_registers(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.auth.lie(metadata={"client_id_metadata_document_supported": False})
    await stage.log_in(stage.client(metadata_url="https://app.example.com/client.json"))
    assert stage.client_id == "registered-1"


async def test_a_given_id_goes_before_all_else(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, MCP, client_id="by-hand")
    place = "https://app.example.com/client.json"
    client = stage.client(client_id="by-hand", metadata_url=place, keep=None)
    await stage.log_in(client)
    # Another run, which keeps nothing: the program has not said which server it is for.
    async with stage.open(stage.client(client_id="by-hand", keep=None)) as session:
        with pytest.raises(GrantMisconfiguredError, match="nothing says which server"):
            await session.refresh()


async def test_a_given_id_at_a_given_server_needs_no_file(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, MCP, client_id="by-hand")
    options: dict[str, Any] = {
        "client_id": "by-hand",
        "issuer": stage.auth.issuer,
        "keep": None,
    }
    await stage.log_in(stage.client(**options))
    async with stage.open(stage.client(**options)) as session:
        await session.refresh()
        await session.log_out()
    assert (stage.auth.ledger.refreshes, stage.auth.ledger.revocations) == (1, 1)
    stage.auth.check()


def test_a_document_has_an_address() -> None:
    with pytest.raises(ValueError, match="metadata_url="):
        OAuthClient.for_resource(API).document()


async def test_a_server_that_registers_no_client_is_told_with_what_to_do(stage: Stage) -> None:
    stage.auth.lie(metadata={"registration_endpoint": None})
    with pytest.raises(GrantMisconfiguredError, match="pass client_id="):
        await stage.log_in()


@pytest.mark.parametrize(
    ("scope", "parameters", "asked"),
    [
        ("offline_access", {}, "consent"),
        ("notes", {}, None),
        ("offline_access", {"prompt": "consent login"}, "consent login"),
    ],
)
async def test_consent_is_asked_for_where_offline_access_is(
    scope: str, parameters: dict[str, str], asked: str | None
) -> None:
    auth = AuthServer(persona=NO_PAR, scope=scope)
    auth.approve()
    client = OAuthClient.for_resource(API, name="Notes", parameters=parameters)
    person = auth.person()
    seen: list[str | None] = []

    async def prompt(invitation: Invitation, /) -> str | None:
        seen.append(parse_qs(urlsplit(invitation.url).query).get("prompt", [None])[0])
        assert invitation.client_id == "Notes"
        return await person(invitation)

    async with auth.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=prompt))
    assert seen == [asked]
    auth.check()


async def test_a_client_that_was_registered_just_now_is_not_registered_again(
    tmp_path: Path,
) -> None:
    stage = stage_of(tmp_path)
    stage.auth.fail(401, error="invalid_client", times=None, at="par")
    with pytest.raises(GrantMisconfiguredError, match="invalid_client"):
        await stage.log_in()
    assert stage.kept["client"]["client"]["client_id"] == "registered-1"


async def test_a_device_logs_in_and_so_does_what_fits(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, attrs.evolve(EXACT, interval=0))
    client = stage.client()
    logins = [client.device(prompt=stage.auth.person())]
    logins.append(client.interactive(way="paste", prompt=stage.auth.person()))
    async with stage.open(client) as session:
        for login in logins:
            with trio.fail_after(30):
                await session.log_in(login)
    assert stage.client_id == "registered-1"


# --- what is registered, and what a server answers ------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("http://127.0.0.1:7/cb", "native"),
        ("com.example.app:/cb", "native"),
        ("https://app.example.com/cb", "web"),
    ],
)
def test_what_is_not_https_is_registered_as_native(uri: str, kind: str) -> None:
    document = client_document([uri], name="Notes", scope="notes", device=True)
    assert document["application_type"] == kind
    assert document["scope"] == "notes"
    assert "urn:ietf:params:oauth:grant-type:device_code" in str(document["grant_types"])


async def test_three_ports_are_drawn_and_registered_to_the_letter(stage: Stage) -> None:
    await stage.log_in()
    registered = stage.auth._exchange.site.clients.find(stage.client_id)
    assert registered is not None
    ports = [urlsplit(uri).port for uri in registered.redirect_uris]
    assert ports == stage.kept["login"]["ports"]
    assert len(set(ports)) == 3
    assert {urlsplit(uri).path for uri in registered.redirect_uris} == {"/callback"}


@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_basic", "x"]])
async def test_a_server_without_public_clients_gives_a_secret_which_is_kept(
    tmp_path: Path, methods: list[str]
) -> None:
    stage = stage_of(tmp_path)
    stage.auth.lie(metadata={"token_endpoint_auth_methods_supported": methods})
    await stage.log_in()
    assert stage.kept["login"]["client"]["method"] == methods[0]
    assert "cs-canary" in stage.kept["login"]["client"]["secret"]
    async with stage.open(stage.client()) as session:
        await session.refresh()
    stage.auth.check()
    kept = await stage.client().newcomer.keep.load()
    assert "canary" not in repr(kept)


async def test_a_secret_that_has_expired_is_replaced_by_another_client(tmp_path: Path) -> None:
    stage = stage_of(tmp_path)
    stage.auth.lie(
        metadata={"token_endpoint_auth_methods_supported": ["client_secret_post"]},
        registration={"client_secret_expires_at": time.time() - 1},
    )
    await stage.log_in()
    await stage.log_in()
    assert stage.client_id == "registered-2"


async def test_a_secret_whose_end_is_not_said_has_none(tmp_path: Path) -> None:
    # RFC 7591 3.2.1 requires it, and servers leave it out.
    stage = stage_of(tmp_path)
    stage.auth.lie(
        metadata={"token_endpoint_auth_methods_supported": ["client_secret_post"]},
        registration={"client_secret_expires_at": None},
    )
    await stage.log_in()
    await stage.log_in()
    assert stage.client_id == "registered-1"
    assert stage.kept["login"]["client"]["expires_at"] is None


ASKED = client_document(["http://127.0.0.1:7/cb"], name="Notes")


MISCONFIGURED, UNAVAILABLE = GrantMisconfiguredError, RefreshUnavailableError


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (400, {"error": "invalid_redirect_uri"}, MISCONFIGURED, "^invalid_redirect_uri"),
        (400, {"error": "new_code"}, MISCONFIGURED, "^new_code.* pass client_id="),
        (403, {}, MISCONFIGURED, "403"),
        (401, {"error": "invalid_token"}, MISCONFIGURED, "invalid_token"),
        (503, {}, UNAVAILABLE, "503"),
        (201, {}, UNAVAILABLE, "without a client_id"),
        (201, {"client_id": 7}, UNAVAILABLE, "without a client_id"),
        (201, {"client_id": "a\n"}, UNAVAILABLE, "without a client_id"),
        (201, {"redirect_uris": ["http://127.0.0.1:8/cb"]}, MISCONFIGURED, "other redirect"),
        (201, {"redirect_uris": None}, MISCONFIGURED, "other redirect"),
        (201, {"token_endpoint_auth_method": "private_key_jwt"}, MISCONFIGURED, "no means"),
        (201, {"token_endpoint_auth_method": "client_secret_post"}, MISCONFIGURED, "no means"),
        (201, {"token_endpoint_auth_method": ["none"]}, MISCONFIGURED, "no means"),
    ],
)
async def test_an_answer_that_registers_nothing_of_use_is_refused(
    status: int, body: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        told = {"client_id": "a", **body} if body and "client_id" not in body else body
        read_registration(await answer_of(status, told), ASKED, f"{ISSUER}/register")


async def test_an_answer_with_a_secret_for_a_public_client_is_read_as_public() -> None:
    answer = await answer_of(200, {"client_id": "a", "client_secret": "cs-canary-1"})
    registration = read_registration(answer, ASKED, ISSUER)
    assert registration.auth is None
    assert registration.expires_at is None
    assert "canary" not in repr(registration)


async def answer_of(status: int, body: dict[str, object]) -> Answer:
    world = World({ISSUER: httpx.Response(status, json=body)})
    return await world.open().fetch(ISSUER)


# --- cancelled ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cancelled_anywhere_a_log_in_leaves_a_file_that_the_next_one_can_use() -> None:
    async def scenario(victim: Victim) -> None:
        stage = AuthServer(persona=EXACT, scope="notes")
        stage.approve()
        client = OAuthClient.for_resource(API, name="Notes")
        async with stage.open_session(client, logged_in=False, base_url=API) as session:
            await victim(session.log_in, client.browser(prompt=stage.person()))
            if not session.logged_in:
                await session.log_in(client.browser(prompt=stage.person()))
            await session.refresh()
        stage.check()

    exploration = every_checkpoint(scenario, seeds=[1])
    assert exploration.failures == ()
    assert len(exploration.points) > 10


async def test_cancelled_before_it_is_sent_a_refresh_and_a_revocation_do_nothing() -> None:
    world = World({f"{ISSUER}/.well-known/oauth-authorization-server": metadata()})
    client = OAuthClient.for_resource(f"{ISSUER}/mcp", issuer=ISSUER, client_id="notes")
    tokens = Tokens("at-canary-1", "rt-canary-1")
    for call in (client, client.revoke):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(tokens, world.open())
        assert scope.cancelled_caught
    assert world.urls == []
