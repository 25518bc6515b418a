"""OAuthClient: what it takes, what it sends, and what it makes of the answers."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trioauth
from tests.canary import SECRET, shows_a_secret
from tests.test_tokens import CANARY, shown
from trioauth import (
    AuthorizationServer,
    ClientSecretBasic,
    ClientSecretJWT,
    ClientSecretPost,
    GrantMisconfiguredError,
    GrantRefusedError,
    MetadataError,
    OAuthClient,
    RefreshTokenGrant,
    RefreshUnavailableError,
    Tokens,
    open_session,
)
from trioauth.oauth.grants.client_credentials import read_obtained
from trioauth.testing import AuthServer, Victim, check_grant, every_checkpoint

from .world import GOOD, ISSUER, TOKEN_URL, World, form_of, frames, metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

REVOKE = f"{ISSUER}/revoke"
WELL_KNOWN = f"{ISSUER}/.well-known/oauth-authorization-server"
SERVER = AuthorizationServer(token_endpoint=TOKEN_URL, revocation_endpoint=REVOKE)
OLD = Tokens("at-canary-1", "rt-canary-1", scope="notes")


def client_of(**options: Any) -> OAuthClient:
    return OAuthClient("notes", **{"server": SERVER, **options})


async def asked(call: Callable[..., Any], *given: Any) -> dict[str, list[str]]:
    """The form that a grant sends."""
    world = World({TOKEN_URL: GOOD})
    await call(*given, world.open())
    [form] = world.forms
    return form


# --- what a program passes in ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"server": None}, ValueError, "pass issuer="),
        ({"issuer": "http://id.example.com"}, ValueError, "^issuer: .* must be https"),
        ({"issuer": "id.example.com"}, ValueError, "^issuer must be absolute"),
        ({"issuer": 7}, TypeError, "^issuer"),
        (
            {"issuer": ISSUER, "server": AuthorizationServer(issuer=f"{ISSUER}/")},
            ValueError,
            f"issuer is '{ISSUER}', and that of server '{ISSUER}/'",
        ),
        ({"server": {"token_endpoint": TOKEN_URL}}, TypeError, "server"),
        ({"auth": "cs-canary"}, TypeError, "^auth must be None .* not a str"),
        ({"auth": ClientSecretBasic}, TypeError, "^auth .* not ClientSecretBasic"),
        ({"scope": ["notes"]}, TypeError, "^scope must be a str"),
        ({"parameters": {"client_secret": "cs-canary"}}, ValueError, "auth=ClientSecretBasic"),
        ({"parameters": {"client_assertion": "x"}}, ValueError, "auth=PrivateKeyJWT"),
        ({"parameters": {"scope": "notes"}}, ValueError, "'scope': pass scope="),
        ({"parameters": {"resource": "x:"}}, ValueError, "'resource': pass resource="),
        ({"parameters": {"redirect_uri": "x"}}, ValueError, "'redirect_uri': pass redirect_uri="),
        ({"parameters": {"state": "x"}}, ValueError, "^parameters must not have 'state'"),
        ({"parameters": {"response_mode": "fragment"}}, ValueError, "only the query"),
        ({"parameters": {"audience": 7}}, TypeError, "^parameters must map strings to strings"),
        ({"parameters": [("audience", "x")]}, TypeError, "^parameters must map"),
        ({"resource": "api"}, ValueError, "^resource must be absolute"),
        ({"resource": ["https://api.test/#a"]}, ValueError, "^resource .* without a fragment"),
        ({"resource": [7]}, TypeError, "^resource must be a str"),
        ({"redirect_uri": ""}, ValueError, "^redirect_uri"),
        ({"ports": [0]}, ValueError, "^ports must be numbers from 1 to 65535"),
        ({"ports": [True]}, ValueError, "^ports"),
        ({"ports": ["8000"]}, ValueError, "^ports"),
        ({"bare_status_refuses": 1}, TypeError, "bare_status_refuses"),
        ({"refusals": {"error": "gone"}}, TypeError, "^refusals"),
    ],
)
def test_what_a_program_passes_in_is_checked_by_its_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        client_of(**options)
    assert not SECRET.search(shown(caught.value))


@pytest.mark.parametrize("client_id", ["", "a\n", None])
def test_a_client_has_an_id(client_id: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="^client_id"):
        OAuthClient(client_id, server=SERVER)


def test_a_client_is_a_value_that_hides_its_secrets() -> None:
    make = partial(
        client_of, auth=ClientSecretPost("cs-canary"), parameters={"key": "cs-canary"}, ports=[80]
    )
    client = make()
    assert client == make() == copy.deepcopy(client)
    assert hash(client) == hash(make())
    assert client != client_of()
    assert not shows_a_secret(client)
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(client)


def test_what_is_passed_in_is_copied() -> None:
    parameters = {"audience": "one"}
    client = client_of(parameters=parameters, resource=iter(["https://a.test", "https://b.test"]))
    parameters["audience"] = "two"
    assert client.parameters == {"audience": "one"}
    assert client.resource == ("https://a.test", "https://b.test")


@pytest.mark.parametrize(
    ("options", "owner"),
    [
        ({}, f"{TOKEN_URL} notes"),
        (
            {"server": AuthorizationServer(token_endpoint=f"{TOKEN_URL}?key=1")},
            f"{TOKEN_URL} notes",
        ),
        ({"server": None, "issuer": ISSUER}, f"{ISSUER} notes"),
        (
            {"server": AuthorizationServer(issuer=ISSUER, token_endpoint=TOKEN_URL)},
            f"{ISSUER} notes",
        ),
        ({"issuer": ISSUER}, f"{ISSUER} notes"),
    ],
)
def test_tokens_belong_to_the_issuer_or_else_the_token_endpoint_and_the_client(
    options: dict[str, Any], owner: str
) -> None:
    client = client_of(**options)
    assert client.owner == client.credentials().owner == owner


def test_a_client_with_no_more_than_a_token_endpoint_has_the_logins_of_a_refresh_token_grant() -> (
    None
):
    assert client_of().owner == RefreshTokenGrant(TOKEN_URL, client_id="notes").owner


# --- which server ---------------------------------------------------------------------------------


async def test_the_server_is_found_from_the_issuer_when_it_is_first_needed() -> None:
    world = World({WELL_KNOWN: metadata(), TOKEN_URL: GOOD})
    client, channel = client_of(server=None, issuer=ISSUER), world.open()
    for _ in range(2):
        assert (await client(OLD, channel)).access_token == "at2"
    assert world.urls == [WELL_KNOWN, TOKEN_URL, TOKEN_URL]


async def test_what_is_given_by_hand_wins_over_what_is_found() -> None:
    by_hand = AuthorizationServer(issuer=ISSUER, revocation_endpoint="https://other.test/revoke")
    world = World({WELL_KNOWN: metadata(revocation_endpoint=REVOKE)})
    for options in ({"server": by_hand}, {"server": by_hand, "issuer": ISSUER}):
        server = await client_of(**options).server_of(world.open())
        assert server.revocation_endpoint == "https://other.test/revoke"
        assert server.token_endpoint == TOKEN_URL


async def test_a_server_with_a_token_endpoint_by_hand_is_not_looked_up() -> None:
    server = AuthorizationServer(issuer=ISSUER, token_endpoint=TOKEN_URL)
    world = World()
    assert await client_of(server=server).server_of(world.open()) is server
    assert world.urls == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (metadata("https://evil.example"), MetadataError),
        ({"issuer": ISSUER}, MetadataError),
        (httpx.Response(503), RefreshUnavailableError),
        (httpx.ConnectError("no"), RefreshUnavailableError),
    ],
)
async def test_p14_metadata_that_are_not_to_be_had_end_no_login_and_spend_no_token(
    answer: Any, error: type[Exception]
) -> None:
    world = World({WELL_KNOWN: answer, TOKEN_URL: GOOD})
    policy = trioauth.RefreshPolicy(timeout=1, cooldown=0.5)
    async with open_session(
        client_of(server=None, issuer=ISSUER),
        tokens=OLD,
        base_url="https://api.test",
        transport=httpx.MockTransport(world._answer),
        policy=policy,
    ) as session:
        with pytest.raises(error):
            await session.refresh()
        assert session.logged_in
        assert set(world.urls) == {WELL_KNOWN}


# --- refreshing -----------------------------------------------------------------------------------


async def test_a_refresh_sends_the_token_and_the_resources_each_by_itself() -> None:
    client = client_of(
        scope="notes offline_access",
        resource=("https://a.test", "https://b.test"),
        parameters={"audience": "x"},
    )
    # No scope: what was granted may be less than what was asked for (RFC 6749 6).
    assert await asked(client, OLD) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["rt-canary-1"],
        "resource": ["https://a.test", "https://b.test"],
        "client_id": ["notes"],
    }


async def test_without_a_refresh_token_the_server_is_not_asked() -> None:
    world = World({WELL_KNOWN: metadata()})
    for tokens in (None, Tokens("at-canary")):
        with pytest.raises(GrantRefusedError, match="no_refresh_token"):
            await client_of(server=None, issuer=ISSUER)(tokens, world.open())
    assert world.urls == []


async def test_answers_are_read_by_the_same_rules_as_those_of_the_other_grants() -> None:
    client = client_of(refusals={"status": ["GONE"]})
    for body, error in [
        ({"error": "invalid_grant"}, GrantRefusedError),
        ({"status": "GONE"}, GrantRefusedError),
        ({"error": "invalid_client"}, GrantMisconfiguredError),
        ({}, RefreshUnavailableError),
    ]:
        world = World({TOKEN_URL: httpx.Response(400, json=body)})
        with pytest.raises(error):
            await client(OLD, world.open())
    with pytest.raises(RefreshUnavailableError, match="bare_status_refuses=True"):
        await client(OLD, World({TOKEN_URL: httpx.Response(400)}).open())
    with pytest.raises(GrantRefusedError):
        await client_of(bare_status_refuses=True)(
            OLD, World({TOKEN_URL: httpx.Response(400)}).open()
        )


# --- without a human ------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "scope": "b a",
    "resource": ("https://a.test", "https://b.test"),
    "parameters": {"tenant": "7"},
}
EXPECTED = {
    "scope": ["b a"],
    "resource": ["https://a.test", "https://b.test"],
    "tenant": ["7"],
    "client_id": ["notes"],
}


async def test_client_credentials_ask_for_the_scope_in_its_order() -> None:
    form = await asked(client_of(**FULL).credentials(), None)
    assert form == {"grant_type": ["client_credentials"], **EXPECTED}


async def test_an_assertion_is_sent_as_it_is() -> None:
    form = await asked(client_of(**FULL).jwt_bearer("as-canary"), None)
    grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert form == {"grant_type": [grant_type], "assertion": ["as-canary"], **EXPECTED}


async def test_an_exchange_names_what_is_exchanged_and_for_whom() -> None:
    urn = "urn:ietf:params:oauth:token-type:"
    grant = client_of(**FULL).exchange(
        "as-canary",
        "id_token",
        actor="ac-canary",
        audience=("one", "two"),
        requested_type=f"{urn}jwt",
    )
    assert await asked(grant, None) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["as-canary"],
        "subject_token_type": [f"{urn}id_token"],
        "actor_token": ["ac-canary"],
        "actor_token_type": [f"{urn}access_token"],
        "audience": ["one", "two"],
        "requested_token_type": [f"{urn}jwt"],
        **EXPECTED,
    }
    short = await asked(client_of().exchange("as-canary"), None)
    assert short.keys() == {"grant_type", "subject_token", "subject_token_type", "client_id"}
    assert short["subject_token_type"] == [f"{urn}access_token"]


async def test_an_audience_of_an_exchange_goes_before_the_one_of_the_client() -> None:
    client = client_of(parameters={"audience": "by default"})
    assert (await asked(client.exchange("as-canary"), None))["audience"] == ["by default"]
    assert (await asked(client.exchange("as-canary", audience="this"), None))["audience"] == [
        "this"
    ]


async def test_an_async_assertion_is_asked_for_anew_each_time() -> None:
    made = iter(range(100))

    async def make() -> str:
        await trio.lowlevel.checkpoint()
        return f"as-canary-{next(made)}"

    client, world = client_of(), World({TOKEN_URL: GOOD})
    channel = world.open()
    for grant in (client.jwt_bearer(make), client.exchange(make, actor=make)):
        for _ in range(2):
            await grant(OLD, channel)
    names = ("assertion", "subject_token", "actor_token")
    said = [form[name][0] for form in world.forms for name in names if name in form]
    assert said == [f"as-canary-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (7, "must be a str, or an async function"),
        (None, "must be a str, or an async function"),
        ("", "must not be empty"),
    ],
)
def test_an_assertion_is_a_text_or_a_function(source: Any, says: str) -> None:
    client = client_of()
    with pytest.raises((TypeError, ValueError), match=f"^assertion {says}"):
        client.jwt_bearer(source)
    with pytest.raises((TypeError, ValueError), match=f"^subject {says}"):
        client.exchange(source)
    if source is not None:
        with pytest.raises((TypeError, ValueError), match=f"^actor {says}"):
            client.exchange("as-canary", actor=source)


async def test_a_function_that_fails_sends_nothing_and_is_unavailable() -> None:
    async def broken() -> str:
        raise OSError(CANARY)

    async def wrong() -> Any:
        return b"as-canary"

    async def empty() -> str:
        return ""

    world = World({TOKEN_URL: GOOD})
    for source, says in [(broken, "OSError"), (wrong, "bytes"), (empty, "not empty")]:
        with pytest.raises(RefreshUnavailableError, match=says) as caught:
            await client_of().jwt_bearer(source)(None, world.open())
        assert caught.value.safe_to_repeat
        assert CANARY not in str(caught.value)
        assert not SECRET.search(str(caught.value) + "".join(frames(caught.value)))
    assert world.requests == []


async def test_unattended_grants_ignore_a_refresh_token_and_mean_the_scope_they_asked_for() -> None:
    client = client_of(scope="notes")
    for grant in (
        client.credentials(),
        client.jwt_bearer("as-canary"),
        client.exchange("as-canary"),
    ):
        found = await grant(OLD, World({TOKEN_URL: GOOD}).open())
        assert found.refresh_token is None
        assert found.scope == {"notes"}
        assert grant.unattended
        assert not grant.needs_refresh_token
        assert not shows_a_secret(grant)


async def test_a_session_logs_in_by_itself_with_an_unattended_grant() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == TOKEN_URL:
            return httpx.Response(200, json=GOOD)
        return httpx.Response(200, text=request.headers["Authorization"])

    async with open_session(
        client_of().credentials(),
        base_url="https://api.test",
        transport=httpx.MockTransport(answer),
    ) as session:
        assert (await session.get("/")).text == "Bearer at2"


# --- revoking -------------------------------------------------------------------------------------


async def test_revoking_names_the_refresh_token_or_else_the_access_token() -> None:
    world = World({REVOKE: {}})
    client = client_of(auth=ClientSecretBasic("cs-canary"))
    assert await client.revoke(OLD, world.open())
    assert await client.credentials().revoke(Tokens("at-canary"), world.open())
    assert world.forms == [
        {"token": ["rt-canary-1"], "token_type_hint": ["refresh_token"]},
        {"token": ["at-canary"], "token_type_hint": ["access_token"]},
    ]


async def test_a_server_that_revokes_nothing_is_not_asked() -> None:
    world = World()
    server = AuthorizationServer(token_endpoint=TOKEN_URL)
    assert not await client_of(server=server).revoke(OLD, world.open())
    assert world.urls == []


async def test_p27_a_revocation_that_is_repeated_has_a_new_assertion(
    autojump_clock: MockClock,
) -> None:
    world = World({REVOKE: [httpx.Response(503), httpx.Response(200)]})
    client = client_of(auth=ClientSecretJWT("cs-canary" * 4))
    assert await client.revoke(OLD, world.open())
    first, second = (form["client_assertion"][0] for form in world.forms)
    assert first != second


async def test_a_revocation_that_is_refused_is_an_error_without_a_secret() -> None:
    world = World({REVOKE: lambda request: httpx.Response(400, content=echo(request))})
    with pytest.raises(trioauth.GrantError) as caught:
        await client_of(auth=ClientSecretPost("cs-canary")).revoke(OLD, world.open())
    assert not SECRET.search(shown(caught.value))


# --- secrets --------------------------------------------------------------------------------------


def echo(request: httpx.Request) -> bytes:
    """A server that quotes what it was sent, in all the places where one may."""
    header = request.headers.get("Authorization", "")
    plain = base64.b64decode(header.partition(" ")[2]).decode()
    quoted = {name: values[0] for name, values in form_of(request).items()}
    return json.dumps(
        {"error": "invalid_client", "error_description": f"{quoted} {header} {plain}"}
    ).encode()


@pytest.mark.parametrize(
    "auth",
    [
        None,
        ClientSecretBasic("cs-canary"),
        ClientSecretPost("cs-canary"),
        ClientSecretJWT("cs-canary" * 4),
    ],
    ids=lambda auth: type(auth).__name__,
)
async def test_p17_a_server_that_echoes_everything_brings_no_secret_into_an_error(
    auth: Any,
) -> None:
    client = client_of(auth=auth)
    grants: list[Any] = [
        client,
        client.credentials(),
        client.jwt_bearer("as-canary"),
        client.exchange("as-canary", actor="ac-canary"),
    ]
    for grant in grants:
        bodies: list[bytes] = []

        def answer(request: httpx.Request, bodies: list[bytes] = bodies) -> httpx.Response:
            bodies.append(request.content)
            return httpx.Response(401, content=echo(request))

        with pytest.raises(GrantMisconfiguredError) as caught:
            await grant(OLD, World({TOKEN_URL: answer}).open())
        said = shown(caught.value)
        assert not SECRET.search(said)
        assert "eyJ" not in said  # what each JWT begins with
        assert not SECRET.search("".join(frames(caught.value)))


@pytest.mark.parametrize(
    "problem", [httpx.ConnectError("no"), httpx.ReadError("rt-canary"), httpx.Response(200)]
)
async def test_p17_no_frame_that_an_error_came_through_shows_a_secret(problem: Any) -> None:
    client = client_of(auth=ClientSecretPost("cs-canary"))
    for grant in (client, client.jwt_bearer("as-canary"), client.exchange("as-canary")):
        with pytest.raises(RefreshUnavailableError) as caught:
            await grant(OLD, World({TOKEN_URL: problem}).open())
        assert not SECRET.search("".join(frames(caught.value)))
    issuer = client_of(server=None, issuer=ISSUER, auth=ClientSecretPost("cs-canary"))
    with pytest.raises(MetadataError) as lied:
        await issuer(OLD, World({WELL_KNOWN: metadata("https://evil.example")}).open())
    assert not SECRET.search("".join(frames(lied.value)))


async def test_p17_what_others_ask_with_the_client_is_hidden_as_well() -> None:
    client = client_of(auth=ClientSecretPost("cs-canary"))
    for problem in (httpx.ConnectError("no"), httpx.ReadError("co-canary")):
        with pytest.raises(RefreshUnavailableError) as lost:
            await client.ask(
                World({TOKEN_URL: problem}).open(), TOKEN_URL, {"code": "co-canary"}, secrets=["x"]
            )
        assert not SECRET.search("".join(frames(lost.value)))
    world = World({TOKEN_URL: lambda request: httpx.Response(400, content=echo(request))})
    form = {"code": "co-canary", "code_verifier": ["cv-canary"]}
    secrets = ["co-canary", "cv-canary"]
    answer = await client.ask_for_tokens(world.open(), form, secrets=secrets)
    assert not shows_a_secret(answer)
    with pytest.raises(GrantMisconfiguredError) as caught:
        read_obtained(answer)
    assert not SECRET.search(shown(caught.value) + "".join(frames(caught.value)))


# --- the promises of a grant ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "auth", [None, ClientSecretBasic("s"), ClientSecretJWT("s" * 32)], ids=["none", "basic", "jwt"]
)
async def test_an_oauth_client_keeps_the_promises_of_a_grant(
    auth: Any, autojump_clock: MockClock
) -> None:
    client = client_of(auth=auth, resource="https://api.test")
    await check_grant(client)
    for grant in (client.credentials(), client.jwt_bearer("x"), client.exchange("x")):
        await check_grant(grant)


async def test_an_oauth_client_renews_on_the_server_of_the_testing_kit(
    auth_server: AuthServer, autojump_clock: MockClock
) -> None:
    server = AuthorizationServer(token_endpoint=auth_server.token_url)
    await check_grant(OAuthClient(auth_server.client_id, server=server), server=auth_server)


async def test_p01_p05_with_an_oauth_client_many_tasks_present_one_refresh_token_once(
    auth_server: AuthServer,
) -> None:
    server = AuthorizationServer(token_endpoint=auth_server.token_url)
    client = OAuthClient(auth_server.client_id, server=server)
    async with auth_server.open_session(client, tokens=auth_server.log_in()) as session:
        auth_server.expire()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(session.get, "/me")
        assert session.generation == 2
    assert (auth_server.ledger.refreshes, auth_server.ledger.reused) == (1, 0)


async def test_p05_p27_a_lost_answer_is_asked_for_again_with_a_new_assertion(
    autojump_clock: MockClock,
) -> None:
    world = World({TOKEN_URL: [httpx.ReadError("gone"), GOOD]})
    client = client_of(auth=ClientSecretJWT("cs-canary" * 4))
    async with open_session(
        client,
        tokens=OLD,
        base_url="https://api.test",
        transport=httpx.MockTransport(world._answer),
    ) as session:
        await session.refresh()
        assert session.generation == 2
    first, second = world.forms
    assert first["refresh_token"] == second["refresh_token"] == ["rt-canary-1"]
    assert first["client_assertion"] != second["client_assertion"]


async def test_p10_a_client_asks_its_server_while_the_session_has_no_free_connection() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        received = b""
        async for data in stream:
            received += data
            if b"\r\n\r\n" not in received:
                continue
            if b"GET /.well-known" in received:
                body = json.dumps(metadata(url, token_endpoint=f"{url}/token")).encode()
            elif b"POST /token" in received:
                body = json.dumps(GOOD).encode()
            else:
                # A stream that goes on for ever, and holds the only connection there is.
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
                continue
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            await stream.send_all(head % len(body) + body)
            await stream.aclose()
            return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with trio.fail_after(30):
            async with open_session(
                OAuthClient("notes", issuer=url),
                tokens=Tokens("at-canary-1", "rt-canary-1", 3600),
                base_url=url,
                trust_env=False,
                limits=httpx.Limits(max_connections=1),
            ) as session:
                async with session.stream("GET", "/news"):
                    await session.refresh()
                assert session.generation == 2
        nursery.cancel_scope.cancel("the test is over")


def test_p05_cancelled_anywhere_a_client_has_presented_its_refresh_token_once_or_not_at_all() -> (
    None
):
    for issuer in (False, True):

        async def scenario(victim: Victim, issuer: bool = issuer) -> None:
            world = World({WELL_KNOWN: metadata(), TOKEN_URL: GOOD})
            options: dict[str, Any] = {"server": None, "issuer": ISSUER} if issuer else {}
            client = client_of(auth=ClientSecretJWT("s" * 32), **options)
            channel = world.open()
            result = await victim(client, OLD, channel)
            assert len(world.forms) <= 1
            assert result is None or result.access_token == "at2"
            await channel.aclose()

        exploration = every_checkpoint(scenario, seeds=[1])
        assert exploration.failures == ()
        assert len(exploration.points) > 4


async def test_cancelled_client_calls_do_nothing_before_they_send() -> None:
    world = World({TOKEN_URL: GOOD, REVOKE: {}})
    client = client_of(auth=ClientSecretPost("cs-canary"))
    calls: list[Callable[..., Any]] = [
        partial(client, OLD),
        client.server_of,
        partial(client.revoke, OLD),
        lambda channel: client.ask(channel, TOKEN_URL, {}),
        lambda channel: client.ask_for_tokens(channel, {}),
    ]
    for call in calls:
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(world.open())
        assert scope.cancelled_caught
    assert world.requests == []
