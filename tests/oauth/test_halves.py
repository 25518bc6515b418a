"""Logging in in two halves: what a web application keeps between them, and what it gets back."""

from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import pytest
import trio
import trio.testing

from tests.canary import SECRET
from trioauth import (
    AuthorizationServer,
    BackChannel,
    Begun,
    GrantMisconfiguredError,
    LoginDeclinedError,
    LoginError,
    MetadataError,
    OAuthClient,
)
from trioauth.testing import AuthServer, Victim, every_checkpoint

from .people import brought_back, client_of, logged_out
from .world import GOOD, ISSUER, TOKEN_URL, World, frames

if TYPE_CHECKING:
    from collections.abc import Callable

CALLBACK = "https://app.test/callback"
BY_HAND = AuthorizationServer(
    issuer=ISSUER, token_endpoint=TOKEN_URL, authorization_endpoint=f"{ISSUER}/authorize"
)
CLIENT = OAuthClient("notes", server=BY_HAND, redirect_uri=CALLBACK)
BEGUN = Begun(
    url=f"{ISSUER}/authorize?state=st-canary",
    redirect_uri=CALLBACK,
    owner=CLIENT.owner,
    issuer=ISSUER,
    iss_promised=False,
    state="st-canary",
    verifier="vf-canary",
    nonce="nc-canary",
)


async def test_a_web_application_logs_in_with_a_text_between_the_halves() -> None:
    server = AuthServer(scope="notes", redirect_uris=[CALLBACK])
    server.approve("ann")
    channel = BackChannel(lambda: httpx.AsyncClient(transport=server.transport()))
    begun = await client_of(server).begin(channel, redirect_uri=CALLBACK)
    kept = begun.to_text()
    address = await brought_back(server, begun)

    # Another request, maybe in another process.
    client = client_of(server)
    async with logged_out(server, client) as session:
        await session.log_in(client.finish(Begun.from_text(kept), address))
        assert (await session.get("/notes")).status_code == 200
        assert session.logged_in
    await channel.aclose()
    server.check()


async def test_a_session_gives_its_back_channel_for_the_first_half() -> None:
    server = AuthServer(scope="notes", redirect_uris=[CALLBACK])
    server.approve("ann")
    client = client_of(server, redirect_uri=CALLBACK)
    async with logged_out(server, client) as session:
        begun = await client.begin(session.back_channel)
        await session.log_in(client.finish(begun, await brought_back(server, begun)))
        assert session.logged_in
    server.check()


async def test_the_path_and_the_query_of_the_callback_are_enough() -> None:
    begun = await CLIENT.begin(World().open(), parameters={"login_hint": "ann"})
    query = parse_qs(urlsplit(begun.url).query)
    assert query["redirect_uri"] == [CALLBACK]
    assert query["login_hint"] == ["ann"]
    world = World({TOKEN_URL: GOOD})
    finish = CLIENT.finish(begun, f"/callback?code=ac-canary&state={begun.state}")
    assert (await finish(world.open())).access_token == "at2"
    [form] = world.forms
    assert form["code_verifier"] == [begun.verifier]
    assert form["redirect_uri"] == [CALLBACK]
    assert form["code"] == ["ac-canary"]


async def test_two_that_are_begun_share_nothing() -> None:
    first, second = [await CLIENT.begin(World().open()) for _ in range(2)]
    assert first.state != second.state
    assert first.verifier != second.verifier
    assert first.nonce != second.nonce


@pytest.mark.parametrize(
    ("callback", "error", "says"),
    [
        (f"{CALLBACK}?error=access_denied&state=st-canary", LoginDeclinedError, "access_denied"),
        (f"{CALLBACK}?error=server_error&state=st-canary", LoginError, "server_error"),
        (f"{CALLBACK}?code=ac-canary", LoginError, "invalid_state"),
        (f"{CALLBACK}?code=ac-canary&state=wrong", LoginError, "invalid_state"),
        (f"{CALLBACK}/?code=ac-canary&state=st-canary", LoginError, "invalid_path"),
        (f"{CALLBACK}?code=ac-canary&state=st-canary&iss=https://evil.test", LoginError, "iss"),
        (f"{CALLBACK}?state=st-canary", LoginError, "invalid_code"),
    ],
)
async def test_p25_another_callback_is_an_error_and_nothing_is_sent(
    callback: str, error: type[LoginError], says: str
) -> None:
    world = World({TOKEN_URL: GOOD})
    finish = CLIENT.finish(BEGUN, callback)
    with pytest.raises(error, match=says) as caught:
        await finish(world.open())
    assert world.requests == []
    assert type(caught.value) is error
    assert not SECRET.search(repr(finish))
    assert not SECRET.search(f"{caught.value!r} {caught.value.__dict__!r}")
    assert [frame for frame in frames(caught.value) if SECRET.search(frame)] == []


async def test_a_missing_iss_is_an_error_only_where_the_server_promised_one() -> None:
    callback = f"{CALLBACK}?code=ac-canary&state=st-canary"
    world = World({TOKEN_URL: GOOD})
    promised = attrs.evolve(BEGUN, iss_promised=True)
    with pytest.raises(LoginError, match="invalid_iss"):
        await CLIENT.finish(promised, callback)(world.open())
    assert world.requests == []
    await CLIENT.finish(promised, f"{callback}&iss={ISSUER}")(world.open())


def test_another_client_can_not_finish_it() -> None:
    other = attrs.evolve(CLIENT, client_id="other")
    with pytest.raises(ValueError, match=f"begun by {ISSUER} notes, not by {ISSUER} other"):
        other.finish(BEGUN, CALLBACK)


async def test_nothing_is_begun_that_could_not_be_ended() -> None:
    server = attrs.evolve(BY_HAND, token_endpoint=None)
    world = World({f"{ISSUER}/.well-known/oauth-authorization-server": {"issuer": ISSUER}})
    with pytest.raises(MetadataError, match="token_endpoint"):
        await attrs.evolve(CLIENT, server=server).begin(world.open())


async def test_a_pushed_request_that_is_refused_is_an_error_of_the_first_half() -> None:
    par = f"{ISSUER}/par"
    server = attrs.evolve(BY_HAND, pushed_authorization_request_endpoint=par)
    world = World({par: httpx.Response(400, json={"error": "invalid_request"})})
    with pytest.raises(GrantMisconfiguredError, match="invalid_request"):
        await attrs.evolve(CLIENT, server=server).begin(world.open())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"redirect_uri": "https://app.test/#here"}, "redirect_uri must be an absolute URI"),
        ({"redirect_uri": "/callback"}, "redirect_uri must be an absolute URI"),
        ({"redirect_uri": ""}, "redirect_uri must not be empty"),
        ({"parameters": {"nonce": "n"}}, "parameters must not have 'nonce'"),
    ],
)
async def test_what_can_not_be_asked_for_is_said_before_anything_is_sent(
    options: dict[str, Any], says: str
) -> None:
    world = World()
    with pytest.raises(ValueError, match=says):
        await CLIENT.begin(world.open(), **options)
    assert world.requests == []


# --- in between -----------------------------------------------------------------------------------


def test_what_was_begun_is_the_same_after_it_was_text() -> None:
    assert Begun.from_text(BEGUN.to_text()) == BEGUN
    unknown = attrs.evolve(BEGUN, issuer=None, iss_promised=True, parameters={"max_age": "60"})
    assert Begun.from_text(unknown.to_text()) == unknown


def test_p17_what_was_begun_hides_its_secrets_and_can_not_be_pickled() -> None:
    assert not SECRET.search(repr(BEGUN))
    assert not SECRET.search(repr((BEGUN.attempt, BEGUN.expected)))
    assert copy.deepcopy(BEGUN) is BEGUN
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(BEGUN)


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    members = json.loads(BEGUN.to_text())
    change(members)
    return json.dumps(members)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "\ud800",
        "st-canary",
        changed(lambda members: members.pop("state")),
        changed(lambda members: members.update(more=1)),
        changed(lambda members: members.update(version=2)),
        changed(lambda members: members.update(state=7)),
        changed(lambda members: members.update(issuer=7)),
        changed(lambda members: members.update(iss_promised="yes")),
        changed(lambda members: members.update(parameters=["max_age"])),
        changed(lambda members: members.update(parameters={"max_age": 7})),
        changed(lambda members: members.update(binding=None)),
        BEGUN.to_text()[:-1] + ', "state": "st-canary"}',
    ],
)
def test_a_text_of_something_else_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="^this is not the text of a log-in that was begun$"):
        Begun.from_text(text)


def test_p24_cancelled_anywhere_the_second_half_leaves_the_session_logged_in_or_as_it_was() -> None:
    async def scenario(victim: Victim) -> None:
        server = AuthServer(scope="notes", redirect_uris=[CALLBACK])
        server.approve("ann")
        channel = BackChannel(lambda: httpx.AsyncClient(transport=server.transport()))
        begun = await client_of(server).begin(channel, redirect_uri=CALLBACK)
        await channel.aclose()
        client = client_of(server)
        finish = client.finish(begun, await brought_back(server, begun))
        async with logged_out(server, client) as session:
            await victim(session.log_in, finish)
            await trio.testing.wait_all_tasks_blocked()
            if session.logged_in:
                assert (await session.get("/notes")).status_code == 200
            else:
                assert victim.cancelled

    tried = every_checkpoint(scenario, seeds=[0])
    assert tried.failures == ()
    assert len(tried.points) > 10
