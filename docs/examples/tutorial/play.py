"""Run notes.py against a server on which everything goes wrong within half a minute."""

from functools import partial

import notes
import trio

import trioauth
from trioauth.testing import AuthServer


async def main() -> None:
    server = AuthServer(client_id="notes", lifetime=4)

    async def human(_: trioauth.TokenEndpoint) -> trioauth.Tokens:
        print("(a person logs in)")
        return server.log_in()

    async with server.serve(), trio.open_nursery() as nursery:
        program = partial(notes.main, server.token_url, server.url, "tokens.json", human)
        nursery.start_soon(program)
        await trio.sleep(10)
        print("--- the login server goes down")
        server.down()
        await trio.sleep(12)
        print("--- it comes back")
        server.recover()
        await trio.sleep(6)
        print("--- an administrator ends the login")
        server.revoke()
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    print(f"{server.ledger.refreshes} refreshes, {server.ledger.reused} tokens used twice")


if __name__ == "__main__":
    trio.run(main)
