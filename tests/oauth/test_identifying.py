"""From an answer to who has logged in: when it is validated, when it can't be, and what is kept."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.canary import SECRET
from tests.test_tokens import shown
from trioauth import (
    Answer,
    AuthorizationServer,
    GrantMisconfiguredError,
    IdentityError,
    LoggedIn,
    MemoryStore,
    MetadataError,
    OAuthClient,
    RefreshUnavailableError,
    Tokens,
    oauth,
)
from trioauth.oauth.identity import check_id_token, identify
from trioauth.testing import AuthServer, Persona, Victim, every_checkpoint

from .by_code import ByCode
from .unsigned import ANSWER, JWKS, OLD, UNSIGNED, client_of
from .world import GOOD, ISSUER, TOKEN_URL, World, frames

if TYPE_CHECKING:
    from trio.testing import MockClock

pytest.importorskip("joserfc")


async def failure(world: World, error: type[Exception], old: Tokens = OLD, **options: Any) -> Any:
    """How a refresh fails; that it shows no secret."""
    with pytest.raises(error) as caught:
        await client_of(**options)(old, world.open())
    assert not SECRET.search(shown(caught.value))
    assert UNSIGNED not in shown(caught.value)
    variables = "".join(frames(caught.value))
    assert not SECRET.search(variables)
    assert "it-canary" not in variables
    assert UNSIGNED not in variables
    return caught.value


# --- when it is looked at -------------------------------------------------------------------------


async def test_without_openid_in_the_scope_an_id_token_is_not_looked_at() -> None:
    world = World({TOKEN_URL: ANSWER})
    renewed = await client_of(scope="notes")(Tokens("at", "rt"), world.open())
    assert renewed.identity is None
    assert world.urls == [TOKEN_URL]


async def test_who_was_known_before_is_looked_at_whatever_the_scope() -> None:
    world = World({TOKEN_URL: ANSWER, JWKS: {"keys": []}})
    error = await failure(world, IdentityError, scope="")
    assert error.claim == "kid"
    assert str(error) == (
        "the ID token was refused: the server has no key for it: none that fits ES256 and the kid "
        "in its header"
    )


@pytest.mark.parametrize(
    "keys", [{"keys": []}, httpx.Response(503), httpx.Response(404), httpx.ConnectError("x")]
)
async def test_keys_are_fetched_before_a_refresh_and_needed_only_if_an_id_token_comes(
    keys: Any,
) -> None:
    world = World({TOKEN_URL: GOOD, JWKS: keys})
    assert (await client_of()(OLD, world.open())).identity is None
    assert world.urls == [JWKS, TOKEN_URL]


async def test_without_a_place_for_keys_a_refresh_goes_on_unless_an_id_token_comes() -> None:
    world, server = World({TOKEN_URL: GOOD}), AuthorizationServer(token_endpoint=TOKEN_URL)
    assert (await client_of(server=server)(OLD, world.open())).identity is None
    assert world.urls == [TOKEN_URL]


async def test_keys_that_are_known_are_not_fetched_again() -> None:
    world = World({TOKEN_URL: GOOD, JWKS: {"keys": []}})
    channel = world.open()
    for _ in range(3):
        await client_of()(OLD, channel)
    assert world.urls == [JWKS, TOKEN_URL, TOKEN_URL, TOKEN_URL]


async def test_an_id_token_that_is_no_string_is_refused_without_asking_for_keys() -> None:
    world = World({TOKEN_URL: {**ANSWER, "id_token": 7}})
    assert (await failure(world, IdentityError, Tokens("at-canary-1", "rt-canary-1"))).claim is None
    assert world.urls == [TOKEN_URL]


@pytest.mark.parametrize("parameters", [None, {}, {"max_age": "soon"}, {"max_age": "-7"}])
async def test_a_log_in_without_a_nonce_needs_no_id_token(parameters: dict[str, str]) -> None:
    answer, tokens = Answer(200, body=json.dumps(GOOD).encode()), Tokens("at")
    world = World()
    done = await identify(tokens, answer, client_of(), world.open(), parameters=parameters)
    assert done == tokens
    for asked in ({"max_age": "0"}, {"acr_values": "gold"}):
        with pytest.raises(IdentityError, match="there is none in the answer"):
            await identify(tokens, answer, client_of(), world.open(), parameters=asked)
    assert world.urls == []


# --- when it can't be validated -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "member", "says"),
    [
        ({"server": AuthorizationServer(token_endpoint=TOKEN_URL)}, "issuer", "pass issuer="),
        (
            {"server": AuthorizationServer(token_endpoint=TOKEN_URL, issuer=ISSUER)},
            "jwks_uri",
            "AuthorizationServer(jwks_uri=",
        ),
    ],
)
async def test_without_the_issuer_or_its_keys_it_says_what_to_pass(
    options: dict[str, Any], member: str, says: str
) -> None:
    error = await failure(World({TOKEN_URL: ANSWER}), MetadataError, **options)
    assert error.member == member
    assert says in str(error)
    assert error._rotated == "rt-canary-2"


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        (httpx.Response(503, headers={"Retry-After": "7"}), RefreshUnavailableError, "status 503"),
        (httpx.Response(429), RefreshUnavailableError, "status 429"),
        (httpx.ConnectError("x"), RefreshUnavailableError, "can't be reached"),
        (httpx.Response(404), MetadataError, "status 404"),
        (httpx.Response(302), MetadataError, "status 302"),
        (httpx.Response(200, text="<html>"), MetadataError, "not JSON"),
        (httpx.Response(200, text="[]"), MetadataError, "not a JSON object but a list"),
        ({"keys": {}}, MetadataError, "without a list of keys"),
        (httpx.Response(200, text='{"keys": [], "keys": []}'), MetadataError, "occurs twice"),
    ],
)
async def test_without_keys_the_new_refresh_token_is_kept(
    keys: Any, error: type[Exception], says: str
) -> None:
    found = await failure(World({TOKEN_URL: ANSWER, JWKS: keys}), error)
    assert says in str(found)
    assert found._rotated == "rt-canary-2"
    if isinstance(found, RefreshUnavailableError):
        assert found.safe_to_repeat
        assert found.retry_after == (7 if "503" in says else None)
    else:
        assert found.member == "jwks_uri"


async def test_a_refresh_token_that_was_not_replaced_is_no_new_one() -> None:
    world = World({TOKEN_URL: {**ANSWER, "refresh_token": "rt-canary-1"}, JWKS: {"keys": []}})
    assert (await failure(world, IdentityError))._rotated is None


async def test_keys_that_do_not_come_are_waited_for_as_long_as_the_new_token_may_stay_unsaved(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), lifetime=600)
    server.approve()
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")
    store = MemoryStore()
    async with server.open_session(client, logged_in=False, store=store) as session:
        await session.log_in(ByCode(server, client))
        server.rotate_keys()
        server.hang(at="jwks", times=1)
        began = trio.current_time()
        await session.refresh()
        # The flight has asked again, with the refresh token that came the first time.
        assert 3 <= trio.current_time() - began < 5
        assert server.ledger.reused == 0
        assert server.ledger.calls["token"] == 3
        assert isinstance(session.state, LoggedIn)
        assert session.state.identity is not None


async def test_keys_that_do_not_come_before_a_refresh_hold_it_up_for_three_seconds(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), lifetime=600)
    server.approve()
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")
    store = MemoryStore()
    async with server.open_session(client, logged_in=False, store=store) as session:
        await session.log_in(ByCode(server, client))
    server.lie(token={"id_token": None})
    server.hang(at="jwks", times=None)
    async with server.open_session(client, logged_in=False, store=store) as session:
        began = trio.current_time()
        await session.refresh()
        assert trio.current_time() == began + 3


async def test_the_nonce_is_in_no_variable_of_a_frame() -> None:
    answer = Answer(200, body=json.dumps(ANSWER).encode())
    world = World({JWKS: {"keys": []}})
    with pytest.raises(IdentityError) as caught:
        await check_id_token(answer, client_of(), world.open(), nonce="no-canary-1")
    variables = "".join(frames(caught.value))
    assert "expected" in variables
    assert "canary" not in variables


async def test_a_session_that_is_left_while_a_refresh_waits_for_keys_loses_no_token(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), lifetime=600)
    server.approve()
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")
    store = MemoryStore()
    async with server.open_session(client, logged_in=False, store=store) as session:
        await session.log_in(ByCode(server, client))
        server.rotate_keys()
        server.hang(at="jwks", times=None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.refresh)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel("the program stops")
    server.recover()
    async with server.open_session(client, logged_in=False, store=store) as session:
        await session.refresh()
        assert server.ledger.reused == 0


async def test_the_login_of_a_task_that_waits_for_a_refused_refresh_goes_on(
    autojump_clock: MockClock,
) -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), lifetime=600)
    server.approve()
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")
    async with server.open_session(client, logged_in=False) as session:
        await session.log_in(ByCode(server, client))
        server.lie(id_token={"aud": "another"})
        errors: list[IdentityError] = []

        async def refresh() -> None:
            with pytest.raises(IdentityError) as caught:
                await session.refresh()
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(refresh)
        assert len({id(error) for error in errors}) == 3
        assert {(error.claim, str(error)) for error in errors} == {
            ("aud", "the ID token was refused: its aud is 'another', and this client is 'client'")
        }
        # Asked once: asked again, the server would say the same.
        assert server.ledger.calls["token"] == 2
        assert session.logged_in


# --- without joserfc ------------------------------------------------------------------------------


@pytest.fixture
def no_joserfc(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("joserfc", "joserfc.jwk", "joserfc.jws"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "trioauth.oauth.jwks", raising=False)
    monkeypatch.delattr(oauth, "jwks", raising=False)


@pytest.mark.usefixtures("no_joserfc")
async def test_without_joserfc_it_is_not_known_who_has_logged_in() -> None:
    world = World({TOKEN_URL: ANSWER})
    assert (await client_of()(Tokens("at", "rt"), world.open())).identity is None
    answer = Answer(200, body=json.dumps(ANSWER).encode())
    assert await check_id_token(answer, client_of(), world.open(), nonce="n") is None
    assert world.urls == [TOKEN_URL]


@pytest.mark.usefixtures("no_joserfc")
@pytest.mark.parametrize("asks", [{"max_age": 7}, {"acr": ["gold"]}, {"previous": OLD.identity}])
async def test_without_joserfc_what_was_asked_for_is_not_ignored(asks: dict[str, Any]) -> None:
    answer = Answer(200, body=json.dumps(ANSWER).encode())
    with pytest.raises(GrantMisconfiguredError, match=r"install trioauth\[jose\]") as caught:
        await check_id_token(answer, client_of(), World().open(), **asks)
    assert caught.value.error == "joserfc_missing"


@pytest.mark.usefixtures("no_joserfc")
async def test_without_joserfc_a_refresh_without_an_id_token_goes_on() -> None:
    world = World({TOKEN_URL: GOOD})
    assert (await client_of()(OLD, world.open())).access_token == GOOD["access_token"]
    world.answers[TOKEN_URL] = ANSWER
    error = await failure(world, GrantMisconfiguredError)
    assert error._rotated == "rt-canary-2"
    assert world.urls == [TOKEN_URL, TOKEN_URL]


async def test_a_module_that_is_missing_inside_of_joserfc_is_no_missing_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(oauth, "jwks", raising=False)
    monkeypatch.setitem(sys.modules, "trioauth.oauth.jwks", None)
    with pytest.raises(ModuleNotFoundError, match=r"oauth\.jwks"):
        await client_of()(OLD, World({TOKEN_URL: ANSWER}).open())


# --- cancellation ---------------------------------------------------------------------------------


def test_cancelled_anywhere_a_refresh_with_an_id_token_loses_no_refresh_token() -> None:
    server = AuthServer(persona=Persona(signing_alg="ES256"), lifetime=600)
    server.approve()
    client = OAuthClient("client", issuer=server.issuer, scope="openid notes")

    async def scenario(victim: Victim) -> None:
        async with server.open_session(client, logged_in=False) as session:
            await session.log_in(ByCode(server, client))
            await victim(session.refresh)
            await session.refresh()
            assert isinstance(session.state, LoggedIn)
            assert session.state.identity is not None
        assert server.ledger.reused == 0

    exploration = every_checkpoint(scenario, seeds=[1])
    assert exploration.failures == ()
    assert len(exploration.points) > 2
