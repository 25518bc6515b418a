"""Listen to a WebSocket with httpx2: python httpx2_websocket.py TOKEN_URL API_URL"""

import sys

import httpx2
import trio
from httpx2.websockets import WebSocketDisconnect

import trioauth


async def listen(session: trioauth.Session, http: httpx2.AsyncClient) -> None:
    refusals = 0
    while refusals < 3:  # or else this server takes no token at all
        # A 401 to the handshake is dealt with as any other.
        async with http.websocket("/notes") as socket:
            assert socket.response is not None
            signed: trioauth.Authentication = socket.response.extensions["trioauth"]
            # Caught in here: from outside, the exception comes in a group.
            try:
                while True:
                    print(await socket.receive_text())
                    refusals = 0
            except WebSocketDisconnect as closed:
                if closed.code == 1000:  # the server has said all there is
                    return
                if closed.code != 4401:  # what this server says when a token expires
                    raise
        session.reject(signed.generation)
        refusals += 1
    raise ConnectionError("the server refuses each new token")


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    async with (
        trioauth.open_session(grant, store=store, base_url=api_url) as session,
        session.attach(httpx2.AsyncClient(base_url=api_url)) as http,
    ):
        await listen(session, http)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
