"""One of several processes that share a login: python worker.py TOKEN_URL API_URL"""

import sys

import trio

import trioauth


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    with trioauth.cancel_on_sigterm():
        async with trioauth.open_session(grant, store=store, base_url=api_url) as session:
            await session.wait_logged_in()  # here, or in another process
            response = await session.get("/notes")
            print(response.status_code, "with generation", session.generation)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
