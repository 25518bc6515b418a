"""How the network is reached: the shared TLS context, pools made late, proxies, and look-ups."""

from __future__ import annotations

import socket
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpcore
import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trioauth._network.pools
from trioauth import (
    ClientCredentialsGrant,
    RefreshTokenGrant,
    RefreshUnavailableError,
    TokenEndpoint,
    TokenRequest,
    Tokens,
    open_session,
)
from trioauth._network.connecting import Connecting
from trioauth._network.lookups import Lookups
from trioauth._network.pools import EndpointClient, NetworkClient, Pool, default_tls

from .fakes import FakeGrant, first_tokens
from .test_client import open_api, open_recorder

if TYPE_CHECKING:
    from collections.abc import Callable

API = "https://api.test"


async def ask(url: str, endpoint: TokenEndpoint) -> Tokens:
    """Log in, with a request to the token endpoint, whatever it answers."""
    await endpoint.send(TokenRequest(url, data={"client_secret": "cs-canary"}))
    return Tokens("access-1", "refresh-1", 3600)


# --- the TLS context ---------------------------------------------------------------------------


class TLS:
    """Counts the TLS contexts that are made, and in which threads."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.make: Callable[..., ssl.SSLContext] = httpx.create_ssl_context

    def __call__(self, *args: Any, **options: Any) -> ssl.SSLContext:
        if not isinstance(options.get("verify"), ssl.SSLContext):
            self.threads.append(threading.get_ident())
        return self.make(*args, **options)


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> TLS:
    """A process that has no TLS context yet."""
    counting = TLS()
    monkeypatch.setattr(httpx, "create_ssl_context", counting)
    # What httpx itself makes one with.
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", counting)
    monkeypatch.setattr(trioauth._network.pools, "_contexts", {})
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
    return counting


async def test_sessions_share_one_tls_context_made_in_a_thread(tls: TLS) -> None:
    async with open_api() as url:

        async def session() -> None:
            grant = RefreshTokenGrant(f"{url}/token", client_id="client")
            async with open_session(grant, tokens=first_tokens(), base_url=url) as session:
                async with trio.open_nursery() as nursery:
                    for _ in range(3):
                        nursery.start_soon(session.get, "/")
                await session.log_in(partial(ask, f"{url}/token"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(session)
    assert len(tls.threads) == 1
    assert tls.threads[0] != threading.get_ident()


async def test_runs_of_trio_in_several_threads_share_the_tls_context(tls: TLS) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(trio.to_thread.run_sync, partial(trio.run, default_tls))
    assert len(tls.threads) == 1


async def test_making_a_client_or_opening_a_session_makes_no_tls_context(tls: TLS) -> None:
    async with open_session(FakeGrant(), base_url=API) as session:
        session.http  # noqa: B018
        assert session.build_request("GET", "/").url == f"{API}/"
    assert tls.threads == []


async def test_a_session_with_a_transport_of_its_own_makes_no_tls_context(tls: TLS) -> None:
    answer = {"access_token": "a", "token_type": "Bearer"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    grant = RefreshTokenGrant("https://id.test/token", client_id="client")
    async with open_session(
        grant, tokens=first_tokens(), base_url=API, transport=transport
    ) as session:
        await session.get("/")
        await session.refresh()
    assert tls.threads == []


async def test_another_certificate_file_in_the_environment_is_another_tls_context(
    tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = await default_tls()
    assert await default_tls() is usual
    monkeypatch.setenv("SSL_CERT_FILE", _bundle())
    other = await default_tls()
    assert other is not usual
    # Who does not trust the environment does not read it.
    assert await default_tls(trust_env=False) not in (usual, other)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert await default_tls() is usual
    assert len(tls.threads) == 3


def _bundle() -> str:
    import certifi

    return certifi.where()


async def test_a_pool_that_does_not_trust_the_environment_does_not_read_it(
    tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/bundle.pem")
    await Pool(trust_env=False).open()
    assert await default_tls(trust_env=False) in trioauth._network.pools._contexts.values()
    assert len(tls.threads) == 1


async def test_the_tls_context_is_made_even_if_all_threads_of_the_program_are_taken(
    tls: TLS,
) -> None:
    async with trio.open_nursery() as nursery:
        release = take_all_threads(nursery)
        await wait_all_tasks_blocked()
        with trio.fail_after(10):
            await default_tls()
        release.set()


async def test_who_is_cancelled_does_not_wait_for_the_tls_context(
    tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    make = tls.make

    def slow(*args: Any, **options: Any) -> ssl.SSLContext:
        started.set()
        go_on.wait(10)
        return make(*args, **options)

    tls.make = slow
    async with trio.open_nursery() as nursery:
        nursery.start_soon(default_tls)
        await trio.to_thread.run_sync(started.wait)
        nursery.cancel_scope.cancel("the test says so")
    go_on.set()
    # It was made without the one who asked for it.
    await default_tls()
    assert len(tls.threads) == 1


async def test_certificates_of_the_programs_own_are_read_in_a_thread_and_not_shared(
    tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    original = httpx.AsyncHTTPTransport

    def make(**options: Any) -> httpx.AsyncHTTPTransport:
        threads.append(threading.get_ident())
        return original(**options)

    monkeypatch.setattr(httpx, "AsyncHTTPTransport", make)
    for options in ({"verify": False}, {"verify": True, "cert": None, "trust_env": False}):
        pool = Pool(**options)
        await pool.open()
        await pool.aclose()
    assert [thread == threading.get_ident() for thread in threads] == [False, True]


# --- pools ---------------------------------------------------------------------------------


async def test_a_pool_is_made_once_for_all_who_send_at_once() -> None:
    pool = Pool(trust_env=False)
    made: list[object] = []

    async def use() -> None:
        made.append(await pool.open())

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(use)
    assert len(made) == 5
    assert set(made) == {pool.transport}
    await pool.aclose()


async def test_a_pool_that_is_closed_before_it_is_made_stays_closed() -> None:
    pool = Pool(trust_env=False)
    await pool.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await pool.open()
    assert pool.transport is None


async def test_without_a_limit_requests_go_to_the_pool_as_they_are() -> None:
    async with open_api() as url, NetworkClient(trust_env=False) as client:
        assert (await client.get(url)).text == "ok"
        assert (await client.get(url)).text == "ok"


# --- proxies (P15) ---------------------------------------------------------------------------

LOOPBACK = ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://127.0.0.1:{port}/base"]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("url", LOOPBACK)
async def test_p15_what_is_plain_and_for_this_machine_never_goes_through_a_proxy(
    url: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_recorder() as (proxy, stolen), open_recorder() as (server, seen):
        monkeypatch.setenv(variable, proxy)
        base_url = url.format(port=httpx.URL(server).port)
        grant = RefreshTokenGrant(f"{base_url}/token", client_id="id", client_secret="cs-canary")
        async with open_session(grant, tokens=first_tokens(), base_url=base_url) as session:
            assert (await session.get("/api")).text == "ok"
            await session.log_in(partial(ask, f"{base_url}/token"))
    assert stolen == []
    assert b"GET " in seen[0]
    assert b"POST " in seen[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_p15_every_loopback_host_is_reached_without_the_proxy(
    host: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[str] = []

    def way(name: str, request: httpx.Request) -> httpx.Response:
        ways.append(f"{name} {request.url.scheme}")
        return httpx.Response(200)

    monkeypatch.setenv("ALL_PROXY", "http://proxy.test:1")
    async with NetworkClient() as client:
        proxied: Any = client._transport_for_url(httpx.URL("https://api.test"))
        pools: list[Any] = [client._transport, proxied._proxied]
        for pool, name in zip(pools, ["direct", "proxy"], strict=True):
            pool.transport = httpx.MockTransport(partial(way, name))
        await client.get(f"{scheme}://{host}:8000/")
        await client.get(f"https://{host}:8000/")
        await client.get(f"{scheme}://api.test/")
    # Through a tunnel, and of what no token of ours is sent with.
    assert ways == [f"direct {scheme}", "proxy https", f"proxy {scheme}"]


@pytest.mark.parametrize("where", ["base_url", "origins", "token endpoint", "revocation endpoint"])
async def test_p15_an_explicit_proxy_for_plain_loopback_is_refused_when_the_session_is_opened(
    where: str,
) -> None:
    plain = "http://127.0.0.1:8000"
    grant = ClientCredentialsGrant(
        f"{plain if where == 'token endpoint' else 'https://id.test'}/token",
        client_id="client",
        client_secret="cs-canary",
        revocation_endpoint=plain if where == "revocation endpoint" else None,
    )
    options: Any = {"base_url": plain if where == "base_url" else API}
    if where == "origins":
        options["origins"] = ["http://[::1]:8000"]
    with pytest.raises(ValueError, match=r"proxy=.*") as caught:
        async with open_session(grant, proxy="http://proxy.test:1", **options):
            pass
    assert ("http://[::1]:8000" if where == "origins" else plain) in str(caught.value)


async def test_p15_an_explicit_proxy_is_fine_for_what_is_encrypted() -> None:
    grant = RefreshTokenGrant("https://id.test/token", client_id="client")
    async with open_session(grant, base_url=API, proxy="http://proxy.test:1"):
        pass


async def test_p15_mounts_may_except_this_machine_from_an_explicit_proxy() -> None:
    async with open_recorder() as (proxy, stolen), open_recorder() as (server, seen):
        async with open_session(
            FakeGrant(), tokens=first_tokens(), base_url=server, proxy=proxy, mounts={server: None}
        ) as session:
            assert (await session.get("/")).text == "ok"
    assert (len(seen), stolen) == (1, [])


async def test_p15_what_turns_up_later_is_refused_too_and_nothing_is_sent() -> None:
    async with open_recorder() as (proxy, stolen):
        async with open_session(
            FakeGrant(), tokens=first_tokens(), base_url=API, proxy=proxy
        ) as session:
            with pytest.raises(httpx.ProxyError, match=r"http://localhost:9 would with proxy="):
                await session.get("http://localhost:9/", auth=None)
            with pytest.raises(RefreshUnavailableError, match="never goes through a proxy"):
                await session.log_in(partial(ask, "http://127.0.0.1:8000/token"))
    assert stolen == []


# --- look-ups --------------------------------------------------------------------------------


def take_all_threads(nursery: trio.Nursery) -> threading.Event:
    """Take up all the threads that trio has, until the event is set."""
    release = threading.Event()
    for _ in range(int(trio.to_thread.current_default_thread_limiter().total_tokens)):
        nursery.start_soon(trio.to_thread.run_sync, partial(release.wait, 30))
    return release


async def test_threads_that_wait_for_a_token_do_not_keep_the_token_endpoint_from_being_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        # As a name that is not in /etc/hosts is: not without a thread.
        if host in ("id.test", b"id.test"):
            if options.get("flags") or (len(args) == 5 and args[4] & socket.AI_NUMERICHOST):
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            host = "127.0.0.1"
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with open_recorder() as (url, seen):
        port = httpx.URL(url).port

        async def grant(_: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
            # The name of a server elsewhere: only the client is asked about it.
            client = await endpoint._open()
            await client.get(f"http://id.test:{port}/token")
            return Tokens("access-1", "refresh-1", 3600)

        tokens: list[str] = []
        async with open_session(
            grant, tokens=first_tokens(0), base_url=API, trust_env=False
        ) as session:

            def thread() -> None:
                tokens.append(trio.from_thread.run(session.token))

            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    for _ in range(40):
                        nursery.start_soon(trio.to_thread.run_sync, thread)
    assert tokens == ["access-1"] * 40
    assert len(seen) == 1


class FakeBackend(httpcore.AsyncNetworkBackend):
    """Remembers where to it was asked to connect; only some addresses answer."""

    def __init__(self, *answering: str, latency: float = 0) -> None:
        self.answering = answering
        self.latency = latency
        self.asked: list[tuple[str, float | None]] = []
        self.stream = httpcore.AsyncMockStream([])

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        assert port == 443
        self.asked.append((host, timeout))
        await trio.sleep(self.latency)
        if host not in self.answering:
            raise httpcore.ConnectError(f"{host} refuses")
        return self.stream

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append((path, None))
        return self.stream

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@pytest.fixture
async def busy() -> Any:
    """No thread of trio's is free."""
    limiter = trio.to_thread.current_default_thread_limiter()
    usual, limiter.total_tokens = limiter.total_tokens, 1
    limiter.acquire_on_behalf_of_nowait(busy)
    yield
    limiter.release_on_behalf_of(busy)
    limiter.total_tokens = usual


def found(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def resolve(host: str, port: int, **_: Any) -> Any:
        assert (host, port) == ("id.test", 443)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        # Each of them is there twice, in another protocol.
        return [(0, 0, 0, "", (address, port)) for address in addresses for _ in range(2)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


async def test_while_a_thread_is_free_trio_looks_up_and_connects() -> None:
    backend = FakeBackend("id.test")
    assert await Lookups(backend).connect_tcp("id.test", 443, timeout=7) is backend.stream
    assert backend.asked == [("id.test", 7)]


@pytest.mark.parametrize("timeout", [10, None])
async def test_while_none_is_free_the_addresses_are_tried_in_turn(
    timeout: float | None, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, "2001:db8::1", "192.0.2.1", "192.0.2.2")
    backend = FakeBackend("192.0.2.1")
    assert await Lookups(backend).connect_tcp("id.test", 443, timeout=timeout) is backend.stream
    assert [host for host, _ in backend.asked] == ["2001:db8::1", "192.0.2.1"]
    # Each gets its share of the time.
    share = 10 / 3 if timeout else float("inf")
    assert backend.asked[0][1] == pytest.approx(share, rel=0.2)


async def test_while_none_is_free_the_last_address_says_what_is_wrong(
    busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, "192.0.2.1", "192.0.2.2")
    with pytest.raises(httpcore.ConnectError, match=r"192\.0\.2\.2 refuses"):
        await Lookups(FakeBackend()).connect_tcp("id.test", 443, timeout=5)


async def test_while_none_is_free_an_unknown_name_fails_as_it_does_else(
    busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch)
    with pytest.raises(httpcore.ConnectError, match="Name or service not known"):
        await Lookups(FakeBackend()).connect_tcp("id.test", 443, timeout=5)


async def test_while_none_is_free_a_look_up_that_hangs_is_given_up_on_in_time(
    busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(10))
    with pytest.raises(httpcore.ConnectTimeout, match=r"no address of id\.test"):
        await Lookups(FakeBackend()).connect_tcp("id.test", 443, timeout=0.01)
    release.set()


async def test_all_else_is_left_to_the_backend_of_httpcore(autojump_clock: MockClock) -> None:
    backend = FakeBackend()
    assert await Lookups(backend).connect_unix_socket("/run/it") is backend.stream
    await Lookups(backend).sleep(5)
    assert trio.current_time() == 5


@pytest.mark.parametrize("proxy", [None, "http://proxy.test:1"])
async def test_only_pools_of_the_token_endpoint_look_names_up_by_themselves(
    proxy: str | None,
) -> None:
    kinds: list[Any] = [EndpointClient, NetworkClient]
    for kind, own in zip(kinds, [True, False], strict=True):
        async with kind(proxy=proxy, trust_env=False) as client:
            way: Any = client._transport_for_url(httpx.URL("https://id.test"))
            transport = await getattr(way, "_proxied", way).open()
            connecting = transport._pool._network_backend
            assert isinstance(connecting._backend, Lookups) == own


# --- connecting ----------------------------------------------------------------------------


@attrs.define
class SlowBackend(httpcore.AsyncMockBackend):
    """Each step of connecting ends when the test says so; then the server answers."""

    steps: list[trio.Event] = attrs.field(factory=list)
    streams: list[SlowStream] = attrs.field(factory=list)

    async def step(self) -> None:
        self.steps.append(trio.Event())
        await self.steps[-1].wait()

    async def connect_tcp(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        await self.step()
        self.streams.append(SlowStream(self))
        return self.streams[-1]

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        return await self.connect_tcp()


class SlowStream(httpcore.AsyncMockStream):
    def __init__(self, backend: SlowBackend) -> None:
        super().__init__([b"HTTP/1.1 204 No Content\r\n\r\n"])
        self.backend = backend
        self.closed = False

    async def start_tls(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        await self.backend.step()
        return self

    async def aclose(self) -> None:
        await super().aclose()
        self.closed = True


@pytest.mark.parametrize(
    ("url", "steps", "options"),
    [
        ("http://api.test", 1, {}),
        ("https://api.test", 2, {}),
        ("http://api.test", 1, {"uds": "/run/api"}),
    ],
    ids=["plain", "tls", "unix-socket"],
)
@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_request_that_is_cancelled_as_it_connects_keeps_no_place_in_the_pool(
    url: str, steps: int, options: dict[str, Any], cancelled: bool
) -> None:
    pool = Pool(limits=httpx.Limits(max_connections=1), **options)
    inside: Any = await pool.open()
    connecting = inside._pool._network_backend
    backend = connecting._backend = SlowBackend([])

    async def connected() -> None:
        for number in range(steps):
            await wait_all_tasks_blocked()
            backend.steps[number].set()

    async with httpx.AsyncClient(transport=pool, base_url=url, timeout=None) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, "/")
            await connected()
            if cancelled:
                # In the same moment, before the task runs again.
                nursery.cancel_scope.cancel("the test says so")
        assert backend.streams[0].closed == cancelled
        if cancelled:
            backend.steps.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connected)
                with trio.fail_after(2):
                    assert (await client.get("/")).status_code == 204


async def test_what_else_a_pool_asks_of_its_backend_is_left_to_that(
    autojump_clock: MockClock,
) -> None:
    backend = FakeBackend("id.test")
    stream = await Connecting(backend).connect_tcp("id.test", 443)
    assert stream.get_extra_info("socket") is None
    await Connecting(backend).sleep(5)
    assert trio.current_time() == 5


async def test_the_timeouts_of_a_request_reach_the_connection() -> None:
    said: list[tuple[str, object]] = []

    class Stream(httpcore.AsyncMockStream):
        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the interface
            said.append(("read", timeout))
            return await super().read(max_bytes, timeout)

        async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the interface
            said.append(("write", timeout))
            await super().write(buffer, timeout)

    class Backend(SlowBackend):
        async def connect_tcp(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
            await trio.lowlevel.checkpoint()
            return Stream([b"HTTP/1.1 204 No Content\r\n\r\n"])

    pool = Pool()
    inside: Any = await pool.open()
    inside._pool._network_backend._backend = Backend([])
    timeout = httpx.Timeout(None, read=3, write=5)
    async with httpx.AsyncClient(transport=pool, timeout=timeout) as client:
        assert (await client.get("http://api.test/")).status_code == 204
    assert set(said) == {("read", 3), ("write", 5)}
