"""Faults of the token endpoint, over real sockets: no login ends, and nothing waits."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from trioauth import (
    LoggedIn,
    RefreshPolicy,
    RefreshTokenGrant,
    RefreshUnavailableError,
    Session,
    Tokens,
    open_session,
)
from trioauth._core.retry import MOST_REPEATS, REPEAT_WITHIN

from . import says
from .server import Server, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .server import Caller, Say

ATTEMPTS = 4
# What was lost is asked for again twice, what was not sent as often as the policy says.
LOST, NOT_SENT, HUNG = 1 + MOST_REPEATS, ATTEMPTS, 1
# How far a busy machine may be late, in seconds.
# Real sockets in real time, on a machine that may be busy: what has no bound takes far longer.
MARGIN = 3.0


def policy(timeout: float = 8) -> RefreshPolicy:
    return RefreshPolicy(
        timeout=timeout, attempts=ATTEMPTS, backoff=0.02, cooldown=0.3, close_grace=1
    )


@pytest.fixture
def clock() -> MockClock:
    """The real time, but for pauses that one can jump over."""
    return MockClock(rate=1)


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    # The canary of the suite reads what is logged, by httpx and httpcore, too.
    caplog.set_level(logging.DEBUG)


@asynccontextmanager
async def open_both(
    token_url: str, api: Server, *, timeout: float = 8, **options: Any
) -> AsyncGenerator[Session, None]:
    """Open a session that has to refresh before its first request."""
    grant = RefreshTokenGrant(f"{token_url}/token", client_id="id", client_secret="cs-canary")
    tokens = Tokens("at-canary-0", "rt-canary-0", 0)
    options.setdefault("trust_env", False)
    async with open_session(
        grant, tokens=tokens, base_url=api.url, policy=policy(timeout), **options
    ) as session:
        yield session


async def fails(session: Session, *, within: float) -> RefreshUnavailableError:
    """Send a request that can't be signed; it must say so before the deadline."""
    began = time.monotonic()
    with trio.fail_after(within + MARGIN), pytest.raises(RefreshUnavailableError) as caught:
        await session.get("/me")
    assert time.monotonic() - began < within + MARGIN
    assert caught.value.retry_at is not None
    assert isinstance(session.state, LoggedIn)
    return caught.value


async def works(session: Session, api: Server) -> None:
    """Send a request that can be."""
    with trio.fail_after(5):
        response = await session.get("/me")
    assert (response.status_code, response.text) == (200, "hello")
    assert isinstance(session.state, LoggedIn)
    assert not api.heard[-1].has("at-canary-0")


def wait_until(clock: MockClock, moment: float | None) -> None:
    assert moment is not None
    clock.jump(max(0.0, moment - trio.current_time()) + 0.01)


def slow(say: Say, timeout: float = 0.6) -> tuple[Say, int, float]:
    """A fault that only the deadline ends."""
    return say, HUNG, timeout


def quick(say: Say, asked: int = LOST) -> tuple[Say, int, float]:
    """A fault that shows at once."""
    return say, asked, 8


HEAD = says.OK + b"Content-Length: 100\r\n\r\n"
NEXT = says.body_of(1)
ECHO = "an echo of the secrets"


FAULTS: dict[str, tuple[Say, int, float]] = {
    # Cut short.
    "nothing, then closed": quick(says.answering(b"")),
    "half a status line": quick(says.answering(b"HTTP/1.")),
    "half a header": quick(says.answering(b"HTTP/1.1 200 OK\r\nContent-Le")),
    "no body": quick(says.answering(HEAD)),
    "half a body": quick(says.answering(HEAD + NEXT[:40])),
    "all but the last byte": quick(says.answering(says.TOKENS[:-1])),
    "chunks cut in the middle of one": quick(
        says.answering(says.OK + says.CHUNKED + b"ff\r\n" + NEXT[:40])
    ),
    "chunks without the last one": quick(says.answering(says.OK + says.CHUNKED + says.chunk(NEXT))),
    "a body up to the end of the connection, cut": quick(
        says.answering(says.OK + b"\r\n" + NEXT[:40])
    ),
    # Broken.
    "reset on accept": quick(says.reset_on_accept),
    "reset after the head of the request": quick(says.reset_after_head),
    "reset after the request": quick(says.resetting()),
    "reset after the status line": quick(says.resetting(b"HTTP/1.1 200 OK\r\n")),
    "reset after the head": quick(says.resetting(HEAD)),
    "reset in the body": quick(says.resetting(HEAD + NEXT[:40])),
    "reset in the chunks": quick(says.resetting(says.OK + says.CHUNKED + b"ff\r\n{")),
    # Slow, or for ever.
    "accepts and never reads": slow(says.hang_on_accept),
    "never answers": slow(says.hanging()),
    "stops after the status line": slow(says.hanging(b"HTTP/1.1 200 OK\r\n")),
    "stops in the body": slow(says.hanging(HEAD + NEXT[:40])),
    "a byte of the head every 200 ms": slow(says.dribbling(says.OK + b"X-Slow: ", b"x"), 1),
    "a byte of the body every 200 ms": slow(says.dribbling(HEAD, b"{"), 1),
    "a chunk of one byte every 200 ms": slow(
        says.dribbling(says.OK + says.CHUNKED, says.chunk(b"{")), 1
    ),
    "an interim answer every 10 ms": slow(
        says.dribbling(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01)
    ),
    # Too much.
    "chunks for ever": quick(says.flooding(says.OK + says.CHUNKED, says.chunk(says.BLOCK))),
    "a body of 2**62 bytes": quick(
        says.flooding(says.OK + b"Content-Length: 4611686018427387904\r\n\r\n", says.BLOCK)
    ),
    "a body of 100 MB": quick(
        says.flooding(says.OK + b"Content-Length: 100000000\r\n\r\n", says.BLOCK, says.HUNDRED_MB)
    ),
    "a body without length or end": quick(says.flooding(says.OK + b"\r\n", says.BLOCK)),
    "a gzip bomb": quick(
        says.lazily(
            lambda: says.answering(says.whole(says.OK + b"Content-Encoding: gzip\r\n", says.bomb()))
        )
    ),
    "a status line of 1 MB": quick(says.answering(b"HTTP/1.1 200 " + b"x" * 1_000_000)),
    "a header of 1 MB": quick(says.answering(says.OK + b"X: " + b"x" * 1_000_000)),
    "headers of 1 MB": quick(says.answering(says.OK + b"X-Flood: x\r\n" * 100_000)),
    "headers for ever": quick(says.flooding(says.OK, b"X-Flood: x\r\n" * 5_000)),
    "trailers for ever": quick(
        says.flooding(says.OK + says.CHUNKED + b"0\r\n", b"X-Flood: x\r\n" * 5_000)
    ),
    "a chunk extension for ever": quick(
        says.flooding(says.OK + says.CHUNKED + b"5;", b"x" * 65_536)
    ),
    # Not what was asked for.
    "two lengths that differ": quick(
        says.answering(says.OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ")
    ),
    "a length that is none": quick(says.answering(says.OK + b"Content-Length: -5\r\n\r\n{}")),
    "an unknown transfer encoding": quick(
        says.answering(says.OK + b"Transfer-Encoding: gzip\r\n\r\n{}")
    ),
    "a chunk size that is none": quick(says.answering(says.OK + says.CHUNKED + b"zz\r\n{}\r\n")),
    "HTTP/0.9": quick(says.answering(b"<html>hello, 1991</html>\n")),
    "another protocol": quick(says.answering(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "zeros": quick(says.answering(b"\0" * 1_000)),
    "a status of four digits": quick(says.answering(b"HTTP/1.1 2000 OK\r\n\r\n")),
    "a switch of protocols": quick(
        says.answering(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        )
    ),
    ECHO: quick(says.answering(b"HTTP/1.1 200 OK\r\nrt-canary-0 cs-canary\r\n\r\nrt-canary-0")),
    "a page": quick(says.answering(says.whole(says.OK, b"<html>please pay for the wifi</html>"))),
    "no content": quick(says.answering(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "a length that is too short": quick(
        says.answering(says.OK + b"Content-Length: 40\r\n\r\n" + NEXT)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_token_endpoint_ends_no_login_and_is_over_when_it_is_over(
    fault: str, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    say, asked, timeout = FAULTS[fault]
    if fault == ECHO:
        # What a server says is in httpcore's own debug log, and not ours to keep out of there.
        caplog.set_level(logging.INFO, "httpcore")
    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        async with open_both(server.url, api, timeout=timeout) as session:
            server.fault = say
            error = await fails(session, within=timeout)
            assert server.connections == asked
            assert api.connections == 0
            # It is remembered, and a task that asks during the pause is told at once.
            await fails(session, within=0)
            assert server.connections == asked

            server.fault, heard = None, len(server.heard)
            wait_until(clock, error.retry_at)
            await works(session, api)
            # Whatever became of the old one: it is the only one there is.
            assert [each.has("rt-canary-0") for each in server.heard[heard:]] == [True]
            assert session.generation == 2


# --- Not faults, only odd -------------------------------------------------------------------

ODD: dict[str, Say] = {
    "an interim answer first": says.answering(b"HTTP/1.1 100 Continue\r\n\r\n" + says.TOKENS),
    "three interim answers first": says.answering(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + says.TOKENS
    ),
    "two types": says.answering(says.whole(says.OK + b"Content-Type: text/html\r\n", NEXT)),
    "the same length twice": says.answering(
        says.OK + b"Content-Length: %d\r\n" % len(NEXT) + says.TOKENS.removeprefix(says.OK)
    ),
    "a body up to the end of the connection": says.answering(says.OK + b"\r\n" + NEXT),
    "a chunk a byte": says.answering(
        says.OK
        + says.CHUNKED
        + b"".join(says.chunk(NEXT[at : at + 1]) for at in range(len(NEXT)))
        + b"0\r\n\r\n"
    ),
    "more after the end": says.answering(says.TOKENS + says.TOKENS),
    "HTTP/1.0": says.answering(says.TOKENS.replace(b"HTTP/1.1", b"HTTP/1.0", 1)),
    "an answer before the request was read": says.answer_first,
    "then reset": says.resetting(says.TOKENS),
}


@pytest.mark.parametrize("oddity", ODD)
async def test_an_odd_answer_that_is_whole_counts(oddity: str) -> None:
    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        async with open_both(server.url, api) as session:
            server.fault = ODD[oddity]
            await works(session, api)
            assert api.heard[0].has("at-canary-1")
            assert server.connections == 1


async def test_an_answer_to_a_request_that_was_never_read_is_whole_or_lost() -> None:
    async def never_read(caller: Caller) -> None:
        await caller.say(says.TOKENS)

    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        async with open_both(server.url, api) as session:
            server.fault = never_read
            # With a RST close behind, it is for the network to decide.
            with trio.fail_after(8):
                try:
                    await session.get("/me")
                except RefreshUnavailableError:
                    assert server.connections == LOST
                else:
                    assert session.generation == 2
            assert isinstance(session.state, LoggedIn)


async def test_a_connection_closed_between_two_refreshes_costs_no_answer() -> None:
    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        async with open_both(server.url, api) as session:
            # It promises to stay, and then goes.
            server.fault = says.answering(
                says.TOKENS.replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)
            )
            await session.refresh()
            server.fault = None
            await session.refresh()
            assert [each.has(f"rt-canary-{n}") for n, each in enumerate(server.heard)] == [True] * 2
            assert server.connections == 2
            assert session.statistics().last_failure is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_another_host_is_not_followed(status: int, clock: MockClock) -> None:
    async with (
        open_server(says.rotate) as server,
        open_server(says.welcome) as api,
        open_server(says.rotate) as stranger,
    ):
        head = b"HTTP/1.1 %d Elsewhere\r\nLocation: %b/token\r\n" % (status, stranger.url.encode())
        # Not even if the session's own client would.
        async with open_both(server.url, api, follow_redirects=True) as session:
            server.fault = says.answering(says.whole(head, b""))
            error = await fails(session, within=8)
            assert f"{status} (a redirect, which is never followed" in str(error)
            server.fault = None
            wait_until(clock, error.retry_at)
            await works(session, api)
        assert stranger.connections == 0


# --- Not reached ----------------------------------------------------------------------------


async def test_a_closed_port_is_asked_as_often_as_the_policy_says(clock: MockClock) -> None:
    async with open_server(says.welcome) as api:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
            async with open_both(f"http://127.0.0.1:{port}", api) as session:
                error = await fails(session, within=8)
                assert "can't be reached" in str(error)
                # A short cool-down only: the refresh token was certainly not used.
                assert error.retry_at is not None
                assert error.retry_at - trio.current_time() < 0.4
                place.listen()
                listener = trio.SocketListener(
                    trio.socket.from_stdlib_socket(socket.socket(fileno=place.detach()))
                )
                async with trio.open_nursery() as nursery:
                    server = Server(port, says.rotate)
                    nursery.start_soon(trio.serve_listeners, server.serve, [listener])
                    wait_until(clock, error.retry_at)
                    await works(session, api)
                    assert server.connections == 1
                    nursery.cancel_scope.cancel("the test is over")


async def test_a_full_backlog_is_bounded_by_the_deadline(clock: MockClock) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        async with open_server(says.welcome) as api:
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with open_both(url, api, timeout=0.6) as session:
                await fails(session, within=0.6)
                assert isinstance(session.state, LoggedIn)


# --- P5, when it is the deadline that ends a refresh ----------------------------------------


@pytest.mark.parametrize(
    "say",
    [says.hanging(), says.dribbling(HEAD, b"{"), says.resetting()],
    ids=["silent", "slow", "reset"],
)
async def test_a_refresh_token_of_unknown_fate_is_presented_twice_more_at_most_in_ten_seconds(
    say: Say, clock: MockClock
) -> None:
    async with open_server(says.rotate) as server, open_server(says.welcome) as api:
        async with open_both(server.url, api, timeout=0.3) as session:
            server.fault, began = say, trio.current_time()
            while trio.current_time() < began + REPEAT_WITHIN:
                await fails(session, within=0.3)
                clock.jump(0.5)
            assert len(server.heard) <= 1 + MOST_REPEATS
            server.fault = None
            clock.jump(1)
            await works(session, api)
