"""Apps of Starlette and Quart-Trio that hold a session for their lifespan: docs/howto/sdks.md."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import trio

from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import serve


@pytest.mark.parametrize("program", ["starlette_app", "quart_app"])
async def test_the_requests_of_an_app_share_its_session(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = AuthServer(client_secret="canary-client-secret")
    numbers = []

    async with auth.serve():
        monkeypatch.setenv("TOKEN_URL", auth.token_url)
        monkeypatch.setenv("API_URL", auth.url)
        app: Any = load(program).app
        async with serve(app) as url, httpx2.AsyncClient(base_url=url) as visitor:

            async def visit(number: int) -> None:
                response = await visitor.get(f"/notes/{number}")
                assert response.status_code == 200
                numbers.append(response.json()["path"])

            await visit(0)
            auth.expire()
            async with trio.open_nursery() as nursery:
                for number in range(1, 10):
                    nursery.start_soon(visit, number)

            auth.fail(503, headers={"Retry-After": "3600"})
            auth.expire()
            assert (await visitor.get("/notes/1")).status_code == 503
    assert sorted(numbers) == [f"/notes/{number}" for number in range(10)]
    assert auth.ledger.refreshes == 2  # the first token, and its one renewal
    assert auth.ledger.requests == {1: 1, 2: 9}
