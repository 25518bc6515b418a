"""Log in as the program itself: no person, and nothing to keep."""

import os

import trio

import trioauth


async def main() -> None:
    client = trioauth.OAuthClient(
        "reports",
        issuer="https://id.example.com",
        auth=trioauth.ClientSecretBasic(os.environ["CLIENT_SECRET"]),
        scope="notes",
    )
    async with trioauth.open_session(
        client.credentials(), base_url="https://api.example.com"
    ) as session:
        print((await session.get("/me")).json())


if __name__ == "__main__":
    trio.run(main)
