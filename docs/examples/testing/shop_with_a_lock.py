"""A shop that sends orders to an API. Its auth class refreshes under a lock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import Tokens


class LockedAuth(httpx.Auth):
    """Sign requests; on a 401 refresh, one task at a time, and sign once more."""

    def __init__(self, token_url: str, tokens: Tokens) -> None:
        self.token_url = token_url
        self.access_token, self.refresh_token = tokens.access_token, tokens.refresh_token
        self.lock = trio.Lock()

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        used = self.access_token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code == 401:
            async with self.lock:
                if self.access_token == used:  # No other task was faster.
                    form = {
                        "grant_type": "refresh_token",
                        "refresh_token": self.refresh_token,
                        "client_id": "client",
                    }
                    answer = yield httpx.Request("POST", self.token_url, data=form)
                    await answer.aread()
                    new = answer.raise_for_status().json()
                    self.access_token = new["access_token"]
                    self.refresh_token = new["refresh_token"]
            request.headers["Authorization"] = f"Bearer {self.access_token}"
            yield request


@asynccontextmanager
async def open_shop(
    url: str, token_url: str, tokens: Tokens, **options: Any
) -> AsyncGenerator[httpx.AsyncClient, None]:
    auth = LockedAuth(token_url, tokens)
    async with httpx.AsyncClient(base_url=url, auth=auth, **options) as shop:
        yield shop


async def checkout(shop: httpx.AsyncClient, item: str) -> None:
    response = await shop.post("/orders", json={"item": item})
    response.raise_for_status()
