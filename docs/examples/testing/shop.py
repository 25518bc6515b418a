"""A shop that sends orders to an API. Its session stays logged in."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trioauth

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def open_shop(
    url: str, token_url: str, tokens: trioauth.Tokens, **options: Any
) -> AsyncGenerator[trioauth.Session, None]:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    async with trioauth.open_session(grant, tokens=tokens, base_url=url, **options) as shop:
        yield shop


async def checkout(shop: trioauth.Session, item: str) -> None:
    response = await shop.post("/orders", json={"item": item})
    response.raise_for_status()
