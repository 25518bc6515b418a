"""Providers: what each wants, what it answers, and logging in there, as the personas play them."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio

import trioauth
from trioauth import (
    GrantMisconfiguredError,
    Invitation,
    LoggedIn,
    LoggedOut,
    LoginDeclinedError,
    LoginError,
    LoginTimeoutError,
    RefreshUnavailableError,
    Tokens,
    providers,
)
from trioauth.oauth.answers import scopes_in
from trioauth.oauth.logins.obtained import remedy
from trioauth.oauth.metadata import AuthorizationServer
from trioauth.oauth.offline import Offline
from trioauth.testing._metadata import MEMBERS
from trioauth.testing._personas import NAMES, find_persona

from .providers import KNOWN, WITH_DEVICES, client_of, known, server_like

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioauth import OAuthClient, Session
    from trioauth.testing import AuthServer


async def log_in_and_refresh(server: AuthServer, client: OAuthClient, how: Any) -> LoggedIn:
    """Log in, let the access token expire, and use the API before and after."""
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(how)
        state = session.state
        assert (await session.get("/notes")).status_code == 200
        server.expire()
        assert (await session.get("/notes")).status_code == 200
        assert session.generation == 2
    assert isinstance(state, LoggedIn)
    server.check()
    return state


# --- the data -------------------------------------------------------------------------------------


def test_there_is_a_provider_for_each_persona_of_one() -> None:
    # A GitHub OAuth app is at the same endpoints; MCP is no provider.
    assert set(NAMES) - {"plain", "github-oauth-app", "mcp"} == providers.BY_NAME.keys()
    assert KNOWN.keys() == providers.BY_NAME.keys()
    assert providers.BY_NAME.keys() < set(providers.__all__)
    assert trioauth.providers is providers


@pytest.mark.parametrize("name", KNOWN)
def test_each_provider_says_where_its_data_is_from_and_when_it_was_read(name: str) -> None:
    provider = KNOWN[name]
    assert provider.name == name
    assert re.search("docs|report|common|#", provider.source)
    assert date.fromisoformat(provider.date) >= date(2026, 11, 27)


@pytest.mark.parametrize("name", KNOWN)
def test_each_provider_has_the_issuer_or_the_endpoints_of_its_persona(name: str) -> None:
    provider, persona = KNOWN[name], find_persona(name)
    if provider.server is None:
        assert provider.issuer == persona.issuer
        return
    assert provider.issuer is None
    assert persona.well_known == ()
    for member, endpoint in MEMBERS.items():
        assert getattr(provider.server, member) == persona.endpoints.get(endpoint), member


@pytest.mark.parametrize(
    ("provider", "issuer"),
    [
        (providers.entra("contoso.com"), "https://login.microsoftonline.com/contoso.com/v2.0"),
        (
            providers.entra(host="login.microsoftonline.us"),
            "https://login.microsoftonline.us/common/v2.0",
        ),
        (providers.okta("dev-1.okta.com", None), "https://dev-1.okta.com"),
        (providers.okta("https://dev-1.okta.com/", "a"), "https://dev-1.okta.com/oauth2/a"),
        (providers.auth0("https://t.auth0.com/"), "https://t.auth0.com/"),
        (providers.gitlab("git.example"), "https://git.example"),
        (providers.salesforce("x.my.salesforce.com"), "https://x.my.salesforce.com"),
        (
            providers.cognito("us-east-2_A"),
            "https://cognito-idp.us-east-2.amazonaws.com/us-east-2_A",
        ),
        (providers.keycloak("http://localhost:8080/", "r"), "http://localhost:8080/realms/r"),
    ],
)
def test_a_host_or_a_url_is_enough_to_name_a_server(
    provider: providers.Provider, issuer: str
) -> None:
    assert provider.issuer == issuer
    assert provider.client("notes").issuer == issuer


def test_github_may_be_on_a_host_of_your_own() -> None:
    server = providers.github("github.example").server
    assert server is not None
    assert server.token_endpoint == "https://github.example/login/oauth/access_token"


def test_auth0_is_told_the_audience_if_there_is_one() -> None:
    assert providers.auth0("t.auth0.com").parameters == {}
    client = providers.auth0("t.auth0.com", audience="https://api.example.com").client("notes")
    assert client.parameters == {"audience": "https://api.example.com"}


# --- the client -----------------------------------------------------------------------------------


def test_a_client_asks_for_what_it_takes_and_what_the_program_says_goes_before() -> None:
    client = providers.google().client(
        "notes", scope="openid email", parameters={"prompt": "select_account"}
    )
    assert client.parameters == {"access_type": "offline", "prompt": "select_account"}
    assert client.scope == "openid email"
    entra = providers.entra().client("notes", scope="User.Read", resource="https://api.example.com")
    assert entra.scope == "User.Read offline_access"
    assert entra.resource == ("https://api.example.com",)
    twice = providers.entra().client("notes", scope="offline_access User.Read")
    assert twice.scope == "offline_access User.Read"


def test_a_client_that_needs_no_refresh_token_asks_for_none() -> None:
    assert providers.google().client("notes", offline=False).parameters == {}
    assert providers.okta("dev-1.okta.com").client("notes", offline=False).scope == ""
    auth0 = providers.auth0("t.auth0.com", audience="a").client("notes", offline=False)
    assert auth0.parameters == {"audience": "a"}


def test_a_redirect_uri_and_ports_of_the_programs_own_go_before_the_providers() -> None:
    cognito = providers.cognito("eu-west-1_Example")
    assert cognito.redirect_uris == ("http://localhost:8765/callback",)
    assert cognito.client("notes").ports == (8765,)
    assert cognito.client("notes", ports=(8000, 18000)).ports == (8000, 18000)
    own = cognito.client("notes", redirect_uri="http://localhost:9000/back")
    assert (own.redirect_uri, own.ports) == ("http://localhost:9000/back", ())
    own.browser()
    assert providers.entra().redirect_uris == ("http://localhost",)
    assert providers.gitlab().client("notes").ports == ()


# --- logging in with a browser --------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
async def test_a_person_logs_in_at_each_provider_and_the_login_is_renewed(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.approve("ann")
    client = client_of(name, provider)
    state = await log_in_and_refresh(server, client, client.browser(prompt=server.person()))
    assert "notes" in state.scope
    assert "refresh token" not in caplog.text


@pytest.mark.parametrize("name", KNOWN)
async def test_a_person_says_no_at_each_provider(name: str) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.deny()
    client = client_of(name, provider)
    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(LoginDeclinedError):
            await session.log_in(client.browser(prompt=server.person()))
    server.check()


@pytest.mark.parametrize("name", [name for name in KNOWN if KNOWN[name].ports])
async def test_another_port_than_the_registered_ones_is_refused_where_each_letter_counts(
    name: str, autojump_clock: MockClock
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.approve("ann")
    client = client_of(name, provider, ports=known(name).ports)
    person = server.person()
    async with server.open_session(client, logged_in=False) as session:
        # Where the request is pushed the program hears of it, and else the person alone.
        with pytest.raises((LoginTimeoutError, GrantMisconfiguredError)):
            await session.log_in(client.browser(prompt=person, patience=5))
    assert any("redirect_uri" in complaint for complaint in server.complaints)


async def test_google_gives_a_refresh_token_each_time_because_consent_is_asked_for() -> None:
    server = server_like("google", known("google"))
    server.approve("ann")
    client = client_of("google", known("google"))
    for _ in range(2):
        await log_in_and_refresh(server, client, client.browser(prompt=server.person()))


async def test_the_api_takes_no_token_of_auth0_without_an_audience() -> None:
    provider = attrs.evolve(known("auth0"), parameters={})
    server = server_like("auth0", provider)
    server.approve("ann")
    client = client_of("auth0", provider)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
        assert (await session.get("/notes")).status_code == 401


@pytest.mark.parametrize("name", ["github", "slack"])
async def test_scopes_with_commas_in_between_are_several(name: str) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.approve("ann")
    client = client_of(name, provider, scope="chat:write users:read")
    states: list[object] = []
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
        states.append(session.state)
        server.expire()
        await session.get("/notes")
        states.append(session.state)
    scopes = {"chat:write", "users:read"}
    assert [state.scope for state in states if isinstance(state, LoggedIn)] == [scopes, scopes]


@pytest.mark.parametrize(
    ("said", "known", "scopes"),
    [
        ("repo,gist", "repo", {"repo", "gist"}),
        ("repo,,gist,", "gist", {"repo", "gist"}),
        ("a,b c", "a,b c", {"a,b", "c"}),
        ("a,b", "other", {"a,b"}),
        ("a,b", "", {"a,b"}),
        ("a b", "a", {"a", "b"}),
        ("", "a", set[str]()),
    ],
)
def test_a_comma_separates_scopes_only_if_one_of_them_is_known(
    said: str, known: str, scopes: set[str]
) -> None:
    assert scopes_in(frozenset(said.split()), known.split()) == scopes


@pytest.mark.parametrize(
    ("name", "code"), [("github", "bad_verification_code"), ("slack", "invalid_code")]
)
async def test_a_code_that_is_refused_with_200_ends_the_log_in_with_the_servers_word(
    name: str, code: str
) -> None:
    async def pastes_a_wrong_code(_: Invitation, /) -> str | None:
        return "wrong-code"

    provider = known(name)
    server = server_like(name, provider)
    client = client_of(name, provider)
    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(LoginError, match=f"^{code}") as caught:
            await session.log_in(client.browser(prompt=pastes_a_wrong_code))
        assert not session.logged_in
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["github", "slack"])
async def test_a_secret_that_is_refused_with_200_is_a_misconfiguration(name: str) -> None:
    provider = known(name)
    server = server_like(name, provider, client_secret="another")  # noqa: S106
    server.approve("ann")
    client = client_of(name, provider)
    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(GrantMisconfiguredError, match="incorrect_client|bad_client_secret"):
            await session.log_in(client.browser(prompt=server.person()))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"error": "temporarily_unavailable"}'),
        (429, b'{"error": "ratelimited"}'),
        (500, b'{"error": "oops"}'),
        (400, b'{"error": ""}'),
        (200, b"<html>"),
    ],
)
async def test_a_server_that_can_not_answer_now_has_not_refused(status: int, body: bytes) -> None:
    provider = known("github")
    server = server_like("github", provider)
    server.approve("ann")
    server.answer(status, body, at="token")
    client = client_of("github", provider)
    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(RefreshUnavailableError):
            await session.log_in(client.browser(prompt=server.person()))


async def test_a_word_for_no_that_quotes_the_code_is_not_shown() -> None:
    provider = known("github")
    server = server_like("github", provider)
    server.approve("ann")
    client = client_of("github", provider)
    pasted = ""

    async def pastes(_: Invitation, /) -> str | None:
        nonlocal pasted
        location = await server.person()(_) or ""
        pasted = urlsplit(location).query.partition("code=")[2].partition("&")[0]
        text = f'{{"error": "no {pasted}", "error_description": "not {pasted}"}}'
        server.answer(200, text.encode(), at="token")
        return location

    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(LoginError) as caught:
            await session.log_in(client.browser(prompt=pastes))
    assert pasted
    assert pasted not in f"{caught.value!r} {caught.value}"


# --- what comes later -----------------------------------------------------------------------------


async def logged_out_by(server: AuthServer, client: OAuthClient) -> object:
    """What a session makes of a refresh token that the server does not take any more."""
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
        server.revoke()
        with pytest.raises(trioauth.LoggedOutError):
            await session.get("/notes")
        state = session.state
    assert isinstance(state, LoggedOut)
    return state.cause


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("github", "bad_refresh_token"),
        ("slack", "invalid_refresh_token"),
        ("google", "invalid_grant"),
    ],
)
async def test_a_refresh_token_that_is_refused_in_the_providers_own_way_ends_the_login(
    name: str, code: str
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.approve("ann")
    assert code in str(await logged_out_by(server, client_of(name, provider)))


@pytest.mark.parametrize("name", ["okta", "google", "entra", "cognito"])
async def test_a_lost_answer_costs_no_login_where_the_provider_forgives_a_repeat(
    name: str, autojump_clock: MockClock
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.approve("ann")
    client = client_of(name, provider)
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
        server.expire()
        server.drop_answer()
        assert (await session.get("/notes")).status_code == 200
    server.check()


async def test_tokens_of_salesforce_are_renewed_though_it_does_not_say_how_long_they_live() -> None:
    provider = known("salesforce")
    server = server_like("salesforce", provider)
    server.approve("ann")
    client = client_of("salesforce", provider)
    login = client.browser(prompt=server.person())
    tokens: list[Tokens] = []

    async def keeps(endpoint: trioauth.BackChannel) -> Tokens:
        tokens.append(await login(endpoint))
        return tokens[0]

    await log_in_and_refresh(server, client, keeps)
    assert tokens[0].expires_in is None


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_DEVICES)
async def test_a_person_logs_in_by_device_at_each_provider_that_has_that(
    name: str, autojump_clock: MockClock
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    client = client_of(name, provider)

    async def approve_later() -> None:
        await trio.sleep(20)
        server.approve("ann")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(approve_later)
        await log_in_and_refresh(server, client, client.device(prompt=server.person()))
    # Not asked all the time, and never punished: `check` has looked.
    assert 20 < trio.current_time() < 30


@pytest.mark.parametrize("name", WITH_DEVICES)
async def test_a_person_says_no_by_device_at_each_provider_that_has_that(
    name: str, autojump_clock: MockClock
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.deny()
    client = client_of(name, provider)
    async with server.open_session(client, logged_in=False) as session:
        with pytest.raises(LoginDeclinedError):
            await session.log_in(client.device(prompt=server.person()))
    server.check()


async def by_device(server: AuthServer, client: OAuthClient) -> Session:
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.device(prompt=server.person()))
    return session


async def test_github_says_that_log_ins_by_device_are_switched_off_with_200(
    autojump_clock: MockClock,
) -> None:
    provider = known("github")
    server = server_like("github", provider)
    server.answer(200, b'{"error": "device_flow_disabled"}', at="device")
    with pytest.raises(LoginError, match="no_device_login.*device_flow_disabled"):
        await by_device(server, client_of("github", provider))


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [("github", 200, "incorrect_device_code"), ("entra", 400, "bad_verification_code")],
)
async def test_a_word_of_the_providers_own_ends_a_log_in_by_device_whatever_the_status(
    name: str, status: int, code: str, autojump_clock: MockClock
) -> None:
    provider = known(name)
    server = server_like(name, provider)
    server.answer(status, f'{{"error": "{code}"}}'.encode(), at="token")
    with pytest.raises(LoginError, match=f"^{code}$"):
        await by_device(server, client_of(name, provider))
    # After the first question.
    assert trio.current_time() < 15


async def test_a_device_that_is_asked_to_wait_by_a_status_asks_again(
    autojump_clock: MockClock,
) -> None:
    provider = known("github")
    server = server_like("github", provider)
    server.approve("ann")
    server.answer(429, b'{"error": "rate_limited"}', at="token")
    await by_device(server, client_of("github", provider))


async def test_a_provider_without_log_ins_by_device_says_so() -> None:
    provider = known("gitea")
    server = server_like("gitea", provider)
    with pytest.raises(GrantMisconfiguredError, match="device_authorization_endpoint"):
        await by_device(server, client_of("gitea", provider))


# --- no refresh token -----------------------------------------------------------------------------


async def told(server: AuthServer, client: OAuthClient, caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of a login without a refresh token."""
    server.approve("ann")
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(client.browser(prompt=server.person()))
    [record] = [each for each in caplog.records if "no refresh token came" in each.getMessage()]
    return record.getMessage()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("google", r"parameters=\{'access_type': 'offline', 'prompt': 'consent'\}"),
        ("dropbox", r"parameters=\{'token_access_type': 'offline'\}"),
        ("entra", "this server wants the scope offline_access"),
        ("okta", "this server wants the scope offline_access"),
        ("auth0", "this server wants the scope offline_access"),
        ("salesforce", "this server wants the scope refresh_token"),
        ("authentik", "most servers want the scope offline_access"),
        ("dex", "most servers want the scope offline_access"),
    ],
)
async def test_a_log_in_without_a_refresh_token_says_what_this_provider_wants(
    name: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = known(name)
    client = client_of(name, provider, offline=False)
    assert re.search(says, await told(server_like(name, provider), client, caplog))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("github", "a GitHub App gives one if"),
        ("slack", "Switch on token rotation"),
        ("okta", "grant type Refresh Token"),
        ("auth0", "Allow Offline Access"),
        ("salesforce", "connected app"),
        ("gitlab", "gives one without being asked"),
        ("cognito", "gives one without being asked"),
        ("dropbox", "It was asked for"),
        ("dex", "It was asked for"),
    ],
)
async def test_a_log_in_that_asked_for_all_of_it_in_vain_says_where_else_to_look(
    name: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = known(name)
    persona = attrs.evolve(find_persona(name), refresh_tokens=False)
    server = server_like(name, provider, persona=persona)
    message = await told(server, client_of(name, provider), caplog)
    assert re.search(says, message, re.IGNORECASE)


async def test_a_github_oauth_app_has_a_login_without_end_and_without_a_refresh_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = known("github")
    server = server_like("github", provider, persona="github-oauth-app")
    message = await told(server, client_of("github", provider), caplog)
    assert "an OAuth app gives none, and its tokens do not expire" in message


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("login.microsoftonline.us", "offline_access"),
        ("login.partner.microsoftonline.cn", "offline_access"),
        ("x.my.salesforce.com", "refresh_token"),
        ("dev-1.oktapreview.com", "offline_access"),
        ("t.eu.auth0.com", "offline_access"),
    ],
)
def test_a_provider_is_known_by_the_host_where_a_person_logs_in(host: str, scope: str) -> None:
    server = AuthorizationServer(
        issuer="https://id.example.com", authorization_endpoint=f"https://{host}/authorize"
    )
    assert remedy(server, scope="", parameters={}).endswith(f"this server wants the scope {scope}")


@pytest.mark.parametrize(
    "host", ["evil-okta.com", "okta.com.example", "accounts.google.com.example"]
)
def test_another_host_is_not_taken_for_a_provider(host: str) -> None:
    server = AuthorizationServer(issuer=f"https://{host}")
    assert "most servers want" in remedy(server, scope="", parameters={})


def test_a_program_describes_a_provider_of_its_own() -> None:
    own = providers.Provider(
        name="own",
        issuer="https://id.example.com",
        offline=Offline(scope="stay"),
        source="its manual",
        date="2026-11-27",
    )
    assert own.client("notes", scope="read").scope == "read stay"
