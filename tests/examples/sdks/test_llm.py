"""The clients of OpenAI and of Anthropic: docs/howto/sdks.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

import trioauth
from tests.examples import load
from trioauth.testing import AuthServer

from .llm import gateway
from .loopback import Gate, serve

pytestmark = [
    # Both leave the generators of a stream that was read to its end to the garbage collector; on
    # trio, those say so. Nothing is lost: the response is closed.
    pytest.mark.filterwarnings(
        r"ignore:Async generator '(openai|anthropic|httpx2?|httpcore2?)\.:ResourceWarning"
    ),
]


@pytest.mark.parametrize("program", ["ask_openai", "ask_anthropic"])
async def test_it_streams_on_trio_and_three_questions_at_once_share_one_refresh(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = AuthServer(client_secret="canary-client-secret")
    answers = 0

    def answered() -> None:
        nonlocal answers
        answers += 1
        if answers == 1:
            auth.expire()

    async with auth.serve(), serve(Gate(gateway(answered), auth)) as url:
        await load(program).main(auth.token_url, url)
    stream, *said = capsys.readouterr().out.splitlines()
    assert stream == "Forty-two."
    assert sorted(said) == [
        "What is a cancel scope? 42",
        "What is a checkpoint? 42",
        "What is a nursery? 42",
    ]
    assert auth.ledger.refreshes == 2  # the first token, and its one renewal
    assert auth.ledger.max_in_flight == 1
    assert auth.ledger.unauthorized == 3
    assert auth.ledger.requests == {1: 1, 2: 3}


Ask = Callable[[httpx2.AsyncClient, str], Awaitable[str]]


async def _ask_openai(http: httpx2.AsyncClient, url: str) -> str:
    client = openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="another", http_client=http, max_retries=0
    )
    stream = await client.chat.completions.create(
        model="example", messages=[{"role": "user", "content": "6 * 7"}], stream=True
    )
    async with stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def _ask_anthropic(http: httpx2.AsyncClient, url: str) -> str:
    client = anthropic.AsyncAnthropic(
        base_url=url, auth_token="another", http_client=http, max_retries=0
    )
    async with client.messages.stream(
        model="example", max_tokens=100, messages=[{"role": "user", "content": "6 * 7"}]
    ) as stream:
        return await stream.get_final_text()


ASKS = pytest.mark.parametrize("ask", [_ask_openai, _ask_anthropic], ids=["openai", "anthropic"])


@asynccontextmanager
async def _session(auth: AuthServer) -> AsyncGenerator[tuple[trioauth.Session, str], None]:
    async with auth.serve(), serve(Gate(gateway(lambda: None), auth)) as url:
        grant = trioauth.RefreshTokenGrant(auth.token_url, client_id="client")
        async with trioauth.open_session(grant, tokens=auth.log_in(), base_url=url) as session:
            yield session, url


@ASKS
async def test_a_stream_that_met_a_401_streams_after_the_refresh(ask: Ask) -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        auth.expire()
        async with session.attach(httpx2.AsyncClient()) as http:
            assert await ask(http, url) == "Forty-two."
    assert auth.ledger.refreshes == 1


async def test_the_end_of_the_login_comes_out_of_openai_as_it_is() -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        auth.revoke()
        async with session.attach(httpx2.AsyncClient()) as http:
            with pytest.raises(trioauth.LoggedOutError):
                await _ask_openai(http, url)


async def test_the_end_of_the_login_comes_out_of_anthropic_as_a_cause() -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        auth.revoke()
        async with session.attach(httpx2.AsyncClient()) as http:
            with pytest.raises(anthropic.APIConnectionError) as caught:
                await _ask_anthropic(http, url)
            assert isinstance(caught.value.__cause__, trioauth.LoggedOutError)


async def test_an_outage_comes_out_in_the_same_ways() -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        auth.expire()
        auth.fail(503, headers={"Retry-After": "3600"})
        async with session.attach(httpx2.AsyncClient()) as http:
            with pytest.raises(trioauth.RefreshUnavailableError):
                await _ask_openai(http, url)
            with pytest.raises(anthropic.APIConnectionError) as caught:
                await _ask_anthropic(http, url)
            assert isinstance(caught.value.__cause__, trioauth.RefreshUnavailableError)


async def test_openai_with_a_function_for_a_key_has_a_token_for_the_clock_but_not_for_a_401() -> (
    None
):
    auth = AuthServer()
    async with _session(auth) as (session, url):
        async with httpx2.AsyncClient() as http:
            client = openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key=session.token, http_client=http
            )
            messages: Any = [{"role": "user", "content": "6 * 7"}]
            await client.chat.completions.create(model="example", messages=messages)
            auth.expire()
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="example", messages=messages)
    assert auth.ledger.refreshes == 0


@ASKS
async def test_a_nursery_of_the_login_says_how_it_ended_whatever_the_sdk_makes_of_it(
    ask: Ask,
) -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        auth.revoke()
        async with session.attach(httpx2.AsyncClient()) as http:
            with pytest.raises(trioauth.LoggedOutError):
                async with session.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(ask, http, url)


async def test_openai_takes_the_session_s_own_client_of_httpx_too() -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        untyped: Any = session.http
        assert await _ask_openai(untyped, url) == "Forty-two."


async def test_anthropic_takes_no_client_of_httpx() -> None:
    auth = AuthServer()
    async with _session(auth) as (session, url):
        async with session.attach(httpx.AsyncClient()) as http:
            untyped: Any = http
            with pytest.raises(TypeError, match="Invalid `http_client` argument"):
                await _ask_anthropic(untyped, url)


async def test_a_token_passed_to_anthropic_keeps_out_the_credentials_that_the_machine_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("IDENTITY_TOKEN", "FEDERATION_RULE_ID", "ORGANIZATION_ID"):
        monkeypatch.setenv(f"ANTHROPIC_{name}", "the machine's")
    auth = AuthServer()
    async with _session(auth) as (session, url):
        async with session.attach(httpx2.AsyncClient()) as http:
            without = anthropic.AsyncAnthropic(base_url=url, http_client=http)
            assert without.custom_auth is not None, "then it would sign, instead of the session"
            assert await _ask_anthropic(http, url) == "Forty-two."
