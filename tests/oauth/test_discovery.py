"""Discovery: what is asked, what comes of the answers, and what is remembered."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio

from trioauth import MetadataError, RefreshUnavailableError
from trioauth.oauth.discovery import discover

from .world import ISSUER, TOKEN_URL, World, metadata

AS, OIDC = (
    f"{ISSUER}/.well-known/oauth-authorization-server",
    f"{ISSUER}/.well-known/openid-configuration",
)
PAGE = httpx.Response(200, html="<html>Welcome</html>")


async def test_the_metadata_are_fetched_once_a_session() -> None:
    world = World({AS: metadata()})
    channel = world.open()
    servers = [await discover(ISSUER, channel) for _ in range(3)]
    assert servers[0].token_endpoint == TOKEN_URL
    assert servers[1] is servers[2] is servers[0]
    assert world.urls == [AS]
    await discover(ISSUER, world.open())
    assert world.urls == [AS, AS]
    [request, _] = world.requests
    assert (request.method, request.content) == ("GET", b"")
    assert request.headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    "first",
    [
        httpx.Response(404),
        httpx.Response(401),
        httpx.Response(400, json={"error": "invalid_request"}),
        httpx.Response(302, headers={"Location": f"{ISSUER}/login"}),
        # Of an application with one page for all addresses.
        PAGE,
        httpx.Response(204),
    ],
)
async def test_an_address_that_the_server_does_not_know_is_followed_by_the_next(
    first: httpx.Response,
) -> None:
    world = World({AS: first, OIDC: metadata()})
    assert (await discover(ISSUER, world.open())).issuer == ISSUER
    assert world.urls == [AS, OIDC]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_server_that_is_busy_or_broken_is_unavailable_and_nothing_is_remembered(
    status: int,
) -> None:
    busy = httpx.Response(status, headers={"Retry-After": "7"}, json=metadata())
    world = World({AS: [busy, metadata()]})
    channel = world.open()
    with pytest.raises(
        RefreshUnavailableError, match=f"{AS} answered with status {status}"
    ) as caught:
        await discover(ISSUER, channel)
    assert (caught.value.safe_to_repeat, caught.value.retry_after) == (True, 7)
    assert world.urls == [AS]
    assert channel.cache == {}
    assert (await discover(ISSUER, channel)).issuer == ISSUER


@pytest.mark.parametrize(
    "problem",
    [
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut short"),
        httpx.Response(200, content=b" " * 50_000_000),
    ],
)
async def test_no_whole_answer_is_unavailable_and_no_refresh_token_was_used(problem: Any) -> None:
    world = World({AS: problem})
    with pytest.raises(RefreshUnavailableError) as caught:
        await discover(ISSUER, world.open())
    assert caught.value.safe_to_repeat


async def test_metadata_that_lie_end_it_and_no_other_address_is_asked() -> None:
    world = World({AS: metadata("https://evil.example"), OIDC: metadata()})
    channel = world.open()
    with pytest.raises(MetadataError, match=r"evil\.example"):
        await discover(ISSUER, channel)
    assert world.urls == [AS]
    assert channel.cache == {}


async def test_no_redirect_is_followed_to_another_host() -> None:
    away = httpx.Response(302, headers={"Location": "https://evil.example/metadata"})
    world = World({AS: away, OIDC: away, "https://evil.example/metadata": metadata()})
    with pytest.raises(MetadataError, match="a redirect, which is not followed"):
        await discover(ISSUER, world.open())
    assert world.urls == [AS, OIDC]


async def test_a_server_without_metadata_is_told_with_what_was_tried_and_what_to_do() -> None:
    world = World({OIDC: PAGE})
    with pytest.raises(MetadataError) as caught:
        await discover(ISSUER, world.open())
    said = str(caught.value)
    assert f"{AS} (status 404)" in said
    assert f"{OIDC} (not JSON)" in said
    assert "server=AuthorizationServer(" in said


async def test_an_issuer_that_may_not_be_asked_is_not() -> None:
    world = World()
    with pytest.raises(ValueError, match="^issuer"):
        await discover("http://id.example.com", world.open())
    assert world.urls == []


async def test_cancelled_discovery_remembers_nothing() -> None:
    world = World({AS: metadata()})
    channel = world.open()
    with trio.CancelScope() as scope:
        scope.cancel()
        await discover(ISSUER, channel)
    assert scope.cancelled_caught
    assert channel.cache == {}


# --- fetching -------------------------------------------------------------------------------------


async def test_a_fetch_moves_no_lifetime_and_sends_nothing_but_the_address() -> None:
    world = World({f"{ISSUER}/jwks": {"keys": []}})
    channel = world.open()
    before = channel.asked_at
    answer = await channel.fetch(f"{ISSUER}/jwks")
    assert json.loads(answer.body) == {"keys": []}
    # What JWKS are fetched for comes after the tokens, whose life began before.
    assert channel.asked_at == before
    assert "Authorization" not in world.requests[0].headers


@pytest.mark.parametrize("url", ["http://id.example.com/", "/jwks", "https://u:p@id.example.com/"])
async def test_a_url_that_may_not_be_fetched_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="^url"):
        await World().open().fetch(url)


async def test_after_closing_nothing_is_fetched() -> None:
    channel = World().open()
    await channel.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await channel.fetch(ISSUER)
