"""The limiter in front of the connection pool of the session's own client, on real sockets."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from trioauth import open_session
from trioauth._client import LimitedClient

from .fakes import FakeGrant, first_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import Session

LATENCY = 0.02
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def open_api(latency: float = LATENCY) -> AsyncGenerator[str, None]:
    """Serve HTTP on loopback, each answer after a latency; gives the URL."""

    async def serve(stream: trio.SocketStream) -> None:
        received = b""
        try:
            async for data in stream:
                received += data
                while b"\r\n\r\n" in received:
                    received = received.split(b"\r\n\r\n", 1)[1]
                    await trio.sleep(latency)
                    await stream.send_all(ANSWER)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
        await nursery.start(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel("the test is over")


@asynccontextmanager
async def open_client(url: str, **options: Any) -> AsyncGenerator[Session, None]:
    async with open_session(
        FakeGrant(), tokens=first_tokens(), base_url=url, trust_env=False, **options
    ) as session:
        yield session


def slots_taken(session: Session) -> int:
    assert isinstance(session.http, LimitedClient)
    assert session.http._slots is not None
    return int(session.http._slots.borrowed_tokens)


async def test_thousand_concurrent_requests_end_without_a_pool_timeout() -> None:
    answers: Counter[int] = Counter()
    async with open_api() as url, open_client(url) as session:

        async def ask() -> None:
            answers[(await session.get("/")).status_code] += 1

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(ask)
        assert slots_taken(session) == 0
    assert answers == {200: 1000}


async def test_thousand_requests_cancelled_while_they_connect_leave_the_next_one_working() -> None:
    limits = httpx.Limits(max_connections=20, max_keepalive_connections=20)
    async with open_api() as url, open_client(url, limits=limits) as session:
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(session.get, "/")
                # In the middle of connecting: a few steps on, and long before an answer.
                await trio.sleep(LATENCY / 10)
                nursery.cancel_scope.cancel("the test says so")
            assert slots_taken(session) == 0
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(session.get, "/")


def in_memory(handler: Any, max_connections: int | None, **options: Any) -> LimitedClient:
    return LimitedClient(
        base_url="https://api.test",
        auth=httpx.Auth(),
        limits=httpx.Limits(max_connections=max_connections),
        mounts={"all://": httpx.MockTransport(handler)},
        trust_env=False,
        **options,
    )


async def test_requests_wait_for_a_slot_and_get_it_in_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    order: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        order.append(request.url.path)
        await trio.sleep(1)
        return httpx.Response(200)

    async with in_memory(handler, 2) as client, trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(client.get, f"/{number}")
            await wait_all_tasks_blocked()
        assert len(order) == 2
    # In pairs: which of two runs first is trio's choice.
    assert [set(order[at : at + 2]) for at in (0, 2, 4)] == [
        {"/0", "/1"},
        {"/2", "/3"},
        {"/4", "/5"},
    ]
    assert trio.current_time() == 3


async def test_a_stream_keeps_its_slot_until_it_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"one"
            yield b"two"

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body())

    async with in_memory(handler, 1) as client:
        async with client.stream("GET", "/long") as response:
            with trio.move_on_after(5) as patience:
                await client.get("/next")
            assert patience.cancelled_caught
            assert [part async for part in response.aiter_raw()] == [b"one", b"two"]
        # A stream may be closed more than once; its slot is given back once.
        await response.aclose()
        await response.stream.aclose()  # type: ignore[union-attr]  # as httpx does inside
        assert (await client.get("/next")).content == b"onetwo"
        # One that has no body to wait for has given it back already.
        sent = await client.send(client.build_request("GET", "/read"), stream=True)
        await sent.aread()
        with trio.fail_after(1):
            await client.get("/next")


async def test_a_request_that_fails_gives_its_slot_back() -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    async with in_memory(handler, 1) as client:
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await client.get("/")


async def test_one_request_object_may_be_sent_by_two_tasks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(_: httpx.Request) -> httpx.Response:
        await trio.sleep(1)
        return httpx.Response(204)

    async with in_memory(handler, 2) as client:
        request = client.build_request("GET", "/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, request)
            nursery.start_soon(client.send, request)
    assert trio.current_time() == 1


async def test_a_response_that_comes_closed_gives_its_slot_back() -> None:
    async def close(response: httpx.Response) -> None:
        await response.aclose()

    async def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(204)

    async with in_memory(handler, 1, event_hooks={"response": [close]}) as client:
        for _ in range(3):
            with trio.fail_after(5):
                await client.send(client.build_request("GET", "/"), stream=True)


@pytest.mark.parametrize(
    "options",
    [
        {"transport": httpx.MockTransport(lambda _: httpx.Response(200))},
        {"limits": httpx.Limits(max_connections=None)},
    ],
    ids=["a transport of one's own", "no limit"],
)
async def test_without_a_pool_of_known_size_there_is_no_limiter(options: Any) -> None:
    client = LimitedClient(base_url="https://api.test", auth=httpx.Auth(), **options)
    assert client._slots is None
    if "transport" in options:
        assert (await client.get("/")).status_code == 200
    await client.aclose()


async def test_there_are_as_many_slots_as_the_pool_has_connections_by_default() -> None:
    async with LimitedClient(base_url="", auth=httpx.Auth()) as client:
        assert client._slots is not None
        pool: Any = client._transport
        assert client._slots.total_tokens == pool._pool._max_connections


async def test_a_response_that_is_left_early_closes_its_connection_and_gives_its_slot_back() -> (
    None
):
    class Body(httpx.AsyncByteStream):
        closed = 0

        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            yield b"part"
            yield b"part"

        async def aclose(self) -> None:
            self.closed += 1

    body = Body()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=body))
    async with open_client("https://api.test", mounts={"all://": transport}) as session:
        async with session.stream("GET", "/") as response:
            assert (body.closed, slots_taken(session)) == (0, 1)
            # Generators that are left early warn of it: there shall be none of ours among them.
            generator: Any = aiter(response.stream)  # type: ignore[arg-type]  # as httpx does inside
            assert generator.ag_frame.f_globals["__name__"] == "httpx._client"
        assert (body.closed, slots_taken(session)) == (1, 0)


@pytest.mark.parametrize("name", ["transport", "mounts", "proxy", "verify", "cert", "trust_env"])
async def test_an_option_that_says_how_to_reach_the_network_holds_for_the_token_endpoint(
    name: str,
) -> None:
    value: Any = object()
    options: Any = {name: value, "timeout": 7, "follow_redirects": True, "headers": {"A": "b"}}
    async with open_session(FakeGrant(), base_url="https://api.test", **options) as session:
        make_client: Any = session._asking.endpoint._make_client
        used = dict(make_client.keywords)
        assert used.pop("limits").max_keepalive_connections == 0
        assert used == {name: value}


async def test_what_is_said_of_one_request_is_heard_behind_the_limiter() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/old":
            return httpx.Response(301, headers={"Location": "/new"})
        return httpx.Response(200, text=request.headers.get("Authorization", "unsigned"))

    mounts = {"all://": httpx.MockTransport(handle)}
    async with open_client("https://api.test", mounts=mounts) as session:
        assert (await session.get("/old", follow_redirects=True)).text == "Bearer access-0"
        assert (await session.get("/old", follow_redirects=False)).status_code == 301
        assert (await session.get("/new", auth=None)).text == "unsigned"


async def test_who_waits_for_a_slot_waits_no_longer_than_the_program_said() -> None:
    async with (
        open_api() as url,
        open_client(url, limits=httpx.Limits(max_connections=1)) as session,
        session.stream("GET", "/"),
    ):
        for timeout in (httpx.Timeout(5, pool=0.01), 0.01):
            with pytest.raises(
                httpx.PoolTimeout, match="no connection was free within 0.01 s"
            ) as info:
                await session.get("/", timeout=timeout)
            assert info.value.request.url == f"{url}/"
        assert slots_taken(session) == 1


async def test_a_timeout_of_the_session_holds_for_slots_and_a_default_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for options, patience in (({}, math.inf), ({"timeout": 5}, 5), ({"timeout": None}, math.inf)):
        async with open_client("https://api.example.com", **options) as session:
            client = session.http
            assert isinstance(client, LimitedClient)
            assert client._patience(client.build_request("GET", "/")) == patience
            unhurried = httpx.Timeout(5, pool=None)
            assert client._patience(client.build_request("GET", "/", timeout=unhurried)) == math.inf
