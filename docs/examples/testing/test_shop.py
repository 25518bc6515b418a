"""The tests of the shop, among them the one that would have caught it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import checkout, open_shop

from trioauth.testing import AuthServer, Victim, every_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from trio.testing import MockClock


def open_shop_on(server: AuthServer) -> AbstractAsyncContextManager[Any]:
    return open_shop(server.url, server.token_url, server.log_in(), transport=server.transport())


@pytest.fixture
async def shop(auth_server: AuthServer) -> AsyncGenerator[Any, None]:
    async with open_shop_on(auth_server) as shop:
        yield shop


async def test_orders_go_on_when_the_hour_of_a_token_is_over(
    shop: Any, virtual_clock: MockClock
) -> None:
    await checkout(shop, "socks")
    await trio.sleep(3600)
    await checkout(shop, "shoes")


async def test_fifty_customers_cause_one_refresh(
    shop: Any, auth_server: AuthServer, virtual_clock: MockClock
) -> None:
    auth_server.expire()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(checkout, shop, f"socks number {number}")
    assert auth_server.ledger.refreshes == 1


async def test_a_customer_who_loses_patience_does_not_log_us_out(
    shop: Any, auth_server: AuthServer, virtual_clock: MockClock
) -> None:
    auth_server.expire()
    auth_server.delay(10)
    with trio.move_on_after(5):
        await checkout(shop, "socks")
    await checkout(shop, "shoes")


async def buy_socks_then_shoes(victim: Victim) -> None:
    server = AuthServer()
    async with open_shop_on(server) as shop:
        server.expire()
        await victim(checkout, shop, "socks")
        await checkout(shop, "shoes")
    assert server.ledger.reused == 0


def test_a_checkout_that_is_cancelled_anywhere_does_not_log_us_out() -> None:
    every_checkpoint(buy_socks_then_shoes)
