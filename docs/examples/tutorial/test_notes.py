from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import notes
import trio
from trio.testing import MockClock

import trioauth
from trioauth.testing import AuthServer


@asynccontextmanager
async def running(server: AuthServer) -> AsyncGenerator[list[str], None]:
    """Run the program while the block lasts; gives a list of the times a human logged in."""
    logins: list[str] = []

    async def human(_: trioauth.TokenEndpoint) -> trioauth.Tokens:
        logins.append(f"at {trio.current_time():.0f} s")
        return server.log_in()

    grant = trioauth.RefreshTokenGrant(server.token_url, client_id="notes")
    async with (
        trioauth.open_session(grant, base_url=server.url, transport=server.transport()) as session,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(notes.stay_in_step, session, human)
        yield logins
        nursery.cancel_scope.cancel()


async def test_one_login_lasts_for_many_lives_of_a_token(autojump_clock: MockClock) -> None:
    server = AuthServer(client_id="notes", lifetime=60)
    async with running(server) as logins:
        await trio.sleep(300)
    assert logins == ["at 0 s"]
    assert server.ledger.refreshes >= 5
    assert server.ledger.unauthorized == 0


async def test_an_expired_token_costs_no_note(autojump_clock: MockClock) -> None:
    server = AuthServer(client_id="notes")
    async with running(server) as logins:
        await trio.sleep(10.5)
        server.expire()
        await trio.sleep(10)
    assert logins == ["at 0 s"]
    assert server.ledger.refreshes == 1
    uploads = [seen for seen in server.ledger.requests_seen if seen.method == "POST"]
    assert sum(upload.status == 200 for upload in uploads) == 21


async def test_an_outage_of_ten_minutes_asks_no_human(autojump_clock: MockClock) -> None:
    server = AuthServer(client_id="notes", lifetime=60)
    async with running(server) as logins:
        await trio.sleep(10)
        server.down()
        await trio.sleep(600)
        server.recover()
        await trio.sleep(60)
        assert server.ledger.requests_seen[-1].status == 200
    assert logins == ["at 0 s"]


async def test_after_a_revocation_a_human_is_asked_once(autojump_clock: MockClock) -> None:
    server = AuthServer(client_id="notes")
    async with running(server) as logins:
        await trio.sleep(10.5)
        server.revoke()
        await trio.sleep(10)
        assert server.ledger.requests_seen[-1].status == 200
    assert logins == ["at 0 s", "at 11 s"]
