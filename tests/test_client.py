"""The session's own client, mostly on real sockets: who waits for a connection, and how long."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import hypercorn
import hypercorn.trio
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from trioauth import LoggedOutError, OriginError, RefreshTokenGrant, Tokens, open_session
from trioauth._http.limiter import Limiter

from .fakes import FakeGrant, first_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trioauth import Session

LATENCY = 0.02
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def open_client(url: str, **options: Any) -> AsyncGenerator[Session, None]:
    async with open_session(
        FakeGrant(), tokens=first_tokens(), base_url=url, trust_env=False, **options
    ) as session:
        yield session


def slots_taken(session: Session) -> int:
    limiter = session.http._transport
    assert isinstance(limiter, Limiter)
    return limiter._size - limiter._slots.value


ONE = httpx.Limits(max_connections=1)


@attrs.define
class Failures:
    """What tasks failed with."""

    errors: list[BaseException] = attrs.field(factory=list)

    async def of(self, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> None:
        try:
            await call(*args, **options)
        except Exception as exc:
            self.errors.append(exc)


@asynccontextmanager
async def open_recorder(latency: float = 0) -> AsyncGenerator[tuple[str, list[bytes]], None]:
    """Serve HTTP on loopback, each answer after a latency; gives the URL, and what comes."""
    seen: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        received = b""
        try:
            async for data in stream:
                received += data
                if b"\r\n\r\n" in received:
                    seen.append(received)
                    received = b""
                    await trio.sleep(latency)
                    await stream.send_all(ANSWER)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", seen
        nursery.cancel_scope.cancel("the test is over")


@asynccontextmanager
async def open_api() -> AsyncGenerator[str, None]:
    async with open_recorder(LATENCY) as (url, _):
        yield url


@asynccontextmanager
async def open_streams(number: int) -> AsyncGenerator[tuple[Session, Failures], None]:
    """Open a session all of whose connections, in memory, are taken up by streams."""
    limits = httpx.Limits(max_connections=number)
    async with open_client("https://api.test", limits=limits) as session, AsyncExitStack() as stack:
        limiter: Any = session.http._transport
        limiter._pool.transport = httpx.MockTransport(
            lambda _: httpx.Response(200, stream=httpx.ByteStream(b"ok"))
        )
        for _ in range(number):
            await stack.enter_async_context(session.stream("GET", "/"))
        yield session, Failures()


@attrs.define
class H2Server:
    """A token endpoint and an API that speak HTTP/2 and nothing else."""

    seen: list[tuple[str, str]] = attrs.field(factory=list)
    release: trio.Event = attrs.field(factory=trio.Event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError  # What ASGI wants to hear about lifespans.
        self.seen.append((scope["path"], scope["http_version"]))
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b'{"access_token": "a", "token_type": "Bearer", "expires_in": 3600}'
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if scope["path"] == "/held":
            await self.release.wait()
        await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str, None]:
        config = hypercorn.Config()
        config.bind = ["127.0.0.1:0"]
        config.errorlog = None
        over = trio.Event()
        serve = partial(hypercorn.trio.serve, shutdown_trigger=over.wait)
        async with trio.open_nursery() as nursery:
            [url] = await nursery.start(serve, self.app, config)
            yield url
            over.set()
            nursery.cancel_scope.cancel("the test is over")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "name", ["transport", "mounts", "proxy", "verify", "cert", "trust_env", "http1", "http2"]
)
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


@pytest.mark.parametrize("said", [0.01, httpx.Timeout(5, pool=0.01)], ids=["number", "Timeout"])
@pytest.mark.parametrize("where", ["request", "session", "extensions"])
async def test_p20_a_request_waits_for_a_connection_no_longer_than_the_program_said(
    where: str, said: Any
) -> None:
    options, extra = ({"timeout": said}, {}) if where == "session" else ({}, {"timeout": said})
    if where == "extensions":
        extra = {"extensions": {"timeout": httpx.Timeout(said).as_dict()}}
    async with (
        open_api() as url,
        open_client(url, limits=ONE, **options) as session,
        session.stream("GET", "/", timeout=5),
    ):
        with pytest.raises(httpx.PoolTimeout, match="no connection was free within 0.01 s") as info:
            await session.get("/", **extra)
        assert info.value.request.url == f"{url}/"
        assert slots_taken(session) == 1


@pytest.mark.parametrize(
    ("said", "patience"),
    [
        ({}, 30),
        ({"timeout": 5}, 5),
        ({"timeout": 5.5}, 5.5),
        ({"timeout": httpx.Timeout(5)}, 5),
        ({"timeout": None}, None),
        ({"timeout": httpx.Timeout(5, pool=None)}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["request", "session"])
async def test_p20_what_was_said_about_waiting_is_known_by_whether_it_was_said(
    where: str, said: Any, patience: float | None
) -> None:
    options, extra = (said, {}) if where == "session" else ({}, said)
    async with open_client("https://api.example.com", **options) as session:
        request = session.build_request("GET", "/", **extra)
        assert request.extensions["timeout"]["pool"] == patience
        # Whatever else there is is as httpx has it.
        timeout = httpx.Timeout(extra.get("timeout", options.get("timeout", 5))).as_dict()
        assert request.extensions["timeout"]["read"] == timeout["read"]


async def test_p20_tasks_that_ask_for_more_while_all_connections_are_streams_are_told_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_streams(2) as (session, failures):
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(failures.of, session.get, "/more")
    assert trio.current_time() == 30
    assert len(failures.errors) == 2
    for error in failures.errors:
        assert isinstance(error, httpx.PoolTimeout)
        message = str(error)
        assert "within 30.0 seconds: all 2 are busy, 2 of them with responses" in message
        assert "limits=" in message
        assert "timeout=" in message


async def test_a_request_hook_may_itself_send_a_request_with_one_connection() -> None:
    seen: list[str] = []

    async def hook(request: httpx.Request) -> None:
        seen.append(request.url.path)
        if request.url.path == "/":
            await session.get("/from-the-hook")

    async with (
        open_api() as url,
        open_client(url, limits=ONE, event_hooks={"request": [hook]}) as session,
    ):
        with trio.fail_after(5):
            assert (await session.get("/")).status_code == 200
    assert seen == ["/", "/from-the-hook"]


async def test_p15_a_foreign_url_is_refused_at_once_while_all_connections_are_busy() -> None:
    async with (
        open_api() as url,
        open_client(url, limits=ONE) as session,
        session.stream("GET", "/"),
    ):
        with pytest.raises(OriginError), trio.fail_after(1):
            await session.get("https://elsewhere.example")


@pytest.mark.parametrize("how", ["log_out", "log_in"])
async def test_p13_a_request_that_queues_when_its_login_ends_is_told_at_once_and_never_sent(
    how: str,
) -> None:
    failures = Failures()
    async with open_recorder() as (url, seen), open_client(url, limits=ONE) as session:
        session.http.cookies.set("who", "alice")
        async with session.stream("GET", "/held"), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial(failures.of, session.post, "/order", content=b"alice's"))
            await wait_all_tasks_blocked()
            if how == "log_out":
                await session.log_out(revoke=False)
            await session.log_in(Tokens("bob", "refresh-bob", 3600))
            # All the while the one connection is busy.
            await wait_all_tasks_blocked()
            assert len(failures.errors) == 3
        await session.get("/bobs")
    assert [type(error) for error in failures.errors] == [LoggedOutError] * 3
    assert {getattr(error, "reason", "") for error in failures.errors} == {
        "asked" if how == "log_out" else "replaced"
    }
    assert [request.partition(b" HTTP")[0] for request in seen] == [b"GET /held", b"GET /bobs"]
    assert b"Bearer bob" in seen[1]
    assert b"alice" not in seen[1]


async def test_p13_a_request_that_queues_when_the_session_ends_is_told_at_once(
    nursery: trio.Nursery,
) -> None:
    failures = Failures()
    async with open_api() as url:
        async with open_client(url, limits=ONE) as session:
            held = await session.send(session.build_request("GET", "/"), stream=True)
            nursery.start_soon(failures.of, session.get, "/")
            # This one needs no login, and is told when the connections are closed.
            nursery.start_soon(partial(failures.of, session.get, "/", auth=None))
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert [type(error) for error in failures.errors] == [trio.ClosedResourceError] * 2
        await held.aclose()


async def test_an_unsigned_request_queues_on_when_the_login_ends() -> None:
    async with open_recorder() as (url, seen), open_client(url, limits=ONE) as session:
        held = await session.send(session.build_request("GET", "/held"), stream=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(session.get, "/status", auth=None))
            await wait_all_tasks_blocked()
            await session.log_out(revoke=False)
            await held.aclose()
    assert [request.partition(b" HTTP")[0] for request in seen] == [b"GET /held", b"GET /status"]
    assert b"Authorization" not in seen[1]


async def test_p13_a_request_whose_login_ends_in_a_request_hook_is_not_sent() -> None:
    async def hook(_: httpx.Request) -> None:
        await session.log_in(Tokens("bob", "refresh-bob", 3600))

    async with (
        open_recorder() as (url, seen),
        open_client(url, event_hooks={"request": [hook]}) as session,
    ):
        with pytest.raises(LoggedOutError):
            await session.get("/")
        assert slots_taken(session) == 0
    assert seen == []


async def test_there_are_as_many_slots_as_the_pool_has_connections_by_default() -> None:
    async with open_api() as url, open_client(url) as session:
        await session.get("/")
        limiter: Any = session.http._transport
        assert limiter._size == limiter._pool.transport._pool._max_connections == 100


@pytest.mark.parametrize(
    "options",
    [
        {"transport": httpx.MockTransport(lambda _: httpx.Response(200))},
        {"limits": httpx.Limits(max_connections=None)},
        {"http2": True},
    ],
    ids=["a transport of one's own", "no limit", "HTTP/2"],
)
async def test_where_requests_do_not_wait_for_connections_there_is_no_limiter(options: Any) -> None:
    async with open_client("https://api.test", **options) as session:
        assert not isinstance(session.http._transport, Limiter)


async def test_each_proxy_has_a_limiter_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    mounted = httpx.MockTransport(lambda _: httpx.Response(200))
    async with open_session(
        FakeGrant(), base_url="https://api.test", mounts={"https://mounted.test": mounted}
    ) as session:
        client = session.http
        way: Any = client._transport_for_url(httpx.URL("https://api.test"))
        direct = client._transport
        assert isinstance(way._proxied, Limiter)
        assert isinstance(direct, Limiter)
        assert way._proxied is not direct
        # The program's own transport knows its own limits, if it has any.
        assert client._transport_for_url(httpx.URL("https://mounted.test")) is mounted


async def test_http2_carries_requests_beside_each_other_and_refreshes_over_one_connection() -> None:
    server = H2Server()
    async with server.open() as url:
        grant = RefreshTokenGrant(f"{url}/token", client_id="client")
        async with (
            # No TLS here: with it the two sides would agree on HTTP/2 by themselves.
            open_session(
                grant,
                tokens=first_tokens(0),
                base_url=url,
                http1=False,
                http2=True,
                limits=ONE,
                trust_env=False,
            ) as session,
            session.stream("GET", "/held") as held,
        ):
            assert held.http_version == "HTTP/2"
            with trio.fail_after(5):
                assert (await session.get("/", timeout=1)).status_code == 200
            server.release.set()
    assert ("/token", "2") in server.seen
    assert {version for _, version in server.seen} == {"2"}
