"""Log in over SSH: the person pastes the address that a browser elsewhere ended at."""

import trio

import trioauth


async def main() -> None:
    client = trioauth.OAuthClient(
        "notes", issuer="https://id.example.com", scope="notes offline_access"
    )
    async with trioauth.open_session(
        client, store=trioauth.FileStore("tokens.json"), base_url="https://api.example.com"
    ) as session:
        if not session.logged_in:
            await session.log_in(client.browser(paste=True))
        print((await session.get("/me")).json())


if __name__ == "__main__":
    trio.run(main)
