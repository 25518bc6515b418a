"""What an API says of itself (RFC 9728), and what it may not say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from trioauth import (
    AuthorizationServer,
    BackChannel,
    Challenge,
    MetadataError,
    OAuthClient,
    RefreshUnavailableError,
)
from trioauth.oauth.resource import covers, find_resource, resource_urls
from trioauth.testing import Victim, every_checkpoint

from .world import ISSUER, World, metadata

if TYPE_CHECKING:
    from trio.testing import MockClock

API = "https://api.example.com"
URL = f"{API}/v1/mcp"
ROOT = f"{API}/.well-known/oauth-protected-resource"
PLACED = f"{ROOT}/v1/mcp"
AS = f"{ISSUER}/.well-known/oauth-authorization-server"
REGISTER = f"{ISSUER}/register"
GOOD_SERVER = metadata(registration_endpoint=REGISTER)


def about(resource: object = URL, **more: object) -> dict[str, object]:
    return {"resource": resource, "authorization_servers": [ISSUER], **more}


def challenged(**parameters: str) -> httpx.Response:
    said = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
    return httpx.Response(401, headers={"WWW-Authenticate": f"Bearer {said}".strip()})


async def bound(world: World, url: str = URL, **options: Any) -> Any:
    """What a log-in would ask for: its `Binding`."""
    given: dict[str, Any] = {"client_id": "notes", **options}
    client = OAuthClient.for_resource(url, **given)
    newcomer = client.newcomer
    found, server = await newcomer.find(world.open())
    return newcomer.bind(found, server, "notes")


# --- where it says so, and which server it names --------------------------------------------------


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        (API, (ROOT,)),
        (f"{API}/", (ROOT,)),
        (URL, (PLACED, ROOT)),
        (f"{API}/mcp/", (f"{ROOT}/mcp/", ROOT)),
        ("http://127.0.0.1:7/x", tuple(f"http://127.0.0.1:7{p}" for p in (
            "/.well-known/oauth-protected-resource/x", "/.well-known/oauth-protected-resource"))),
    ],
)  # fmt: skip
def test_the_metadata_of_an_api_lie_at_its_path_or_at_the_root(
    url: str, urls: tuple[str, ...]
) -> None:
    assert resource_urls(url) == urls


@pytest.mark.parametrize(
    ("resource", "does"),
    [
        (URL, True),
        (API, True),
        (f"{API}/", True),
        (f"{API}/v1", True),
        (f"{API}:443/v1", True),
        (f"{URL}/", True),
        (f"{API}/v1/m", False),
        (f"{URL}/more", False),
        (f"{API}/v2", False),
        (f"{API}:8443/v1", False),
        ("https://api.example.com.evil.example/v1/mcp", False),
        ("http://api.example.com/v1/mcp", False),
        (f"{URL}?all", False),
        (f"{URL}#all", False),
        ("https://user:pw@api.example.com/v1/mcp", False),
        ("", False),
        ("urn:api", False),
    ],
)
def test_metadata_are_about_the_address_that_their_resource_leads_to(
    resource: str, does: bool
) -> None:
    assert covers(resource, URL) is does


async def test_the_challenge_of_a_401_says_where_the_metadata_are() -> None:
    place = f"{API}/about/mcp.json"
    world = World({URL: challenged(resource_metadata=place), place: about(), AS: GOOD_SERVER})
    binding = await bound(world)
    assert (binding.issuer, binding.resource) == (ISSUER, (URL,))
    assert world.urls == [URL, place, AS]
    assert {request.method for request in world.requests} == {"GET"}
    assert not any("authorization" in request.headers for request in world.requests)


@pytest.mark.parametrize(
    "first", [httpx.Response(405), httpx.Response(200, json={}), challenged(), challenged(a="b")]
)
@pytest.mark.parametrize("place", [PLACED, ROOT])
async def test_an_api_whose_answer_says_nothing_is_looked_up_at_the_well_known_addresses(
    first: httpx.Response, place: str
) -> None:
    world = World({URL: first, place: about(API), AS: GOOD_SERVER})
    assert (await bound(world)).resource == (API,)
    assert world.urls == [URL, *dict.fromkeys((PLACED, place)), AS]


async def test_a_challenge_with_a_dead_address_is_followed_by_the_well_known_ones() -> None:
    # archestra#7246, MCPJungle#293: servers get each of the places wrong.
    first = challenged(resource_metadata=f"{API}/gone")
    world = World({URL: first, ROOT: about(), AS: GOOD_SERVER})
    assert (await bound(world)).issuer == ISSUER
    assert world.urls == [URL, f"{API}/gone", PLACED, ROOT, AS]


async def test_an_api_without_metadata_may_be_its_own_server() -> None:
    # mcp-sdk-php#56, maki#1064: as MCP had it before RFC 9728.
    own = f"{API}/.well-known/oauth-authorization-server"
    world = World({URL: challenged(), own: metadata(API)})
    binding = await bound(world)
    assert (binding.issuer, binding.resource) == (API, ())
    assert world.urls == [URL, PLACED, ROOT, own]


async def test_an_api_that_names_no_server_anywhere_is_told_with_what_was_tried() -> None:
    with pytest.raises(MetadataError, match="pass issuer=") as caught:
        await bound(World())
    assert f"{PLACED} (status 404), {ROOT} (status 404)" in str(caught.value)
    with pytest.raises(MetadataError, match=f"{API} is none\\. If"):
        await bound(World({PLACED: {"resource": URL}}))


async def test_a_host_that_lies_about_its_issuer_is_no_server_of_its_api() -> None:
    own = f"{API}/.well-known/oauth-authorization-server"
    with pytest.raises(MetadataError, match=r"evil\.example") as caught:
        await bound(World({own: metadata("https://evil.example")}))
    assert caught.value.member == "issuer"


async def test_the_server_that_the_program_names_goes_before_the_one_of_the_api() -> None:
    # agent-native#5268
    wrong = about(authorization_servers=["https://other.example"])
    world = World({PLACED: wrong, AS: GOOD_SERVER})
    assert (await bound(world, issuer=ISSUER)).issuer == ISSUER
    assert not any("other.example" in url for url in world.urls)
    by_hand = AuthorizationServer(token_endpoint=f"{ISSUER}/token")
    binding = await bound(World({PLACED: wrong}), server=by_hand)
    assert (binding.issuer, binding.resource) == (None, (URL,))


async def test_of_several_servers_the_first_is_asked() -> None:
    several = about(authorization_servers=[ISSUER, "https://other.example"])
    world = World({PLACED: several, AS: GOOD_SERVER})
    assert (await bound(world)).issuer == ISSUER


@pytest.mark.parametrize(("named", "is_called"), [(f"{ISSUER}/", ISSUER), (ISSUER, f"{ISSUER}/")])
async def test_a_slash_at_the_end_of_a_bare_host_is_no_other_server(
    named: str, is_called: str
) -> None:
    # The servers of the MCP SDK for Python add one, for their type of URL does.
    world = World({PLACED: about(authorization_servers=[named]), AS: metadata(is_called)})
    assert (await bound(world)).issuer == is_called


@pytest.mark.parametrize(
    ("named", "is_called"),
    [
        (f"{ISSUER}/tenant/", f"{ISSUER}/tenant"),
        (f"{ISSUER}/", "https://evil.example"),
        (ISSUER, f"{ISSUER}/tenant"),
    ],
)
async def test_an_issuer_is_compared_to_the_letter_but_for_that(named: str, is_called: str) -> None:
    place = f"{AS}/tenant" if "tenant" in named else AS
    world = World({PLACED: about(authorization_servers=[named]), place: metadata(is_called)})
    with pytest.raises(MetadataError) as caught:
        await bound(world)
    assert caught.value.member == "issuer"
    assert repr(named) in str(caught.value)


# --- lies -----------------------------------------------------------------------------------------

BIG = httpx.Response(200, content=b" " * 50_000_000)


@pytest.mark.parametrize(
    ("document", "member", "says"),
    [
        (about("https://other.example/v1/mcp"), "resource", "other.example"),
        (about(f"{API}/v2"), "resource", "does not cover"),
        (about("http://api.example.com/v1/mcp"), "resource", "does not cover"),
        (about(7), "resource", "no resource"),
        ({"authorization_servers": [ISSUER]}, "resource", "no resource"),
        (about(authorization_servers=["http://id.example.com"]), "authorization_servers", "https"),
        (about(authorization_servers=["http://127.0.0.1"]), "authorization_servers", "https"),
        (about(authorization_servers=["id"]), "authorization_servers", "absolute"),
        (about(authorization_servers=[f"{ISSUER}?a=b"]), "authorization_servers", "query"),
        (httpx.Response(200, content=b"[]"), None, "can't be used"),
    ],
)
async def test_metadata_that_lie_end_it_and_no_server_is_asked(
    document: Any, member: str | None, says: str
) -> None:
    world = World({PLACED: document, ROOT: about(), AS: GOOD_SERVER})
    with pytest.raises(MetadataError, match=says) as caught:
        await bound(world)
    assert caught.value.member == member
    assert world.urls == [URL, PLACED]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("https://evil.example/about", "another origin"),
        ("https://api.example.com:8443/about", "another origin"),
        ("http://api.example.com/about", "https"),
        ("/about", "absolute"),
        ("https://u:p@api.example.com/about", "user"),
    ],
)
async def test_metadata_are_never_fetched_from_another_origin(place: str, says: str) -> None:
    world = World({URL: challenged(resource_metadata=place), PLACED: about(), AS: GOOD_SERVER})
    with pytest.raises(MetadataError, match=says) as caught:
        await bound(world)
    assert caught.value.member == "resource_metadata"
    assert world.urls == [URL]


async def test_a_redirect_or_a_page_is_no_metadata() -> None:
    away = httpx.Response(302, headers={"Location": "https://evil.example/about"})
    page = httpx.Response(200, html="<html>Welcome</html>")
    world = World({URL: away, PLACED: away, ROOT: page})
    with pytest.raises(MetadataError, match="a redirect, which is not followed.*not JSON"):
        await bound(world)
    assert not any("evil" in url for url in world.urls)


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.Response(429), BIG])
async def test_metadata_that_are_not_to_be_had_now_are_unavailable(answer: httpx.Response) -> None:
    world = World({PLACED: answer, ROOT: about(), AS: GOOD_SERVER})
    with pytest.raises(RefreshUnavailableError) as caught:
        await bound(world)
    assert caught.value.safe_to_repeat
    assert world.urls == [URL, PLACED]


@pytest.mark.parametrize("answer", [BIG, httpx.ReadTimeout("slow")])
async def test_an_api_that_gives_no_whole_answer_is_looked_up(answer: Any) -> None:
    world = World({URL: answer, PLACED: about(), AS: GOOD_SERVER})
    assert (await bound(world)).issuer == ISSUER


async def test_an_api_that_answers_without_end_is_looked_up(autojump_clock: MockClock) -> None:
    world = World({PLACED: about(), AS: GOOD_SERVER})

    async def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) == URL:
            await trio.sleep_forever()
        return world._answer(request)

    transport = httpx.MockTransport(answer)
    channel = BackChannel(partial(httpx.AsyncClient, transport=transport))
    assert (await find_resource(URL, channel)).resource == URL
    assert trio.current_time() == pytest.approx(10)


async def test_the_metadata_of_an_api_are_fetched_once_a_session() -> None:
    world = World({PLACED: about()})
    channel = world.open()
    first, second = [await find_resource(URL, channel) for _ in range(2)]
    assert first is second
    assert world.urls == [URL, PLACED]


def test_cancelled_looking_remembers_nothing() -> None:
    async def scenario(victim: Victim) -> None:
        channel = World({PLACED: about()}).open()
        found = await victim(find_resource, URL, channel)
        assert (found is None) == (channel.cache == {})

    exploration = every_checkpoint(scenario, seeds=[1])
    assert exploration.failures == ()
    assert len(exploration.points) > 2


# --- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("challenge", "listed", "wanted", "scope"),
    [
        ("notes write", ["all"], "", "notes write"),
        (None, ["notes", "write"], "", "notes write"),
        (None, None, "", ""),
        (None, "notes", "", ""),
        ("notes", ["all"], "mine", "mine"),
    ],
)
async def test_the_scope_is_the_programs_else_the_challenges_else_the_one_listed(
    challenge: str | None, listed: Any, wanted: str, scope: str
) -> None:
    first = challenged() if challenge is None else challenged(scope=challenge)
    document = about() if listed is None else about(scopes_supported=listed)
    world = World({URL: first, PLACED: document, AS: GOOD_SERVER})
    assert (await bound(world, scope=wanted)).scope == scope


async def test_a_challenge_that_is_passed_in_asks_for_its_scope_besides_the_old_one() -> None:
    world = World({PLACED: about(), AS: GOOD_SERVER})
    more = Challenge("Bearer", {"scope": "write notes"})
    assert (await bound(world, scope="notes", challenge=more)).scope == "notes write"
    # It was answered already.
    assert world.urls == [PLACED, AS]


@pytest.mark.parametrize(
    ("listed", "offered", "scope"),
    [
        (["notes"], ["offline_access"], "notes offline_access"),
        (["offline_access", "notes"], ["offline_access"], "offline_access notes"),
        (["notes"], [], "notes"),
        ([], ["offline_access"], ""),
    ],
)
async def test_offline_access_is_asked_for_where_the_server_has_it(
    listed: list[str], offered: list[str], scope: str
) -> None:
    server = metadata(scopes_supported=offered)
    world = World({PLACED: about(scopes_supported=listed), AS: server})
    assert (await bound(world)).scope == scope


# --- what a program passes in ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options", "error", "says"),
    [
        ("http://api.example.com", {}, ValueError, "^url"),
        ("/v1", {}, ValueError, "^url"),
        (7, {}, TypeError, "^url"),
        (f"{URL}?a=b", {}, ValueError, "^url must not have a query"),
        (f"{URL}#a", {}, ValueError, "^url"),
        (URL, {"metadata_url": "http://app.example.com/c"}, ValueError, "^metadata_url"),
        (URL, {"metadata_url": "https://app.example.com/"}, ValueError, "^metadata_url"),
        (URL, {"issuer": "http://id.example.com"}, ValueError, "^issuer"),
        (URL, {"parameters": {"scope": "a"}}, ValueError, "^parameters"),
        (URL, {"ports": [0]}, ValueError, "^ports"),
        (URL, {"client_id": "a\n"}, ValueError, "^client_id"),
        (URL, {"keep": ""}, ValueError, "^path"),
    ],
)
def test_what_a_program_says_of_an_api_is_checked_by_its_name(
    url: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        OAuthClient.for_resource(url, **options)


def test_the_options_of_a_log_in_are_checked_when_it_is_made() -> None:
    client = OAuthClient.for_resource(URL)
    with pytest.raises(ValueError, match="patience"):
        client.browser(patience=0)
    with pytest.raises(ValueError, match="parameters"):
        client.device(parameters={"scope": "a"})
    with pytest.raises(ValueError, match="redirect_uri"):
        OAuthClient.for_resource(URL, redirect_uri="https://app.test/cb").interactive()
