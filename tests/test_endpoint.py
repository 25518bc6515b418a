"""TokenEndpoint: what goes to an authorization server, and what may come back (P16)."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from trioauth import RefreshTokenGrant, Tokens
from trioauth._errors import GrantRefusedError, RefreshUnavailableError
from trioauth.oauth.channel import Answer, TokenEndpoint, TokenRequest, check_endpoint_url

from .test_tokens import CANARY, chain, shown

URL = "https://id.example.com/token"
REQUEST = TokenRequest(
    URL, data={"refresh_token": CANARY}, headers={"Authorization": f"Basic {CANARY}"}
)

Answering = Callable[[httpx.Request], httpx.Response]


def endpoint_of(answering: Any, **options: Any) -> TokenEndpoint:
    return TokenEndpoint(
        lambda: httpx.AsyncClient(transport=httpx.MockTransport(answering), **options)
    )


async def send(answering: Any, request: TokenRequest = REQUEST) -> Answer:
    return await endpoint_of(answering).send(request)


# --- Where secrets may be sent --------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com/token",
        "https://id.example.com:8443/token?tenant=7",
        "http://localhost:8000/token",
        "http://127.0.0.1:8000/token",
        "http://127.9.9.9/token",
        "http://[::1]:8000/token",
    ],
)
def test_https_and_loopback_are_endpoints(url: str) -> None:
    check_endpoint_url(url, "token_endpoint")
    assert TokenRequest(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example.com/token",
        "http://10.0.0.1/token",
        "http://localhost.example.com/token",
        "http://127.0.0.1.example.com/token",
        "ftp://id.example.com/token",
        "//id.example.com/token",
        "/token",
        "id.example.com/token",
        "https:///token",
        "https://",
        "",
        " https://id.example.com/token",
        "https://id.example.com/\ntoken",
        "https://id.example.com:port/token",
        "https://user@id.example.com/token",
        f"https://user:{CANARY}@id.example.com/token",
        "https://id.example.com/token#",
        f"https://id.example.com/token#{CANARY}",
    ],
)
def test_other_urls_are_refused_by_the_name_of_their_parameter(url: str) -> None:
    with pytest.raises(ValueError, match="^token_endpoint") as caught:
        check_endpoint_url(url, "token_endpoint")
    assert CANARY not in shown(caught.value)
    with pytest.raises(ValueError, match="^url"):
        TokenRequest(url)


def test_a_url_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="^url must be of type str"):
        TokenRequest(httpx.URL(URL))  # type: ignore[arg-type]


def test_a_request_has_one_body() -> None:
    with pytest.raises(ValueError, match="one body"):
        TokenRequest(URL, data={}, json={})


def test_requests_and_answers_hide_what_is_in_them() -> None:
    answer = Answer(200, httpx.Headers({"X": CANARY}), CANARY.encode())
    assert CANARY not in repr(REQUEST) + repr(TokenRequest(URL, json=[CANARY])) + repr(answer)


# --- What is sent ---------------------------------------------------------------------------


class Recorder:
    """Answers 200 and remembers what it was asked."""

    def __init__(self, **response: Any) -> None:
        self.requests: list[httpx.Request] = []
        self.response = response or {"json": {}}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(**{"status_code": 200, **self.response})


async def test_a_form_goes_out_with_our_headers_and_no_others() -> None:
    recorder = Recorder()
    endpoint = endpoint_of(
        recorder,
        headers={"X-From-The-Client": "1", "Authorization": "Basic other"},
        cookies={"a": "b"},
        params={"q": "1"},
        auth=("user", "password"),
    )
    await endpoint.send(TokenRequest(URL, data={"a": "1 &", "b": "é"}))

    [request] = recorder.requests
    assert request.method == "POST"
    assert str(request.url) == URL
    assert request.content == b"a=1+%26&b=%C3%A9"
    agent = request.headers.pop("User-Agent")
    assert agent.startswith("trioauth/")
    assert dict(request.headers) == {
        "host": "id.example.com",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": "16",
        "content-type": "application/x-www-form-urlencoded",
    }


async def test_json_or_nothing_can_be_sent_and_headers_replaced_but_not_the_encoding() -> None:
    recorder = Recorder()
    endpoint = endpoint_of(recorder)
    headers = {"accept": "text/x", "Accept-encoding": "gzip", "Authorization": "Bearer x"}
    await endpoint.send(TokenRequest(URL, json={"a": [1]}, headers=headers))
    await endpoint.send(TokenRequest(URL))

    with_json, empty = recorder.requests
    assert json.loads(with_json.content) == {"a": [1]}
    assert with_json.headers["Content-Type"] == "application/json"
    assert with_json.headers.get_list("Accept") == ["text/x"]
    assert with_json.headers.get_list("Accept-Encoding") == ["identity"]
    assert with_json.headers["Authorization"] == "Bearer x"
    assert empty.content == b""


async def test_only_connecting_has_a_timeout() -> None:
    recorder = Recorder()
    await endpoint_of(recorder, timeout=1).send(REQUEST)
    timeout = recorder.requests[0].extensions["timeout"]
    assert timeout == {"connect": 10, "read": None, "write": None, "pool": None}


async def test_netrc_is_not_asked_for_credentials(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine id.example.com login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    recorder = Recorder()
    await endpoint_of(recorder, trust_env=True).send(TokenRequest(URL))
    assert "Authorization" not in recorder.requests[0].headers


async def test_no_cookie_is_kept_from_one_request_to_the_next() -> None:
    recorder = Recorder(headers={"Set-Cookie": "sid=1; Path=/"})
    clients: list[httpx.AsyncClient] = []

    def make_client() -> httpx.AsyncClient:
        clients.append(httpx.AsyncClient(transport=httpx.MockTransport(recorder)))
        return clients[0]

    endpoint = TokenEndpoint(make_client)
    await endpoint.send(REQUEST)
    await endpoint.send(REQUEST)
    assert "Cookie" not in recorder.requests[1].headers
    assert not clients[0].cookies


@pytest.mark.parametrize(
    "request_",
    [
        TokenRequest(URL, headers={"Authorization": f"Bearer {CANARY}é"}),
        TokenRequest(URL, data={"refresh_token": f"{CANARY}\ud800"}),
    ],
)
async def test_text_that_cannot_be_sent_is_refused_unquoted(request_: TokenRequest) -> None:
    with pytest.raises(ValueError, match="can't be sent") as caught:
        await send(Recorder(), request_)
    assert list(chain(caught.value)) == [caught.value]
    assert CANARY not in shown(caught.value)


# --- What comes back ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 400, 404, 429, 500, 599])
async def test_an_answer_is_returned_whatever_its_status(status: int) -> None:
    answer = await send(Recorder(status_code=status, content=b"x", headers={"A": "b"}))
    assert (answer.status, answer.body, answer.headers["A"]) == (status, b"x", "b")
    assert answer.is_success == (status < 300)


async def test_an_answer_without_a_date_gets_that_of_its_receipt() -> None:
    answer = await send(Recorder())
    assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None
    told = await send(Recorder(headers={"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}))
    assert told.headers["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_p16_no_redirect_is_followed_even_if_the_client_would(status: int) -> None:
    recorder = Recorder(status_code=status, headers={"Location": "https://evil.example/"})
    answer = await endpoint_of(recorder, follow_redirects=True).send(REQUEST)
    assert answer.status == status
    assert len(recorder.requests) == 1


async def test_p16_an_answer_in_another_compression_is_not_read() -> None:
    class Unread(httpx.AsyncByteStream):
        closed = False

        def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError("read")

        async def aclose(self) -> None:
            self.closed = True

    for coding in ("br", "zstd", "gzip, gzip", CANARY):
        stream = Unread()
        with pytest.raises(RefreshUnavailableError, match=r"example\.com.*compressed") as caught:
            await send(Recorder(headers={"Content-Encoding": coding}, stream=stream))
        assert not caught.value.safe_to_repeat
        assert CANARY not in shown(caught.value)
        assert stream.closed


class Streamed(httpx.AsyncByteStream):
    """A body that httpx has not read before we do."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


def compressed(body: bytes, coding: str, window: int) -> httpx.Response:
    deflater = zlib.compressobj(wbits=window)
    stream = Streamed(deflater.compress(body) + deflater.flush())
    return httpx.Response(200, headers={"Content-Encoding": coding}, stream=stream)


@pytest.mark.parametrize(
    ("coding", "window"),
    [("gzip", 31), ("X-GZip", 31), ("deflate", 15), ("deflate", -15)],
)
async def test_p16_a_compressed_answer_is_inflated_up_to_a_megabyte(
    coding: str, window: int
) -> None:
    for body in (b"", b"{}", b"x" * 1_000_000):
        answering = compressed(body, coding, window)
        assert (await send(lambda _, answering=answering: answering)).body == body
    bomb = compressed(b"\0" * 1_000_001, coding, window)
    with pytest.raises(RefreshUnavailableError, match="more than 1000000 bytes") as caught:
        await send(lambda _: bomb)
    assert not caught.value.safe_to_repeat


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"{}" * 100)[:-1],
        gzip.compress(b"{}" * 100)[:12],
        zlib.compress(b"{}" * 100)[:-1],
        gzip.compress(b"{}") + b"more",
        gzip.compress(b"{}") * 2,
        CANARY.encode(),
    ],
    ids=range(6),
)
async def test_a_compressed_answer_that_is_damaged_or_cut_short_is_no_whole_answer(
    coding: str, body: bytes
) -> None:
    answering = httpx.Response(200, headers={"Content-Encoding": coding}, stream=Streamed(body))
    with pytest.raises(RefreshUnavailableError, match=f"no whole answer .damaged {coding}"):
        await send(lambda _: answering)


async def test_a_compressed_answer_without_a_body_is_whole() -> None:
    answering = httpx.Response(204, headers={"Content-Encoding": "gzip"}, stream=Streamed(b""))
    assert (await send(lambda _: answering)).body == b""


async def test_a_compressed_answer_that_httpx_has_read_is_not_inflated_again() -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = await send(Recorder(headers=headers, content=gzip.compress(b"{}")))
    assert answer.body == b"{}"


async def test_a_refusal_in_a_compressed_answer_is_understood() -> None:
    refusal = compressed(b'{"error": "invalid_grant"}', "gzip", 31)
    refusal.status_code = 400
    grant = RefreshTokenGrant(URL, client_id="client")
    with pytest.raises(GrantRefusedError, match="invalid_grant"):
        await grant(Tokens("access-0", "refresh-0"), endpoint_of(lambda _: refusal))


async def test_identity_is_no_compression() -> None:
    answer = await send(Recorder(headers={"Content-Encoding": "Identity"}, content=b"{}"))
    assert answer.body == b"{}"


@pytest.mark.parametrize(("size", "fits"), [(1_000_000, True), (1_000_001, False)])
async def test_p16_a_body_is_read_up_to_a_megabyte(size: int, fits: bool) -> None:
    if fits:
        assert len((await send(Recorder(content=b"x" * size))).body) == size
        return
    with pytest.raises(RefreshUnavailableError, match="more than 1000000 bytes") as caught:
        await send(Recorder(content=b"x" * size))
    assert not caught.value.safe_to_repeat


# The generators of httpx, which can't be ended from outside.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_p16_an_endless_body_of_a_transport_that_ignores_closing_is_left() -> None:
    class Endless(httpx.AsyncByteStream):
        sent = 0

        # Not a generator, which would have to be closed.
        def __aiter__(self) -> "Endless":
            return self

        async def __anext__(self) -> bytes:
            self.sent += 1
            return b"x" * 100_000

    endless = Endless()
    with pytest.raises(RefreshUnavailableError, match="more than"):
        await send(Recorder(stream=endless))
    assert endless.sent == 21


# --- Transport errors -----------------------------------------------------------------------


def raising(error: Exception) -> Answering:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    "kind",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
    ],
)
async def test_what_was_not_sent_is_safe_to_repeat_and_keeps_its_cause(
    kind: type[httpx.TransportError],
) -> None:
    error = kind(f"no way to {CANARY}")
    with pytest.raises(RefreshUnavailableError) as caught:
        await send(raising(error))
    assert caught.value.safe_to_repeat
    assert caught.value.__cause__ is error
    assert str(caught.value) == (f"https://id.example.com can't be reached ({kind.__name__})")
    # Neither the request nor anything of it goes along.
    with pytest.raises(RuntimeError, match="not been set"):
        _ = error.request
    # It is the evidence, and not quoted.
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("407 Let me in, canary-5ecret", "ProxyError: 407 Proxy Authentication Required"),
        ("599 canary-5ecret", "ProxyError: 599"),
        ("4070 canary-5ecret", "ProxyError"),
        ("canary-5ecret", "ProxyError"),
    ],
)
async def test_a_proxy_that_refuses_is_told_by_its_status(text: str, says: str) -> None:
    with pytest.raises(RefreshUnavailableError) as caught:
        await send(raising(httpx.ProxyError(text)))
    assert str(caught.value) == f"https://id.example.com can't be reached ({says})"


@pytest.mark.parametrize(
    "kind",
    [
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.WriteError,
        httpx.WriteTimeout,
        httpx.CloseError,
        httpx.RemoteProtocolError,
        httpx.LocalProtocolError,
    ],
)
async def test_after_sending_the_fate_is_unknown_and_the_evidence_may_quote_secrets(
    kind: type[httpx.TransportError],
) -> None:
    with pytest.raises(RefreshUnavailableError) as caught:
        await send(raising(kind(f"Illegal header value {CANARY}")))
    assert not caught.value.safe_to_repeat
    assert str(caught.value) == f"https://id.example.com gave no whole answer ({kind.__name__})"
    assert list(chain(caught.value)) == [caught.value]


async def test_a_header_that_h11_refuses_does_not_show(nursery: trio.Nursery) -> None:
    listeners = await nursery.start(trio.serve_tcp, drain, 0)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
    endpoint = TokenEndpoint(httpx.AsyncClient)
    with pytest.raises(RefreshUnavailableError, match="LocalProtocolError") as caught:
        await endpoint.send(TokenRequest(url, headers={"Authorization": f"Bearer {CANARY}\r\n"}))
    assert CANARY not in shown(caught.value)
    await endpoint.aclose()
    nursery.cancel_scope.cancel()


async def drain(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass


# --- The client -----------------------------------------------------------------------------


async def test_the_client_is_made_once_on_first_use_and_closed() -> None:
    made: list[httpx.AsyncClient] = []

    def make_client() -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(transport=httpx.MockTransport(Recorder())))
        return made[-1]

    endpoint = TokenEndpoint(make_client)
    assert made == []
    await endpoint.send(REQUEST)
    await endpoint.send(REQUEST)
    assert len(made) == 1
    assert not made[0].is_closed
    await endpoint.aclose()
    await endpoint.aclose()
    assert made[0].is_closed
    with pytest.raises(trio.ClosedResourceError):
        await endpoint.send(REQUEST)
    assert len(made) == 1


async def test_closing_is_not_undone_by_a_cancellation() -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(Recorder()))
    endpoint = TokenEndpoint(lambda: client)
    await endpoint.send(REQUEST)
    with trio.CancelScope() as scope:
        scope.cancel()
        await endpoint.aclose()
    assert scope.cancelled_caught
    assert client.is_closed


async def test_a_slow_server_is_not_given_up_on(autojump_clock: MockClock) -> None:
    async def slow(request: httpx.Request) -> httpx.Response:
        await trio.sleep(3600)
        return httpx.Response(200, content=b"late")

    assert (await send(slow)).body == b"late"
    with trio.move_on_after(5) as patience:
        await send(slow)
    assert patience.cancelled_caught


# --- Real sockets ---------------------------------------------------------------------------


Say = Callable[[trio.SocketStream], Awaitable[None]]


async def ask(said: bytes | Say) -> Answer:
    """Ask a server of bytes on loopback, which says this to a whole request."""

    async def serve(stream: trio.SocketStream) -> None:
        received = bytearray()
        # The refresh token is the end of the request.
        while not received.endswith(CANARY.encode()):
            received += await stream.receive_some()
        try:
            await (stream.send_all(said) if isinstance(said, bytes) else said(stream))
        except trio.BrokenResourceError:
            pass  # The client has left, which is what some of these are about.

    endpoint = TokenEndpoint(httpx.AsyncClient)
    failure: RefreshUnavailableError | None = None
    answer: Answer | None = None
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        request = TokenRequest(f"http://127.0.0.1:{port}/token", data={"refresh_token": CANARY})
        try:
            # Real time, on a machine that may be busy: a megabyte in small chunks is much to read.
            with trio.fail_after(60):
                answer = await endpoint.send(request)
        except RefreshUnavailableError as exc:
            failure = exc
        await endpoint.aclose()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    assert answer is not None
    return answer


async def test_a_whole_answer_comes_over_a_socket() -> None:
    answer = await ask(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert (answer.status, answer.body) == (200, b"{}")


async def test_a_refused_connection_is_safe_to_repeat() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    endpoint = TokenEndpoint(httpx.AsyncClient)
    refused = r"can't be reached \(ConnectError: Connection refused\)"
    with pytest.raises(RefreshUnavailableError, match=refused) as caught:
        await endpoint.send(TokenRequest(f"http://127.0.0.1:{port}/", data={"a": CANARY}))
    await endpoint.aclose()
    assert caught.value.safe_to_repeat
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    # The evidence down to the operating system's word.
    assert any(isinstance(one, OSError) for one in chain(caught.value))
    assert CANARY not in shown(caught.value)


async def reset(stream: trio.SocketStream) -> None:
    """Break the connection with a RST: linger on, for no time."""
    stream.setsockopt(
        trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
    )
    await stream.aclose()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        HEAD + b"\r\n",
        HEAD + b'\r\n{"access_token": "at',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"acc\r\n',
        b"POST /token HTTP/1.1\r\n" + CANARY.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + CANARY.encode() + b"\r\n\r\n",
    ],
    ids=[
        "nothing",
        "half a status line",
        "half a head",
        "no body",
        "half a body",
        "half of the chunks",
        "an echo",
        "a malformed header with a secret",
    ],
)
@pytest.mark.parametrize("end", [trio.SocketStream.aclose, reset], ids=["close", "reset"])
async def test_an_answer_that_is_not_whole_leaves_the_fate_unknown(said: bytes, end: Say) -> None:
    async def say(stream: trio.SocketStream) -> None:
        if said:
            await stream.send_all(said)
        await end(stream)

    with pytest.raises(RefreshUnavailableError, match="gave no whole answer") as caught:
        await ask(say)
    assert not caught.value.safe_to_repeat
    assert CANARY not in shown(caught.value)


async def test_a_reset_before_the_request_is_read_leaves_the_fate_unknown(
    nursery: trio.Nursery,
) -> None:
    listeners = await nursery.start(trio.serve_tcp, reset, 0)
    port = listeners[0].socket.getsockname()[1]
    endpoint = TokenEndpoint(httpx.AsyncClient)
    request = TokenRequest(f"http://127.0.0.1:{port}/", data={"a": CANARY * 100_000})
    with trio.fail_after(60), pytest.raises(RefreshUnavailableError) as caught:
        await endpoint.send(request)
    # It was connected: what the server has read of it, only the server knows.
    assert not caught.value.safe_to_repeat
    assert CANARY not in shown(caught.value)
    await endpoint.aclose()
    nursery.cancel_scope.cancel()


async def test_a_gzip_bomb_over_a_socket_is_unpacked_no_further_than_a_megabyte() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(RefreshUnavailableError, match="more than 1000000 bytes"):
            await ask(head + bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "endless"])
async def test_p16_a_large_body_over_a_socket_is_cut_off_early(chunked: bool) -> None:
    block = b"x" * 65_536
    accepted = 0

    async def say(stream: trio.SocketStream) -> None:
        nonlocal accepted
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 50000000"
        await stream.send_all(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while accepted < 50_000_000:
            await stream.send_all(b"10000\r\n" + block + b"\r\n" if chunked else block)
            accepted += len(block)

    tracemalloc.start()
    try:
        with pytest.raises(RefreshUnavailableError, match="more than 1000000 bytes"):
            await ask(say)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # One megabyte read, and what the sockets' buffers hold.
    assert accepted < 20_000_000
    assert peak < 6_000_000


@pytest.mark.slow
async def test_many_small_chunks_that_are_too_many_leave_nothing_to_collect() -> None:
    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"64\r\n" + b"x" * 100 + b"\r\n")

    # A generator of httpx's that is left behind would warn, and here a warning is an error.
    with pytest.raises(RefreshUnavailableError, match="more than"):
        await ask(say)


def test_an_answer_has_no_body_unless_it_has_one() -> None:
    answer = Answer(204)
    assert (answer.body, dict(answer.headers), answer.is_success) == (b"", {}, True)
