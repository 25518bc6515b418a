"""What a program does when something goes wrong, one order to the server each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trioauth
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioauth import Session


async def test_being_thrown_out_ends_what_needs_the_login(
    auth_session: Session, auth_server: AuthServer
) -> None:
    auth_server.revoke()
    with pytest.raises(trioauth.LoggedOutError):
        async with auth_session.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await auth_session.get("/orders")


async def test_an_outage_logs_nobody_out(
    auth_session: Session, auth_server: AuthServer, virtual_clock: MockClock
) -> None:
    auth_server.expire()
    auth_server.down()
    with pytest.raises(trioauth.RefreshUnavailableError) as info:
        await auth_session.get("/orders")
    assert info.value.retry_at is not None
    auth_server.recover()
    await trio.sleep_until(info.value.retry_at)
    assert (await auth_session.get("/orders")).status_code == 200


async def test_a_lost_answer_is_asked_for_again(virtual_clock: MockClock) -> None:
    # As a server does that forgives a repeat within ten seconds.
    server = AuthServer(reuse_grace=10)
    async with server.open_session() as session:
        server.expire()
        server.drop_answer()
        assert (await session.get("/orders")).status_code == 200
    assert [each.outcome for each in server.ledger.presented] == ["dropped", "repeated"]


async def test_an_order_is_sent_once_more_and_no_more(
    auth_session: Session, auth_server: AuthServer, virtual_clock: MockClock
) -> None:
    auth_server.expire()
    await auth_session.post("/orders", json={"item": "socks"})
    sent = [(seen.path, seen.generation, seen.status) for seen in auth_server.ledger.requests_seen]
    assert sent == [("/orders", 1, 401), ("/orders", 2, 200)]
