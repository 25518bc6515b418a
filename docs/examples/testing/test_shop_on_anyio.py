"""Tests of the shop under anyio's plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from shop import checkout

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioauth import Session
    from trioauth.testing import AuthServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_clock: MockClock) -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": virtual_clock}


async def test_orders_go_on_when_the_hour_of_a_token_is_over(
    auth_session: Session, auth_server: AuthServer
) -> None:
    await checkout(auth_session, "socks")
    await trio.sleep(3600)
    await checkout(auth_session, "shoes")
    assert auth_server.ledger.refreshes == 1
