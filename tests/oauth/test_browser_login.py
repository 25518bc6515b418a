"""Logging in with a browser, all the way: an `OAuthClient`, a session, and `AuthServer`."""

from __future__ import annotations

import itertools
import logging
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
import trio
import trio.testing

from tests.canary import SECRET
from trioauth import (
    AuthorizationServer,
    BackChannel,
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
    open_session,
)
from trioauth.testing import AuthServer, Victim, every_checkpoint, prompting

from .people import Elsewhere, FullStore, Watched, client_of, is_free, logged_out
from .world import GOOD, ISSUER, TOKEN_URL, World, form_of, frames

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioauth import Prompt
    from trioauth.testing import Endpoint

AUTHORIZE = f"{ISSUER}/authorize"
PAR = f"{ISSUER}/par"
BY_HAND = AuthorizationServer(
    issuer=ISSUER, token_endpoint=TOKEN_URL, authorization_endpoint=AUTHORIZE
)
WITHOUT_PAR: dict[str, Any] = {"pushed_authorization_request_endpoint": None}


def channel_of(server: AuthServer) -> BackChannel:
    return BackChannel(lambda: httpx.AsyncClient(transport=server.transport()))


async def never(_: Invitation, /) -> str | None:
    raise AssertionError("the prompt appeared")


def paste(**changes: str) -> Prompt:
    """A person who pastes an address with this in it, and the right state."""

    async def prompt(invitation: Invitation, /) -> str | None:
        query = httpx.QueryParams(urlsplit(invitation.url).query)
        said = {"code": "ac-canary", "state": query["state"], **changes}
        return f"{query['redirect_uri']}?{httpx.QueryParams(said)}"

    return prompt


# --- it works -------------------------------------------------------------------------------------


async def test_a_session_logs_in_with_a_client_and_a_person_who_pastes_the_address() -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    client = client_of(server)
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=server.person()))
        assert session.logged_in
        assert (await session.get("/notes")).status_code == 200
        await session.refresh()
        assert session.generation == 2
    server.check()


async def test_a_browser_that_follows_the_redirect_ends_the_log_in_and_gets_the_page() -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    client, person = client_of(server), server.person(follows=True)
    async with logged_out(server, client) as session, trio.open_nursery() as nursery:
        prompt = Elsewhere(person, nursery)
        await session.log_in(client.browser(prompt=prompt, program="<Notes>"))
        assert session.logged_in
    assert person.page is not None
    assert "You are logged in" in person.page
    assert "&lt;Notes&gt;" in person.page
    server.check()


async def test_over_real_sockets_the_whole_way() -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    async with server.serve() as url:
        client = client_of(server)
        async with open_session(client, base_url=url) as session:
            await session.log_in(client.browser(prompt=server.person(follows=True)))
            assert (await session.get("/notes")).status_code == 200
    server.check()


@pytest.mark.parametrize(
    ("auth", "options"),
    [
        (None, {}),
        (ClientSecretBasic("cs-canary"), {"client_secret": "cs-canary"}),
        (ClientSecretJWT("cs-canary" * 4), {"client_secret": "cs-canary" * 4}),
    ],
    ids=["public", "basic", "jwt"],
)
async def test_a_request_is_pushed_where_the_server_offers_that(
    auth: Any, options: dict[str, Any]
) -> None:
    server = AuthServer(scope="notes", **options)
    server.approve("ann")
    client, prompt = client_of(server, auth=auth), Watched(server.person())
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=prompt))
    assert set(prompt.query) == {"client_id", "request_uri"}
    server.check()


async def test_without_an_offer_the_address_says_all_of_it_and_resources_one_by_one() -> None:
    server = AuthServer(scope="notes")
    server.lie(metadata=WITHOUT_PAR)
    server.approve("ann")
    client = client_of(server, parameters={"audience": "a"})
    prompt = Watched(server.person())
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=prompt, parameters={"login_hint": "ann"}))
    assert prompt.query["audience"] == ["a"]
    assert prompt.query["login_hint"] == ["ann"]
    assert prompt.query["code_challenge_method"] == ["S256"]
    assert is_free(prompt.port)
    server.check()


async def test_several_resources_are_sent_one_by_one_in_all_three_requests() -> None:
    resources = ("https://one.test", "https://two.test")
    world = World({PAR: {"request_uri": "urn:x"}, TOKEN_URL: GOOD})
    client = OAuthClient("notes", server=BY_HAND, resource=resources)
    prompt = Watched()

    async def person(invitation: Invitation, /) -> str | None:
        prompt.invitation = invitation
        return await paste()(invitation)

    await client.browser(prompt=person)(world.open())
    assert prompt.query["resource"] == list(resources)
    pushing = attrs.evolve(BY_HAND, pushed_authorization_request_endpoint=PAR)
    client = attrs.evolve(client, server=pushing)
    with pytest.raises(LoginTimeoutError):
        await client.browser(prompt=prompt, patience=0.01)(world.open())
    exchanged, pushed = world.forms
    assert exchanged["resource"] == pushed["resource"] == list(resources)
    assert exchanged["grant_type"] == ["authorization_code"]


async def test_an_answer_by_post_is_asked_for_and_pasting_works_all_the_same() -> None:
    server = AuthServer(scope="notes")
    server.lie(metadata=WITHOUT_PAR)
    server.approve("ann")
    client, prompt = client_of(server), Watched(server.person())
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=prompt, form_post=True))
    assert prompt.query["response_mode"] == ["form_post"]


async def test_the_tokens_of_an_answer_without_a_scope_have_the_one_that_was_asked_for() -> None:
    client = OAuthClient("notes", server=BY_HAND, scope="notes")
    tokens = await client.browser(prompt=paste())(World({TOKEN_URL: GOOD}).open())
    assert tokens.scope == {"notes"}


async def test_a_second_login_replaces_the_first_one() -> None:
    server = AuthServer(scope="notes")
    server.approve("ann")
    client = client_of(server)
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=server.person()))
        first = session.generation
        await session.log_in(client.browser(prompt=server.person()))
        assert session.generation > first
    server.check()


# --- before the prompt appears --------------------------------------------------------------------


async def test_p23_nothing_is_asked_of_a_person_whose_login_could_not_be_kept() -> None:
    server = AuthServer(scope="notes")
    client = client_of(server)
    async with logged_out(server, client, store=FullStore()) as session:
        with pytest.raises(StoreError, match="the disk is full"):
            await session.log_in(client.browser(prompt=never))


async def test_p23_nothing_is_asked_of_a_person_while_the_endpoints_are_not_known() -> None:
    server = AuthServer(scope="notes")
    server.fail(503, at="metadata")
    client = client_of(server)
    async with logged_out(server, client) as session:
        with pytest.raises(RefreshUnavailableError, match="503"):
            await session.log_in(client.browser(prompt=never))


@pytest.mark.parametrize("missing", ["authorization_endpoint", "token_endpoint"])
async def test_p23_nothing_is_asked_of_a_person_if_an_endpoint_is_missing(missing: str) -> None:
    server = AuthServer(scope="notes")
    server.lie(metadata={missing: None})
    client = client_of(server)
    async with logged_out(server, client) as session:
        with pytest.raises(MetadataError, match=missing):
            await session.log_in(client.browser(prompt=never))


async def test_p23_nothing_is_asked_of_a_person_while_no_port_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = AuthServer(scope="notes")
        client = client_of(server, ports=(port,))
        async with logged_out(server, client) as session:
            with pytest.raises(LoginError, match=f"no_port: .*{port}"):
                await session.log_in(client.browser(prompt=never))


async def test_p23_nothing_is_asked_of_a_person_if_the_server_does_not_take_the_request() -> None:
    server = AuthServer(scope="notes")
    client = client_of(server, scope="more")
    async with logged_out(server, client) as session:
        with pytest.raises(GrantMisconfiguredError, match="invalid_request"):
            await session.log_in(client.browser(prompt=never))


async def test_p23_nothing_is_asked_if_pushing_is_wanted_and_no_one_says_where() -> None:
    server = attrs.evolve(BY_HAND, require_pushed_authorization_requests=True)
    client = OAuthClient("notes", server=server)
    with pytest.raises(MetadataError, match="pushed_authorization_request_endpoint"):
        await client.browser(prompt=never)(World().open())


@pytest.mark.parametrize("answer", [{}, {"request_uri": 7}, httpx.Response(200, text="hello")])
async def test_p23_nothing_is_asked_if_a_pushed_request_got_no_address(answer: object) -> None:
    server = attrs.evolve(BY_HAND, pushed_authorization_request_endpoint=PAR)
    client = OAuthClient("notes", server=server)
    with pytest.raises(RefreshUnavailableError, match="without a request_uri"):
        await client.browser(prompt=never)(World({PAR: answer}).open())


async def test_p20_a_server_that_hangs_ends_the_log_in_after_half_a_minute(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(scope="notes")
    client = client_of(server)
    places: tuple[Endpoint, ...] = ("metadata", "par")
    for place in places:
        server.hang(at=place)
        began = trio.current_time()
        with pytest.raises(RefreshUnavailableError, match="no answer within 30 seconds"):
            await client.browser(prompt=never)(channel_of(server))
        assert trio.current_time() - began == 30
    server.approve()
    server.hang(at="token")
    with trio.fail_after(60), pytest.raises(RefreshUnavailableError, match="exchanging the code"):
        await client.browser(prompt=server.person())(channel_of(server))


def test_a_redirect_uri_elsewhere_and_parameters_of_the_protocol_are_refused_at_once() -> None:
    client = OAuthClient("notes", server=BY_HAND, redirect_uri="https://app.test/callback")
    with pytest.raises(ValueError, match="^redirect_uri must be http://127"):
        client.browser()
    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(ValueError, match="^parameters must not have 'state'"):
        client.browser(parameters={"state": "mine"})
    for patience in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="^patience must be"):
            client.browser(patience=patience)


# --- it fails -------------------------------------------------------------------------------------


async def test_a_person_who_says_no_ends_the_log_in_and_the_page_says_so() -> None:
    server = AuthServer(scope="notes")
    server.deny()
    client, person = client_of(server), server.person(follows=True)
    async with logged_out(server, client) as session, trio.open_nursery() as nursery:
        with pytest.raises(LoginDeclinedError, match="access_denied"):
            await session.log_in(client.browser(prompt=Elsewhere(person, nursery)))
        assert not session.logged_in
    assert person.page is not None
    assert "You are not logged in" in person.page
    server.check()


async def test_a_person_who_never_answers_is_waited_for_ten_minutes(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(scope="notes")
    server.lie(metadata=WITHOUT_PAR)
    client, prompt = client_of(server), Watched()
    began = trio.current_time()
    with pytest.raises(LoginTimeoutError, match="no_answer"):
        await client.browser(prompt=prompt)(channel_of(server))
    assert trio.current_time() - began == 600
    assert prompt.invitation is not None
    assert prompt.invitation.expires_at == began + 600
    assert prompt.cancelled
    assert is_free(prompt.port)


@pytest.mark.parametrize(
    "lie", [{"state": "another"}, {"state": None}, {"iss": "https://evil.test"}, {"iss": None}]
)
async def test_p25_a_callback_that_is_not_this_log_ins_is_not_exchanged(
    lie: dict[str, Any], autojump_clock: MockClock
) -> None:
    server = AuthServer(scope="notes")
    server.lie(callback=lie)
    server.approve("ann")
    client = client_of(server)
    with pytest.raises(LoginTimeoutError):
        await client.browser(prompt=server.person())(channel_of(server))
    assert server.ledger.presented == []
    assert all(seen.path != urlsplit(server.token_url).path for seen in server.ledger.requests_seen)


async def test_p25_an_iss_is_not_compared_where_one_address_stands_for_all_tenants(
    autojump_clock: MockClock,
) -> None:
    server = attrs.evolve(
        BY_HAND,
        issuer="https://login.microsoftonline.com/{tenantid}/v2.0",
        authorization_response_iss_parameter_supported=True,
    )
    client = OAuthClient("notes", server=server)
    prompt = paste(iss="https://login.microsoftonline.com/7/v2.0")
    assert (await client.browser(prompt=prompt)(World({TOKEN_URL: GOOD}).open())).access_token


async def test_a_code_that_the_server_does_not_take_ends_the_log_in_and_nothing_else() -> None:
    server = AuthServer(scope="notes")
    client = client_of(server)
    async with server.open_session(client) as session:
        with pytest.raises(LoginError, match=r"^invalid_grant") as caught:
            await session.log_in(client.browser(prompt=_with_another_code(server)))
        assert caught.value.code == "invalid_grant"
        assert caught.value.__cause__ is None
        assert session.logged_in
        assert session.generation == 1
    server.complaints.clear()


def _with_another_code(server: AuthServer) -> Prompt:
    server.lie(metadata={**WITHOUT_PAR, "authorization_response_iss_parameter_supported": False})
    return paste(code="ac-canary-unknown")


async def test_a_client_that_the_server_does_not_know_any_more_is_misconfigured() -> None:
    world = World({TOKEN_URL: httpx.Response(401, json={"error": "invalid_client"})})
    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(GrantMisconfiguredError, match="invalid_client"):
        await client.browser(prompt=paste())(world.open())


async def test_a_refusal_without_a_description_says_at_least_what_was_refused() -> None:
    world = World({TOKEN_URL: httpx.Response(400, json={"error": "invalid_grant"})})
    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(LoginError, match="^invalid_grant: status 400"):
        await client.browser(prompt=paste())(world.open())


# --- the prompt -----------------------------------------------------------------------------------


async def test_a_prompt_that_fails_ends_the_log_in_with_its_own_error() -> None:
    ports: list[int] = []

    async def broken(invitation: Invitation, /) -> str | None:
        query = httpx.QueryParams(urlsplit(invitation.url).query)
        ports.append(urlsplit(query["redirect_uri"]).port or 0)
        raise OSError("no window")

    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(OSError, match="no window") as caught:
        await client.browser(prompt=broken)(World().open())
    assert type(caught.value) is OSError
    assert is_free(ports[0])


async def test_control_c_in_a_prompt_comes_out_as_itself() -> None:
    async def broken(_: Invitation, /) -> str | None:
        raise KeyboardInterrupt

    client = OAuthClient("notes", server=BY_HAND)
    with pytest.raises(KeyboardInterrupt):
        await client.browser(prompt=broken)(World().open())


async def test_a_prompt_that_fails_when_the_answer_is_here_spoils_nothing() -> None:
    ready, crashed = trio.Event(), trio.Event()

    async def exchange(_: httpx.Request) -> httpx.Response:
        ready.set()
        await crashed.wait()
        await trio.testing.wait_all_tasks_blocked()
        return httpx.Response(200, json=GOOD)

    async def deliver(invitation: Invitation, /) -> str | None:
        address = str(await paste()(invitation))
        nursery.start_soon(browser.get, address)
        await ready.wait()
        crashed.set()
        raise OSError("the browser crashed")

    channel = BackChannel(lambda: httpx.AsyncClient(transport=httpx.MockTransport(exchange)))
    client = OAuthClient("notes", server=BY_HAND)
    async with httpx.AsyncClient(trust_env=False) as browser, trio.open_nursery() as nursery:
        with trio.fail_after(10):
            tokens = await client.browser(prompt=deliver)(channel)
    assert tokens.access_token == "at2"


async def test_a_prompt_with_nothing_more_to_say_is_waited_for_no_more() -> None:
    server = AuthServer(scope="notes")
    client, person = client_of(server), server.person()

    async def silent(invitation: Invitation, /) -> str | None:
        async with httpx.AsyncClient(trust_env=False) as browser:
            address = await person(invitation)
            assert address is not None
            await browser.get(address)
        return None

    server.approve()
    async with logged_out(server, client) as session:
        await session.log_in(client.browser(prompt=silent))
        assert session.logged_in


async def test_a_person_who_pastes_something_else_is_told_what_is_wrong_with_it() -> None:
    found: list[str | None] = []

    async def prompt(invitation: Invitation, /) -> str | None:
        assert invitation.check is not None
        right = str(await paste()(invitation))
        found.extend(map(invitation.check, ["http://127.0.0.1/callback?code=x", right]))
        return right

    client = OAuthClient("notes", server=BY_HAND)
    await client.browser(prompt=prompt, paste=True)(World({TOKEN_URL: GOOD}).open())
    assert found == ["no state, so it belongs to no log-in", None]


async def test_an_invitation_says_who_asks_and_where() -> None:
    seen: list[Invitation] = []

    async def prompt(invitation: Invitation, /) -> str | None:
        seen.append(invitation)
        return await paste()(invitation)

    client = OAuthClient("notes", server=BY_HAND)
    world = World({TOKEN_URL: GOOD})
    for paste_there in (False, True):
        login = client.browser(prompt=prompt, paste=paste_there, program="Notes")
        await login(world.open())
    assert [(each.kind, each.client_id, each.where) for each in seen] == [
        ("browser", "Notes", "id.example.com"),
        ("paste", "Notes", "id.example.com"),
    ]


async def test_without_a_prompt_of_the_programs_the_default_is_used() -> None:
    client = OAuthClient("notes", server=BY_HAND)
    with prompting(paste()):
        tokens = await client.browser()(World({TOKEN_URL: GOOD}).open())
    assert tokens.access_token == "at2"


# --- what is left ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_p24_cancelled_anywhere_a_log_in_leaves_no_port_no_task_and_no_half_a_login() -> None:
    runs = itertools.count()

    async def scenario(victim: Victim) -> None:
        server = AuthServer(scope="notes")
        server.approve("ann")
        follows = next(runs) % 2 == 0
        server.lie(metadata=WITHOUT_PAR)
        client, prompt = client_of(server), Watched(server.person(follows=follows))
        async with logged_out(server, client) as session:
            await victim(session.log_in, client.browser(prompt=prompt))
            with trio.fail_after(5):
                # Once there are tokens, the login is completed without the task.
                await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living < 15
            if session.logged_in:
                assert (await session.get("/notes")).status_code == 200
            else:
                assert victim.cancelled
            if prompt.invitation is not None:
                assert is_free(prompt.port)
        assert trio.lowlevel.current_statistics().tasks_living <= 3

    tried = every_checkpoint(scenario, seeds=[0], clock=lambda: trio.testing.MockClock(rate=1))
    assert tried.failures == ()
    assert len(tried.points) > 20


async def test_p17_no_secret_of_a_log_in_shows_in_its_errors_or_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr(
        "trioauth.oauth.logins.authorization.secrets.token_urlsafe",
        lambda _: f"vf-canary-{next(numbers):033}",
    )
    caplog.set_level(logging.DEBUG, "trioauth")
    client = OAuthClient("notes", server=BY_HAND)
    pushing = attrs.evolve(BY_HAND, pushed_authorization_request_endpoint=PAR)

    def echo(request: httpx.Request) -> httpx.Response:
        said = {name: values[0] for name, values in form_of(request).items()}
        words = f"{said.get('code')} {said.get('code_verifier')} {said.get('state')}"
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": words})

    errors: list[BaseException] = []
    for server, prompt in [
        (BY_HAND, paste()),
        (pushing, never),
        (BY_HAND, paste(error="access_denied", code="")),
        (BY_HAND, paste(state="wrong")),
    ]:
        login = attrs.evolve(client, server=server).browser(prompt=prompt, patience=0.1)
        assert not SECRET.search(repr(login))
        with pytest.raises(Exception, match=".") as caught:
            await login(World({TOKEN_URL: echo, PAR: echo}).open())
        errors.append(caught.value)
    assert len({type(error) for error in errors}) > 1
    for error in errors:
        assert not SECRET.search(f"{error} {error!r} {error.__dict__!r}")
        assert [frame for frame in frames(error) if SECRET.search(frame)] == []
    assert not SECRET.search(caplog.text)


# --- refresh tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "options", "says"),
    [
        ({"scopes_supported": ("offline_access",)}, {}, "this server wants the scope offline"),
        ({}, {"scope": "notes"}, "most servers want the scope offline_access"),
        ({}, {"scope": "notes offline_access"}, "It was asked for"),
        (
            {"authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth"},
            {"parameters": {"access_type": "offline"}},
            r"wants parameters=\{'prompt': 'consent'\}",
        ),
        (
            {"authorization_endpoint": "https://www.dropbox.com/oauth2/authorize"},
            {},
            r"wants parameters=\{'token_access_type': 'offline'\}",
        ),
        (
            {"authorization_endpoint": "https://www.dropbox.com/oauth2/authorize"},
            {"parameters": {"token_access_type": "offline"}},
            "It was asked for",
        ),
    ],
)
async def test_a_login_without_a_refresh_token_says_what_was_missing(
    server: dict[str, Any],
    options: dict[str, Any],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World({TOKEN_URL: {"access_token": "at2", "token_type": "Bearer"}})
    client = OAuthClient("notes", server=attrs.evolve(BY_HAND, **server), **options)
    await client.browser(prompt=paste())(world.open())
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert re.search(says, record.getMessage())


async def test_a_login_with_a_refresh_token_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    client = OAuthClient("notes", server=BY_HAND)
    await client.browser(prompt=paste())(World({TOKEN_URL: GOOD}).open())
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
