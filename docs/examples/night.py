"""A program that loses its login overnight, and what it says about it afterwards."""

import trio

import trioauth
from trioauth.testing import AuthServer

server = AuthServer()
server.delay(0.2)  # seconds that a refresh takes


async def sync(session: trioauth.Session) -> None:
    while True:
        await session.get("/notes")
        await trio.sleep(0.1)


async def main() -> None:
    grant = trioauth.RefreshTokenGrant(server.token_url, client_id=server.client_id)
    async with trioauth.open_session(
        grant, tokens=server.log_in(), base_url=server.url, transport=server.transport()
    ) as session:
        try:
            async with session.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(sync, session, name=f"sync {number}")
                await trio.sleep(0.25)
                server.revoke()
        except trioauth.LoggedOutError:
            print(session.explain())


trio.run(main)
