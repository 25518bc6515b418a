"""Logging in by a code that is typed on any device (RFC 8628), all the way."""

from __future__ import annotations

import logging
import time
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from tests.canary import SECRET
from trioauth import (
    AuthorizationServer,
    ClientSecretBasic,
    ClientSecretJWT,
    GrantMisconfiguredError,
    Invitation,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    MetadataError,
    OAuthClient,
    RefreshUnavailableError,
    StoreError,
)
from trioauth.testing import AuthServer, Victim, every_checkpoint, prompting

from .people import FullStore, Watched, client_of, logged_out
from .world import GOOD, ISSUER, TOKEN_URL, World, frames

pytestmark = pytest.mark.usefixtures("autojump_clock")

DEVICE = f"{ISSUER}/device"
BY_HAND = AuthorizationServer(
    issuer=ISSUER, token_endpoint=TOKEN_URL, device_authorization_endpoint=DEVICE
)
CODES = {
    "device_code": "dc-canary",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example.com/device",
    "expires_in": 600,
}
PENDING = httpx.Response(400, json={"error": "authorization_pending"})


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that goes with trio's, so that both agree in virtual time."""
    began = time.time()
    monkeypatch.setattr(
        "trioauth.oauth.logins.device.time.time", lambda: began + trio.current_time()
    )


def refusal(error: str, status: int = 400, **more: object) -> httpx.Response:
    return httpx.Response(status, json={"error": error, **more})


async def polled(*answers: Any, codes: dict[str, Any] = CODES, **options: Any) -> list[float]:
    """Log in, and return at which seconds the server was asked; raises what the log-in does."""
    asked: list[float] = []
    rest = list(answers)

    def answer(_: httpx.Request) -> Any:
        asked.append(trio.current_time() - began)
        found = rest.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    world = World({DEVICE: codes, TOKEN_URL: answer})
    client = OAuthClient("notes", server=BY_HAND, **options)
    began = trio.current_time()
    await client.device(prompt=Watched())(world.open())
    return asked


async def test_a_session_logs_in_by_device_and_never_asks_too_early() -> None:
    server = AuthServer(scope="notes")
    client, prompt = client_of(server), Watched(server.person())
    async with logged_out(server, client) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.log_in, client.device(prompt=prompt, program="Notes"))
        await prompt.shown.wait()
        assert not session.logged_in
        await trio.sleep(40)
        server.approve("ann")
        await session.wait_logged_in()
        assert (await session.get("/notes")).status_code == 200
        await session.refresh()
    invitation = prompt.invitation
    assert invitation is not None
    assert (invitation.kind, invitation.client_id) == ("device", "Notes")
    assert invitation.where == "server.test"
    assert invitation.expires_at == 600
    assert invitation.user_code is not None
    assert invitation.complete_url is not None
    assert invitation.user_code in invitation.complete_url
    server.check()


@pytest.mark.parametrize("persona", ["google", "github", "entra"])
async def test_quirks_of_providers_do_not_matter(persona: str) -> None:
    server = AuthServer(persona=persona, scope="notes", client_secret="cs-canary")
    place = server.endpoint
    client = OAuthClient(
        server.client_id,
        server=AuthorizationServer(
            token_endpoint=place("token"), device_authorization_endpoint=place("device")
        ),
        auth=ClientSecretBasic("cs-canary"),
        scope="notes",
    )
    prompt = Watched(server.person())
    async with logged_out(server, client) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.log_in, client.device(prompt=prompt))
        await prompt.shown.wait()
        await trio.sleep(20)
        server.approve("ann")
        await session.wait_logged_in()
    server.check()
    server.deny()
    async with logged_out(server, client) as session:
        with pytest.raises(LoginDeclinedError):
            await session.log_in(client.device(prompt=server.person()))


async def test_p27_each_question_has_an_assertion_of_its_own() -> None:
    secret = "cs-canary" * 4
    server = AuthServer(scope="notes", client_secret=secret)
    client, prompt = client_of(server, auth=ClientSecretJWT(secret)), Watched(server.person())
    async with logged_out(server, client) as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.log_in, client.device(prompt=prompt))
        await trio.sleep(60)
        server.approve("ann")
        await session.wait_logged_in()
    server.check()


async def test_what_is_asked_for_is_said_when_the_codes_are_asked_for() -> None:
    world = World({DEVICE: CODES, TOKEN_URL: GOOD})
    client = OAuthClient(
        "notes",
        server=BY_HAND,
        scope="notes offline_access",
        resource=["https://one.test", "https://two.test"],
        parameters={"audience": "a"},
    )
    login = client.device(prompt=Watched(), parameters={"login_hint": "ann"})
    tokens = await login(world.open())
    assert tokens.scope == {"notes", "offline_access"}
    first, second = world.forms
    assert first == {
        "audience": ["a"],
        "login_hint": ["ann"],
        "scope": ["notes offline_access"],
        "resource": ["https://one.test", "https://two.test"],
        "client_id": ["notes"],
    }
    assert second == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:device_code"],
        "device_code": ["dc-canary"],
        "client_id": ["notes"],
    }


# --- when it asks ---------------------------------------------------------------------------------


async def test_it_waits_before_the_first_question_and_a_fifth_longer_than_it_must() -> None:
    assert await polled(PENDING, PENDING, GOOD) == pytest.approx([6, 12, 18])
    assert await polled(PENDING, GOOD, codes={**CODES, "interval": "10"}) == pytest.approx([12, 24])


async def test_slow_down_counts_for_good_and_with_it_the_servers_own_interval() -> None:
    slow, slower = refusal("slow_down"), refusal("slow_down", interval=20)
    asked = await polled(slow, PENDING, slower, GOOD)
    assert asked == pytest.approx([6, 18, 30, 54])


async def test_retry_after_is_heeded_and_faults_back_off_without_ending_the_log_in() -> None:
    later = httpx.Response(400, headers={"Retry-After": "30"}, json=dict(PENDING.json()))
    broken = [httpx.ConnectError("x"), httpx.Response(502, html="<p>Bad gateway")]
    asked = await polled(later, *broken, refusal("temporarily_unavailable"), GOOD)
    assert asked == pytest.approx([6, 36, 48, 72, 120])


async def test_a_server_that_hangs_is_asked_again() -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    server.hang(at="token")
    client = client_of(server)
    async with logged_out(server, client) as session:
        await session.log_in(client.device(prompt=server.person()))
        assert session.logged_in


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (refusal("access_denied"), LoginDeclinedError, "^access_denied$"),
        (
            refusal("authorization_declined", error_description="no dc-canary"),
            LoginDeclinedError,
            "^authorization_declined: no ",
        ),
        (refusal("expired_token", 200), LoginTimeoutError, "not entered in time"),
        (refusal("code_expired", error_description="over"), LoginTimeoutError, "over"),
        (refusal("invalid_grant"), LoginError, "^invalid_grant"),
        (refusal("incorrect_device_code"), LoginError, "^incorrect_device_code$"),
        (refusal("dc-canary"), LoginError, r"^\[redacted\]$"),
        (refusal("invalid_client", 401), GrantMisconfiguredError, "^invalid_client"),
    ],
)
async def test_the_servers_no_ends_it(
    answer: httpx.Response, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        await polled(answer)
    assert type(caught.value) is error
    assert not SECRET.search(f"{caught.value!r} {caught.value.__dict__!r}")
    assert [frame for frame in frames(caught.value) if SECRET.search(frame)] == []


async def test_a_code_that_is_not_entered_expires() -> None:
    server = AuthServer(scope="notes")
    client, prompt = client_of(server), Watched()
    async with logged_out(server, client) as session:
        with pytest.raises(LoginTimeoutError, match="expired_token"):
            await session.log_in(client.device(prompt=prompt))
    assert prompt.cancelled
    assert trio.current_time() == 600
    server.check()


async def test_an_expired_code_is_not_asked_about_any_more() -> None:
    with pytest.raises(LoginTimeoutError, match="not entered in time"):
        await polled(PENDING, PENDING, PENDING, codes={**CODES, "expires_in": 20})
    assert trio.current_time() == pytest.approx(20)


async def test_a_prompt_that_fails_ends_it_at_once_with_its_own_error() -> None:
    async def broken(_: Invitation, /) -> str | None:
        raise OSError("no window")

    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(OSError, match="no window") as caught:
        await client.device(prompt=broken)(World({DEVICE: CODES}).open())
    assert type(caught.value) is OSError
    assert trio.current_time() < 5


async def test_what_a_person_pastes_changes_nothing() -> None:
    async def pastes(_: Invitation, /) -> str | None:
        return "WDJB-MJHT"

    world = World({DEVICE: CODES, TOKEN_URL: [PENDING, GOOD]})
    client = OAuthClient("notes", server=BY_HAND)
    assert (await client.device(prompt=pastes)(world.open())).access_token == "at2"


async def test_without_a_prompt_of_the_programs_the_default_is_used() -> None:
    world = World({DEVICE: CODES, TOKEN_URL: GOOD})
    client = OAuthClient("notes", server=BY_HAND)
    with prompting(Watched()):
        tokens = await client.device()(world.open())
    assert tokens.access_token == "at2"


async def test_a_login_without_a_refresh_token_says_so(caplog: pytest.LogCaptureFixture) -> None:
    await polled({"access_token": "at2", "token_type": "Bearer"})
    assert "no refresh token came" in caplog.text
    assert [record.levelno for record in caplog.records if record.name == "trioauth"] == [
        logging.WARNING
    ]


# --- before the prompt appears --------------------------------------------------------------------


async def never(_: Invitation, /) -> str | None:
    raise AssertionError("the prompt appeared")


async def test_p23_nothing_is_asked_of_a_person_whose_login_could_not_be_kept() -> None:
    server = AuthServer(scope="notes")
    client = client_of(server)
    async with logged_out(server, client, store=FullStore()) as session:
        with pytest.raises(StoreError, match="the disk is full"):
            await session.log_in(client.device(prompt=never))


@pytest.mark.parametrize("missing", ["device_authorization_endpoint", "token_endpoint"])
async def test_p23_nothing_is_asked_of_a_person_if_an_endpoint_is_missing(missing: str) -> None:
    without: dict[str, Any] = {missing: None}
    client = OAuthClient("notes", server=attrs.evolve(BY_HAND, **without))
    world = World({f"{ISSUER}/.well-known/oauth-authorization-server": {"issuer": ISSUER}})
    with pytest.raises(MetadataError, match=missing):
        await client.device(prompt=never)(world.open())


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(404), LoginError, "no_device_login: .*try the browser"),
        (refusal("unauthorized_client"), LoginError, "no_device_login: .*may block"),
        (refusal("device_flow_disabled"), LoginError, "device_flow_disabled.*try the browser"),
        (refusal("invalid_grant"), LoginError, "no_device_login"),
        ({}, LoginError, "no_device_login"),
        ({**CODES, "device_code": 7}, LoginError, "no_device_login"),
        ({**CODES, "verification_uri": ""}, LoginError, "no_device_login"),
        (refusal("invalid_client", 401), GrantMisconfiguredError, "^invalid_client"),
        (refusal("invalid_scope"), GrantMisconfiguredError, "^invalid_scope"),
        (httpx.Response(503), RefreshUnavailableError, "503"),
        (httpx.Response(429), RefreshUnavailableError, "429"),
        (httpx.ConnectError("x"), RefreshUnavailableError, "can't be reached"),
    ],
)
async def test_p23_nothing_is_asked_of_a_person_without_codes(
    answer: object, error: type[Exception], says: str
) -> None:
    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(error, match=says) as caught:
        await client.device(prompt=never)(World({DEVICE: answer}).open())
    assert type(caught.value) is error
    assert [frame for frame in frames(caught.value) if SECRET.search(frame)] == []


def test_parameters_of_the_protocol_are_refused_at_once() -> None:
    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(ValueError, match="^parameters must not have 'scope'"):
        client.device(parameters={"scope": "mine"})


# --- what is left ---------------------------------------------------------------------------------


def test_p24_cancelled_anywhere_a_log_in_by_device_leaves_no_task_and_no_half_a_login() -> None:
    async def scenario(victim: Victim) -> None:
        server = AuthServer(scope="notes")
        client, prompt = client_of(server), Watched(server.person())
        channel_tasks = trio.lowlevel.current_statistics().tasks_living
        async with logged_out(server, client) as session:
            async with trio.open_nursery() as nursery:

                async def approve() -> None:
                    await trio.sleep(8)
                    server.approve("ann")

                nursery.start_soon(approve)
                await victim(session.log_in, client.device(prompt=prompt))
            await trio.testing.wait_all_tasks_blocked()
            if session.logged_in:
                assert (await session.get("/notes")).status_code == 200
            else:
                assert victim.cancelled
        assert trio.lowlevel.current_statistics().tasks_living == channel_tasks

    tried = every_checkpoint(scenario, seeds=[0])
    assert tried.failures == ()
    assert len(tried.points) > 15


async def test_p17_the_codes_do_not_show() -> None:
    seen: list[str] = []

    async def prompt(invitation: Invitation, /) -> str | None:
        seen.append(repr(invitation))
        return None

    world = World({DEVICE: {**CODES, "user_code": "uc-canary"}, TOKEN_URL: GOOD})
    login = OAuthClient("notes", server=BY_HAND).device(prompt=prompt)
    await login(world.open())
    assert not SECRET.search(f"{seen} {login!r}")
