"""Sessions against a real authorization server: what it counts is what was promised."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import httpx
import httpx2
import pytest
import trio

import trioauth
from trioauth import Session, Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .provider import Provider

# One server for all of them.
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.xdist_group("node")]

Library: TypeAlias = Literal["httpx", "httpx2"]
TASKS = 100
ROTATIONS = 5

both_libraries = pytest.mark.parametrize("library", ["httpx", "httpx2"])


def grant_for(provider: Provider, client: str = "public") -> trioauth.RefreshTokenGrant:
    known = provider.clients[client]
    return trioauth.RefreshTokenGrant(
        provider.token_url,
        client_id=known.client_id,
        client_secret=known.client_secret,
        client_auth="client_secret_post" if client == "post" else None,
        revocation_endpoint=provider.revocation_url,
    )


@asynccontextmanager
async def logged_in(
    provider: Provider, client: str = "public", **options: Any
) -> AsyncGenerator[Session]:
    tokens = Tokens.from_response(await provider.log_in(client))
    async with trioauth.open_session(
        grant_for(provider, client),
        tokens=tokens,
        base_url=provider.api_url,
        trust_env=False,
        **options,
    ) as session:
        yield session


@asynccontextmanager
async def client_of(
    session: Session, library: Library, base_url: str
) -> AsyncGenerator[Session | httpx2.AsyncClient]:
    if library == "httpx":
        yield session
        return
    async with session.attach(httpx2.AsyncClient(base_url=base_url, trust_env=False)) as http:
        yield http


async def get_generation(http: Session | httpx2.AsyncClient) -> int:
    response = await http.get("me")
    assert response.status_code == 200, response.text
    generation: int = response.json()["generation"]
    return generation


@both_libraries
async def test_hundred_tasks_share_one_refresh_per_rotation(
    provider: Provider, library: Library
) -> None:
    await provider.configure(access_token_ttl=600, answer_delay=0.05)
    seen: list[int] = []
    async with (
        logged_in(provider) as session,
        client_of(session, library, provider.api_url) as http,
    ):

        async def call() -> None:
            seen.append(await get_generation(http))

        for rotation in range(1, ROTATIONS + 1):
            seen.clear()
            await provider.expire()
            async with trio.open_nursery() as nursery:
                for _ in range(TASKS):
                    nursery.start_soon(call)
            assert seen == [rotation + 1] * TASKS
            assert await provider.refreshes() == (rotation, 0)
    ledger = await provider.ledger()
    assert ledger["reuse"] == 0
    assert [token["accepted"] for token in ledger["refresh_tokens"]] == [1] * ROTATIONS + [0]


@both_libraries
async def test_cancelling_every_second_task_changes_nothing_for_the_others(
    provider: Provider, library: Library
) -> None:
    await provider.configure(access_token_ttl=600, answer_delay=0.1)
    chance = random.Random(6749)
    seen: list[int] = []
    cancelled = 0
    async with (
        logged_in(provider) as session,
        client_of(session, library, provider.api_url) as http,
    ):

        async def call(patience: float) -> None:
            nonlocal cancelled
            with trio.move_on_after(patience) as scope:
                seen.append(await get_generation(http))
            cancelled += scope.cancelled_caught

        for rotation in range(1, ROTATIONS + 1):
            seen.clear()
            await provider.expire()
            async with trio.open_nursery() as nursery:
                for number in range(TASKS):
                    patience = chance.uniform(0, 0.3) if number % 2 else 30.0
                    nursery.start_soon(call, patience)
            assert set(seen) == {rotation + 1}
            assert len(seen) >= TASKS // 2
            assert await provider.refreshes() == (rotation, 0)
    assert cancelled > 0
    assert (await provider.ledger())["reuse"] == 0


async def test_refresh_lands_although_the_only_task_that_wanted_it_was_cancelled(
    provider: Provider,
) -> None:
    await provider.configure(access_token_ttl=600, answer_delay=0.2)
    async with logged_in(provider) as session:
        await provider.expire()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(get_generation, session)
            while await provider.refreshes() != (1, 0):  # noqa: ASYNC110  (another process's count)
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert await get_generation(session) == 2
    assert await provider.refreshes() == (1, 0)
    assert (await provider.ledger())["reuse"] == 0


@both_libraries
async def test_revocation_at_the_server_collapses_the_login_once(
    provider: Provider, library: Library
) -> None:
    await provider.configure(access_token_ttl=600)
    reasons: list[str] = []
    events: list[trioauth.events.Event] = []
    async with (
        logged_in(provider, observers=[events.append]) as session,
        client_of(session, library, provider.api_url) as http,
    ):
        assert await get_generation(http) == 1
        await provider.revoke()

        async def call() -> None:
            with pytest.raises(trioauth.LoggedOutError) as excinfo:
                await http.get("me")
            reasons.append(excinfo.value.reason)

        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(call)
        assert reasons == ["refused"] * TASKS
        assert await provider.refreshes() == (0, 1)
        await call()
        assert await provider.refreshes() == (0, 1)
    assert [type(event) for event in events].count(trioauth.events.LoggedOut) == 1


async def test_client_credentials_outlive_their_three_second_tokens(provider: Provider) -> None:
    service = provider.clients["service"]
    assert service.client_secret is not None
    grant = trioauth.ClientCredentialsGrant(
        provider.token_url, client_id=service.client_id, client_secret=service.client_secret
    )
    async with trioauth.open_session(grant, base_url=provider.api_url, trust_env=False) as session:
        with trio.fail_after(15):
            while (  # noqa: ASYNC110  (another process's clock)
                generation := await get_generation(session)
            ) < 3:
                await trio.sleep(0.1)
        assert generation == 3
    assert await provider.refreshes("client_credentials") == (3, 0)


async def test_fifty_tasks_rotate_at_a_server_of_its_own_kind(provider: Provider) -> None:
    await provider.configure(access_token_ttl=600, answer_delay=0.05)
    first = await provider.log_in_own()
    tokens = Tokens(first["accessToken"], first["refreshToken"], first["expiresIn"])
    seen: list[int] = []
    async with trioauth.open_session(
        trioauth.BearerRefreshGrant(provider.own_refresh_url),
        tokens=tokens,
        base_url=provider.own_api_url,
        trust_env=False,
    ) as session:

        async def call() -> None:
            seen.append(await get_generation(session))

        for rotation in (1, 2, 3):
            seen.clear()
            await provider.expire()
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(call)
            assert seen == [rotation + 1] * 50
            assert await provider.refreshes("own") == (rotation, 0)
        await provider.revoke()
        with pytest.raises(trioauth.LoggedOutError):
            await session.get("me")
    assert (await provider.ledger())["reuse"] == 0


async def test_logging_out_revokes_at_the_server(provider: Provider) -> None:
    tokens = await provider.log_in()
    async with trioauth.open_session(
        grant_for(provider),
        tokens=Tokens.from_response(tokens),
        base_url=provider.api_url,
        trust_env=False,
    ) as session:
        assert await get_generation(session) == 1
        await session.log_out(revoke=True)
        with pytest.raises(trioauth.LoggedOutError):
            await session.get("me")
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await http.get(provider.api_url, headers=headers)).status_code == 401
    ledger = await provider.ledger()
    assert ledger["revocation_requests"] >= 1
    assert ledger["events"]["grant.revoked"] == 1
    assert await provider.refreshes() == (0, 0)


@pytest.mark.parametrize("client", ["basic", "post"])
async def test_confidential_client_refreshes_and_revokes(provider: Provider, client: str) -> None:
    async with logged_in(provider, client) as session:
        await provider.expire()
        assert await get_generation(session) == 2
        assert await provider.refreshes() == (1, 0)
        await session.log_out(revoke=True)
    assert (await provider.ledger())["events"]["grant.revoked"] == 1
