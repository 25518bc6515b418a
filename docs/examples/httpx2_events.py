"""Follow server-sent events with httpx2: python httpx2_events.py TOKEN_URL API_URL"""

import sys

import httpx2
import trio

import trioauth


async def follow(http: httpx2.AsyncClient) -> None:
    last, over = "", False
    while not over:
        headers = {"Last-Event-ID": last} if last else {}
        async with http.sse("/notes", headers=headers) as source:
            source.response.raise_for_status()
            async for event in source:
                last, over = event.id, event.event == "end"
                print(event.data)
        # The server ended the stream, perhaps because the token has expired: on from there.


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    # By default httpx2 gives up on a stream after five silent seconds.
    patient = httpx2.Timeout(5, read=None)
    async with (
        trioauth.open_session(grant, store=store, base_url=api_url) as session,
        session.attach(httpx2.AsyncClient(base_url=api_url, timeout=patient)) as http,
    ):
        await follow(http)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
