"""Ask a GraphQL server: python gql_client.py TOKEN_URL API_URL"""

import sys

import trio
from gql import Client, GraphQLRequest
from gql.transport.httpx import HTTPXAsyncTransport

import trioauth

QUERY = "query ($number: Int!) { note(number: $number) { text } }"


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.RefreshTokenGrant(token_url, client_id="client")
    store = trioauth.FileStore("tokens.json")
    transport = HTTPXAsyncTransport(f"{api_url}/graphql")
    async with (
        trioauth.open_session(grant, store=store, base_url=api_url) as session,
        Client(transport=transport) as client,
        trio.open_nursery() as nursery,
    ):
        # gql makes its HTTP client when it connects: that is the one to sign.
        assert transport.client is not None
        session.attach(transport.client)

        async def ask(number: int) -> None:
            request = GraphQLRequest(QUERY, variable_values={"number": number})
            answer = await client.execute(request)
            print(answer["note"]["text"])

        for number in range(3):
            nursery.start_soon(ask, number)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
