"""Faults of the API, over real sockets: what they cost, and that they cost no login."""

from __future__ import annotations

import logging
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio

from tests.canary import SECRET
from tests.test_tokens import shown
from trioauth import LoggedIn, RefreshTokenGrant, Session, Tokens, open_session
from trioauth._http.refusal import LONGEST_REFUSAL, REFUSAL_PATIENCE

from . import says
from .server import Server, open_server
from .test_token_endpoint import policy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType

    from .server import Caller, Say

ERRORS = (httpx.HTTPError, httpx2.HTTPError)
LENGTH = says.UNAUTHORIZED + b"Content-Length: 1000\r\n\r\n"


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG)
    return request.param


@asynccontextmanager
async def open_all(
    library: ModuleType, **options: Any
) -> AsyncGenerator[tuple[Server, Server, Session, Any], None]:
    """A token endpoint, an API, a session with a token that the API refuses, and a client."""
    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        grant = RefreshTokenGrant(f"{server.url}/token", client_id="id", client_secret="cs-canary")
        async with (
            open_session(
                grant,
                tokens=Tokens("at-canary-0", "rt-canary-0", 3600),
                base_url=api.url,
                policy=policy(),
                trust_env=False,
                **options,
            ) as session,
            httpx2.AsyncClient(base_url=api.url, trust_env=False) as other,
        ):
            yield server, api, session, session if library is httpx else session.attach(other)


def refusing_with(say: Say) -> Say:
    """Say this to the first token; behave with the next one."""

    async def behave(caller: Caller) -> None:
        if "at-canary-0" in str(await peek(caller)):
            await say(caller)
        else:
            await says.welcome(caller)

    return behave


async def rotate_late(caller: Caller) -> None:
    await trio.sleep(0.1)
    await says.rotate(caller)


async def peek(caller: Caller) -> bytes:
    """Look at the head of a request, and leave it to be read."""
    head = await caller.hear_head() or b""
    caller.unread(head + b"\r\n\r\n")
    return head


# A 401 will be sent again: what else it says, and how it ends, is of no interest.
REFUSALS: dict[str, Say] = {
    "whole": says.answering(says.whole(says.UNAUTHORIZED, b"who?")),
    "empty": says.answering(says.whole(says.UNAUTHORIZED, b"")),
    "large": says.answering(says.whole(says.UNAUTHORIZED, b"x" * LONGEST_REFUSAL * 2)),
    "100 MB": says.flooding(
        says.UNAUTHORIZED + b"Content-Length: 100000000\r\n\r\n", says.BLOCK, says.HUNDRED_MB
    ),
    "chunks for ever": says.flooding(says.UNAUTHORIZED + says.CHUNKED, says.chunk(says.BLOCK)),
    "small chunks for ever": says.flooding(
        says.UNAUTHORIZED + says.CHUNKED, says.chunk(b"x" * 100) * 20
    ),
    "a byte every 200 ms": says.dribbling(LENGTH, b"x"),
    "a length and no body": says.hanging(LENGTH),
    "half a body": says.answering(LENGTH + b"x"),
    "chunks without the last one": says.answering(
        says.UNAUTHORIZED + says.CHUNKED + says.chunk(b"x")
    ),
    "a chunk size that is none": says.answering(says.UNAUTHORIZED + says.CHUNKED + b"zz\r\n"),
    "reset after the head": says.resetting(LENGTH),
    "reset in the body": says.resetting(LENGTH + b"x"),
    "then reset": says.resetting(says.whole(says.UNAUTHORIZED, b"who?")),
    "not the gzip it says it is": says.answering(
        says.whole(says.UNAUTHORIZED + b"Content-Encoding: gzip\r\n", b"who?")
    ),
    "gzip cut short": says.answering(
        says.whole(says.UNAUTHORIZED + b"Content-Encoding: gzip\r\n", says.bomb()[:1_000])
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_whatever_the_body_of_a_401_the_request_is_sent_again_with_a_new_token(
    refusal: str, library: ModuleType
) -> None:
    async with open_all(library) as (server, api, session, client):
        api.fault = refusing_with(REFUSALS[refusal])
        if refusal == "then reset":
            # A new token that is there before the reset is would be sent into it.
            server.behave = rotate_late
        tracemalloc.start()
        try:
            with trio.fail_after(REFUSAL_PATIENCE + 2):
                response = await client.get("/me")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (response.status_code, response.text) == (200, "hello")
        assert response.extensions["trioauth"].attempts == 2
        assert len(server.heard) == 1
        assert session.generation == 2
        assert peak < 8_000_000
        assert api.said < 20_000_000
        # And its connection, whatever became of it, is no obstacle to the next.
        api.fault = None
        with trio.fail_after(2):
            assert (await client.get("/me")).status_code == 200


async def test_a_refusal_of_ordinary_size_is_in_the_history_whole(library: ModuleType) -> None:
    async with open_all(library) as (_, api, _, client):
        body = b"x" * (LONGEST_REFUSAL - 1)
        api.fault = refusing_with(says.answering(says.whole(says.UNAUTHORIZED, body)))
        response = await client.get("/me")
        assert [each.content for each in response.history] == [body]


BROKEN: dict[str, Say] = {
    "closed on accept": says.answering(b""),
    "reset on accept": says.reset_on_accept,
    "reset after the head of the request": says.reset_after_head,
    "reset after the request": says.resetting(),
    "half a status line": says.answering(b"HTTP/1.1 4"),
    "half the head of a 401": says.answering(says.UNAUTHORIZED),
    "a head of 1 MB": says.answering(says.UNAUTHORIZED + b"X: " + b"x" * 1_000_000),
    "two lengths that differ": says.answering(
        says.UNAUTHORIZED + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"
    ),
    "HTTP/0.9": says.answering(b"hello, 1991\n"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_no_answer_of_the_api_is_an_error_of_the_client_and_no_reason_to_refresh(
    fault: str, library: ModuleType
) -> None:
    async with open_all(library) as (server, api, session, client):
        api.fault = BROKEN[fault]
        with trio.fail_after(5), pytest.raises(ERRORS) as caught:
            await client.get("/me")
        assert not SECRET.search(shown(caught.value))
        assert (server.connections, session.generation) == (0, 1)
        assert isinstance(session.state, LoggedIn)
        api.fault = None
        assert (await client.get("/me")).status_code == 200


async def test_a_request_whose_second_try_breaks_leaves_the_new_token_at_hand(
    library: ModuleType,
) -> None:
    async def behave(caller: Caller) -> None:
        if b"at-canary-0" in await peek(caller):
            await says.answering(says.whole(says.UNAUTHORIZED, b""))(caller)
        else:
            await says.resetting()(caller)

    async with open_all(library) as (server, api, session, client):
        api.fault = behave
        with trio.fail_after(5), pytest.raises(ERRORS) as caught:
            await client.get("/me")
        assert not SECRET.search(shown(caught.value))
        assert isinstance(session.state, LoggedIn)
        api.fault = None
        assert (await client.get("/me")).status_code == 200
        assert len(server.heard) == 1


async def test_a_401_that_is_handed_back_streams_as_any_other_answer(library: ModuleType) -> None:
    size = 10 * says.MEGABYTE
    head = (
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer error=insufficient_scope\r\n"
        b"Content-Length: %d\r\n\r\n" % size
    )
    async with open_all(library) as (server, api, _, client):
        api.fault = says.flooding(head, b"x" * says.MEGABYTE, size)
        tracemalloc.start()
        try:
            async with client.stream("GET", "/me") as response:
                read = sum([len(piece) async for piece in response.aiter_raw()])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert read == size
        assert peak < 8 * says.MEGABYTE
        assert server.connections == 0
