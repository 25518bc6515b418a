"""Call tools of an MCP server while one streams: python mcp_client.py TOKEN_URL SERVER_URL"""

import sys

import httpx2
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import trioauth

NOTES = ["milk", "eggs", "bread"]


async def watch(client: Client) -> None:
    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"{message} is number {progress:.0f} of {total:.0f}")

    await client.call_tool("watch", {"count": len(NOTES)}, progress_callback=show)
    print("that was all")


async def main(token_url: str, server_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    # A stream may be silent for a long time.
    patient = httpx2.Timeout(30, read=300)
    async with (
        trioauth.open_session(grant, store=store, base_url=server_url) as session,
        session.attach(httpx2.AsyncClient(timeout=patient)) as http,
        Client(streamable_http_client(f"{server_url}/mcp", http_client=http)) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(watch, client)
        for note in NOTES:
            await client.call_tool("add_note", {"text": note})


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
