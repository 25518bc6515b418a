"""Fetch a hundred notes at once: python script.py TOKEN_URL API_URL"""

import sys

import trio

import trioauth


async def main(token_url: str, api_url: str) -> None:
    notes: dict[int, str] = {}

    async def fetch(number: int) -> None:
        response = await session.get(f"/notes/{number}")
        response.raise_for_status()
        notes[number] = response.json()["path"]

    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    async with (
        trioauth.open_session(grant, store=store, base_url=api_url) as session,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(fetch, number)
    print(len(notes), "notes, from", notes[0], "to", notes[99])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
