"""One of several processes that share a login: python worker.py TOKEN_URL API_URL"""

import sys

import trio

import trioauth


async def wait_for_login(store: trioauth.FileStore) -> None:
    while True:
        record = await store.load()
        if record is not None and record.tokens is not None:
            return
        await trio.sleep(1)


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    with trioauth.cancel_on_sigterm():
        await wait_for_login(store)
        async with trioauth.open_session(grant, store=store, base_url=api_url) as session:
            response = await session.get("/notes")
            print(response.status_code, "with generation", session.generation)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
