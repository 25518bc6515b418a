"""Log in to an MCP server of which nothing is known but its address: python mcp_login.py URL"""

import sys

import httpx2
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import trioauth


async def main(url: str, prompt: trioauth.Prompt | None = None) -> None:
    # Beside the tokens: what was registered for this program, and where it is logged in.
    client = trioauth.OAuthClient.for_resource(url, keep="client.json", name="Shopping list")
    store = trioauth.FileStore("tokens.json")
    async with trioauth.open_session(client, store=store, base_url=url) as session:
        if not session.logged_in:
            await session.log_in(client.interactive(prompt=prompt))
        async with (
            session.attach(httpx2.AsyncClient(timeout=httpx2.Timeout(30, read=300))) as http,
            Client(streamable_http_client(url, http_client=http)) as mcp,
        ):
            for note in ("milk", "eggs"):
                result = await mcp.call_tool("add_note", {"text": note})
                print(result.structured_content)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
