"""Listen to a WebSocket with trio-websocket: python trio_websocket_listener.py TOKEN_URL API_URL"""

import sys

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket_url

import trioauth


async def listen(session: trioauth.Session, url: str) -> None:
    refusals = 0
    while refusals < 3:  # or else this server takes no token at all
        token = await session.token()
        generation = session.generation  # the token's: nothing was awaited in between
        headers = [(b"Authorization", f"Bearer {token}".encode())]
        try:
            async with open_websocket_url(url, extra_headers=headers) as socket:
                while True:
                    print(await socket.get_message())
                    refusals = 0
        except ConnectionRejected as rejected:
            if rejected.status_code != 401:
                raise
        except ConnectionClosed as closed:
            code = closed.reason and closed.reason.code
            if code == 1000:  # the server has said all there is
                return
            if code != 4401:  # what this server says when a token expires
                raise
        session.reject(generation)
        refusals += 1
    raise ConnectionError("the server refuses each new token")


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    async with trioauth.open_session(grant, store=store, base_url=api_url) as session:
        await listen(session, f"ws{api_url.removeprefix('http')}/notes")  # https -> wss


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
