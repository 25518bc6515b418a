"""gql, on trio as far as it goes: docs/howto/sdks.md."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.httpx import HTTPXAsyncTransport
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

import trioauth
from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import Gate, log_in, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request


@asynccontextmanager
async def _graphql(auth: AuthServer) -> AsyncGenerator[str, None]:
    async def answer(request: Request) -> JSONResponse:
        asked = await request.json()
        text = f"note {asked['variables']['number']}"
        return JSONResponse({"data": {"note": {"text": text}}})

    app = Starlette(routes=[Route("/graphql", answer, methods=["POST"])])
    async with auth.serve(), serve(Gate(app, auth)) as url:
        await log_in(auth, url)
        yield url


async def test_queries_at_once_share_one_refresh(capsys: pytest.CaptureFixture[str]) -> None:
    auth = AuthServer()
    async with _graphql(auth) as url:
        auth.expire()
        await load("gql_client").main(auth.token_url, url)
    assert sorted(capsys.readouterr().out.splitlines()) == ["note 0", "note 1", "note 2"]
    assert auth.ledger.refreshes == 1
    assert auth.ledger.reused == 0
    assert auth.ledger.unauthorized == 3


async def test_the_end_of_the_login_comes_out_of_gql_as_a_cause() -> None:
    auth = AuthServer()
    async with _graphql(auth) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        transport = HTTPXAsyncTransport(f"{url}/graphql")
        async with (
            trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session,
            Client(transport=transport) as client,
        ):
            assert isinstance(transport.client, httpx2.AsyncClient)
            session.attach(transport.client)
            auth.revoke()
            query = GraphQLRequest("{ note(number: 1) { text } }")
            with pytest.raises(TransportConnectionFailed) as caught:
                await client.execute(query)
            assert isinstance(caught.value.__cause__, trioauth.LoggedOutError)
            await session.log_in(auth.log_in())
            auth.revoke()
            with pytest.raises(trioauth.LoggedOutError):
                async with session.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(client.execute, query)


# What the page says does not work on trio. When this fails, gql has learnt it: tell the page.


@pytest.mark.filterwarnings("ignore:coroutine '.*_batch_loop' was never awaited:RuntimeWarning")
async def test_gql_can_not_batch_on_trio_because_it_starts_a_task_of_asyncio() -> None:
    transport = HTTPXAsyncTransport("http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="no running event loop"):
        async with Client(transport=transport, batch_interval=0.1):
            raise AssertionError("not reached")
    assert transport.client is None, "it was closed"


async def test_httpx2_reads_a_subscription_that_a_server_offers_as_events() -> None:
    async def answer(request: Request) -> StreamingResponse:
        assert (await request.json())["query"].startswith("subscription")

        async def body() -> AsyncGenerator[str, None]:
            for number in range(2):
                yield f'event: next\ndata: {{"data": {{"note": {number}}}}}\n\n'

        return StreamingResponse(body(), media_type="text/event-stream")

    auth = AuthServer()
    app = Starlette(routes=[Route("/graphql", answer, methods=["POST"])])
    async with auth.serve(), serve(Gate(app, auth)) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        async with (
            trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session,
            session.attach(httpx2.AsyncClient(base_url=url)) as http,
        ):
            auth.expire()
            query = {"query": "subscription { note }"}
            async with http.sse("/graphql", method="POST", json=query) as source:
                notes = [event.json() async for event in source]
    assert notes == [{"data": {"note": 0}}, {"data": {"note": 1}}]
    assert auth.ledger.refreshes == 1


def test_gql_has_no_subscriptions_over_http() -> None:
    transport = HTTPXAsyncTransport("http://127.0.0.1:1")
    with pytest.raises(NotImplementedError, match="does not support subscriptions"):
        transport.subscribe(GraphQLRequest("subscription { note { text } }"))
