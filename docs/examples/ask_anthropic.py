"""Ask a model behind a gateway that wants tokens: python ask_anthropic.py TOKEN_URL API_URL"""

import os
import sys

import anthropic
import trio

import trioauth

QUESTIONS = ["What is a nursery?", "What is a checkpoint?", "What is a cancel scope?"]


async def tell(client: anthropic.AsyncAnthropic, question: str) -> None:
    # Server-sent events, word by word.
    async with client.messages.stream(
        model="example", max_tokens=1000, messages=[{"role": "user", "content": question}]
    ) as stream:
        async for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


async def ask(client: anthropic.AsyncAnthropic, question: str) -> None:
    message = await client.messages.create(
        model="example", max_tokens=1000, messages=[{"role": "user", "content": question}]
    )
    print(question, *[block.text for block in message.content if block.type == "text"])


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.ClientCredentialsGrant(
        token_url, client_id="client", client_secret=os.environ["CLIENT_SECRET"]
    )
    async with trioauth.open_session(grant, base_url=api_url) as session:
        # The SDK's own client, with its time-outs and limits, and our signature.
        http = session.attach(anthropic.DefaultAsyncHttpxClient())
        async with anthropic.AsyncAnthropic(
            base_url=api_url,
            auth_token="any",  # the session's token takes its place
            http_client=http,
        ) as client:
            await tell(client, "What is trio?")
            async with session.open_nursery() as nursery:
                for question in QUESTIONS:
                    nursery.start_soon(ask, client, question)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
