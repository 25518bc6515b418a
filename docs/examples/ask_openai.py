"""Ask a model behind a gateway that wants tokens: python ask_openai.py TOKEN_URL API_URL"""

import os
import sys

import openai
import trio

import trioauth

QUESTIONS = ["What is a nursery?", "What is a checkpoint?", "What is a cancel scope?"]


async def tell(client: openai.AsyncOpenAI, question: str) -> None:
    # Server-sent events, word by word.
    stream = await client.chat.completions.create(
        model="example", messages=[{"role": "user", "content": question}], stream=True
    )
    async with stream:
        async for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


async def ask(client: openai.AsyncOpenAI, question: str) -> None:
    completion = await client.chat.completions.create(
        model="example", messages=[{"role": "user", "content": question}]
    )
    print(question, completion.choices[0].message.content)


async def main(token_url: str, api_url: str) -> None:
    grant = trioauth.ClientCredentialsGrant(
        token_url, client_id="client", client_secret=os.environ["CLIENT_SECRET"]
    )
    async with trioauth.open_session(grant, base_url=api_url) as session:
        # The SDK's own client, with its time-outs and limits, and our signature.
        http = session.attach(openai.DefaultAsyncHttpxClient())
        async with openai.AsyncOpenAI(
            base_url=f"{api_url}/v1",
            api_key="any",  # the session's token takes its place
            http_client=http,
        ) as client:
            await tell(client, "What is trio?")
            async with session.open_nursery() as nursery:
                for question in QUESTIONS:
                    nursery.start_soon(ask, client, question)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
