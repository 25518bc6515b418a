import trio

import trioauth
from trioauth.testing import AuthServer


async def main() -> None:
    server = AuthServer(client_id="notes")
    async with server.serve():
        grant = trioauth.RefreshTokenGrant(server.token_url, client_id="notes")
        async with trioauth.open_session(
            grant, tokens=server.log_in(), base_url=server.url
        ) as session:
            response = await session.get("/notes")
            print(response.status_code, session.state)

            server.expire()  # the API refuses the access token from now on
            response = await session.get("/notes")
            print(response.status_code, session.state)


trio.run(main)
