"""The server that the other tests here rely on does what they rely on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import httpx
import pytest
import trio

from .provider import STOP_TIMEOUT, Provider, run_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# One server for all of them.
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.xdist_group("node")]


@pytest.fixture
async def http(provider: Provider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        yield client


async def refresh(
    http: httpx.AsyncClient, provider: Provider, refresh_token: str, client: str = "public"
) -> httpx.Response:
    known = provider.clients[client]
    data = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    auth: httpx.Auth = httpx.Auth()
    if client == "basic":
        assert known.client_secret is not None
        # RFC 6749 2.3.1: both are encoded as in a form first.
        auth = httpx.BasicAuth(quote_plus(known.client_id), quote_plus(known.client_secret))
    else:
        data["client_id"] = known.client_id
    if client == "post":
        assert known.client_secret is not None
        data["client_secret"] = known.client_secret
    return await http.post(provider.token_url, data=data, auth=auth)


async def call_api(http: httpx.AsyncClient, url: str, access_token: str) -> httpx.Response:
    return await http.get(f"{url}me", headers={"Authorization": f"Bearer {access_token}"})


def assert_refused(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


async def test_login_without_a_browser_gives_tokens_that_work(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    tokens = await provider.log_in()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3)
    response = await call_api(http, provider.api_url, tokens["access_token"])
    assert response.status_code == 200
    assert response.json() == {"login": 1, "generation": 1, "received": 0}


@pytest.mark.parametrize("client", ["public", "basic", "post"])
async def test_refresh_rotates_for_each_kind_of_client(
    http: httpx.AsyncClient, provider: Provider, client: str
) -> None:
    tokens = await provider.log_in(client)
    for generation in (2, 3):
        response = await refresh(http, provider, tokens["refresh_token"], client)
        assert response.status_code == 200, response.text
        assert response.json()["refresh_token"] != tokens["refresh_token"]
        tokens = response.json()
        assert tokens["expires_in"] == 3
        answer = await call_api(http, provider.api_url, tokens["access_token"])
        assert answer.json()["generation"] == generation
    assert await provider.refreshes() == (2, 0)


@pytest.mark.parametrize("client", ["basic", "post"])
async def test_wrong_secret_is_invalid_client_and_harms_nothing(
    http: httpx.AsyncClient, provider: Provider, client: str
) -> None:
    tokens = await provider.log_in(client)
    data = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    client_id = provider.clients[client].client_id
    auth: httpx.Auth = httpx.Auth()
    if client == "basic":
        auth = httpx.BasicAuth(quote_plus(client_id), "wrong")
    else:
        data |= {"client_id": client_id, "client_secret": "wrong"}
    response = await http.post(provider.token_url, data=data, auth=auth)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert (await refresh(http, provider, tokens["refresh_token"], client)).status_code == 200


async def test_spent_refresh_token_ends_the_login(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    first = await provider.log_in()
    bystander = await provider.log_in()
    newest = (await refresh(http, provider, first["refresh_token"])).json()

    assert_refused(await refresh(http, provider, first["refresh_token"]))
    assert_refused(await refresh(http, provider, newest["refresh_token"]))
    for access_token in (first["access_token"], newest["access_token"]):
        assert (await call_api(http, provider.api_url, access_token)).status_code == 401
    assert (await refresh(http, provider, bystander["refresh_token"])).status_code == 200

    ledger = await provider.ledger()
    assert ledger["token_requests"] == {"refresh_token": {"success": 2, "error": 2}}
    assert ledger["errors"] == {"invalid_grant": 2}
    assert ledger["reuse"] == 1
    assert ledger["refresh_tokens"] == [
        {"number": 1, "login": 1, "presented": 2, "accepted": 1},
        {"number": 2, "login": 2, "presented": 1, "accepted": 1},
        {"number": 3, "login": 1, "presented": 1, "accepted": 0},
        {"number": 4, "login": 2, "presented": 0, "accepted": 0},
    ]
    assert ledger["events"]["grant.revoked"] == 1
    assert ledger["events"]["refresh_token.consumed"] == 2


async def test_refresh_token_presented_twice_at_once_is_accepted_once(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    await provider.configure(storage_delay=0.1)
    tokens = await provider.log_in()
    responses: list[httpx.Response] = []

    async def present() -> None:
        responses.append(await refresh(http, provider, tokens["refresh_token"]))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(present)

    assert sorted(response.status_code for response in responses) == [200] + [400] * 7
    (winner,) = (response.json() for response in responses if response.status_code == 200)
    assert_refused(await refresh(http, provider, winner["refresh_token"]))
    assert (await call_api(http, provider.api_url, winner["access_token"])).status_code == 401
    assert (await provider.ledger())["reuse"] == 7


async def test_client_going_away_does_not_keep_the_server_from_rotating(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    await provider.configure(answer_delay=30)
    tokens = await provider.log_in()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refresh, http, provider, tokens["refresh_token"])
            while await provider.refreshes() != (1, 0):  # noqa: ASYNC110  (another process's count)
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    await provider.configure(answer_delay=0)
    assert_refused(await refresh(http, provider, tokens["refresh_token"]))


async def test_api_refuses_what_is_no_live_access_token(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    tokens = await provider.log_in()
    for wrong in ("nonsense", tokens["refresh_token"]):
        response = await call_api(http, provider.api_url, wrong)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    response = await http.get(provider.api_url)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await provider.ledger())["api"] == {"accepted": 0, "refused": 3}


async def test_api_says_how_much_of_a_body_it_got(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    tokens = await provider.log_in()
    response = await http.post(
        provider.api_url,
        content=b"12345",
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    )
    assert response.json()["received"] == 5


async def test_access_token_expires_by_itself(http: httpx.AsyncClient, provider: Provider) -> None:
    await provider.configure(access_token_ttl=1)
    tokens = await provider.log_in()
    assert tokens["expires_in"] == 1
    with trio.fail_after(2):
        while (  # noqa: ASYNC110  (another process's clock)
            await call_api(http, provider.api_url, tokens["access_token"])
        ).status_code == 200:
            await trio.sleep(0.05)


async def test_expire_ends_access_tokens_only(http: httpx.AsyncClient, provider: Provider) -> None:
    await provider.configure(access_token_ttl=600)
    tokens = await provider.log_in()
    await provider.expire()
    assert (await call_api(http, provider.api_url, tokens["access_token"])).status_code == 401
    response = await refresh(http, provider, tokens["refresh_token"])
    assert response.json()["expires_in"] == 600
    answer = await call_api(http, provider.api_url, response.json()["access_token"])
    assert answer.json()["generation"] == 2


async def test_revoking_one_login_leaves_the_others(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    one, other = await provider.log_in(), await provider.log_in("post")
    await provider.revoke(one["login"])
    assert (await call_api(http, provider.api_url, one["access_token"])).status_code == 401
    assert_refused(await refresh(http, provider, one["refresh_token"]))
    assert (await call_api(http, provider.api_url, other["access_token"])).status_code == 200
    await provider.revoke()
    assert (await call_api(http, provider.api_url, other["access_token"])).status_code == 401


async def test_revocation_endpoint_ends_the_login(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    tokens = await provider.log_in()
    data = {"token": tokens["refresh_token"], "client_id": provider.clients["public"].client_id}
    assert (await http.post(provider.revocation_url, data=data)).status_code == 200
    assert (await call_api(http, provider.api_url, tokens["access_token"])).status_code == 401
    assert_refused(await refresh(http, provider, tokens["refresh_token"]))
    ledger = await provider.ledger()
    assert ledger["revocation_requests"] == 1
    assert ledger["events"]["grant.revoked"] == 1


async def test_client_credentials_give_a_token_each_time(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    service = provider.clients["service"]
    assert service.client_secret is not None
    auth = httpx.BasicAuth(quote_plus(service.client_id), quote_plus(service.client_secret))
    for generation in (1, 2):
        response = await http.post(
            provider.token_url, data={"grant_type": "client_credentials"}, auth=auth
        )
        tokens: dict[str, Any] = response.json()
        assert "refresh_token" not in tokens
        assert tokens["expires_in"] == 3
        answer = await call_api(http, provider.api_url, tokens["access_token"])
        assert answer.json()["generation"] == generation
    assert await provider.refreshes("client_credentials") == (2, 0)


async def test_server_of_its_own_kind_rotates_and_detects_reuse(
    http: httpx.AsyncClient, provider: Provider
) -> None:
    async def refresh_own(refresh_token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {refresh_token}"}
        return await http.post(provider.own_refresh_url, headers=headers)

    first = await provider.log_in_own()
    second = await refresh_own(first["refreshToken"])
    assert second.status_code == 200
    newest = second.json()
    answer = await call_api(http, provider.own_api_url, newest["accessToken"])
    assert answer.json()["generation"] == 2
    assert (await call_api(http, provider.api_url, newest["accessToken"])).status_code == 401
    await provider.expire()
    assert (await call_api(http, provider.own_api_url, newest["accessToken"])).status_code == 401

    for spent in (first["refreshToken"], newest["refreshToken"], "nonsense"):
        assert (await refresh_own(spent)).status_code == 401
    assert await provider.refreshes("own") == (1, 3)
    assert (await provider.ledger())["reuse"] == 1


async def test_ledger_holds_no_token(http: httpx.AsyncClient, provider: Provider) -> None:
    tokens = await provider.log_in()
    assert (await refresh(http, provider, tokens["refresh_token"])).status_code == 200
    ledger = str(await provider.ledger())
    assert tokens["refresh_token"] not in ledger
    assert tokens["access_token"] not in ledger


def test_server_ends_by_itself_when_its_stdin_closes(provider: Provider) -> None:
    with run_provider(access_token_ttl=7) as other:
        assert other.issuer != provider.issuer
        assert httpx.get(other.api_url, trust_env=False).status_code == 401
        leaving_at = time.monotonic()
    # It was not terminated: that would come after STOP_TIMEOUT.
    assert time.monotonic() - leaving_at < STOP_TIMEOUT
    with pytest.raises(httpx.ConnectError):
        httpx.get(other.api_url, trust_env=False)
