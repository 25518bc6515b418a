"""TokenEndpoint: the session's own client for token endpoints (P16)."""

from __future__ import annotations

import math
import re
import zlib
from contextlib import aclosing
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx
import trio

from trioauth._errors import RefreshUnavailableError, system_words
from trioauth._network.pools import PlainProxyError
from trioauth._origins import read_origin
from trioauth._secrets import Unpicklable
from trioauth._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

_LARGEST_BODY = 1_000_000
# Only reaching the server has a timeout of its own. Once it has the request it may have rotated
# the tokens already: then the deadline of the refresh decides how long its answer is worth.
_TIMEOUT = httpx.Timeout(None, connect=10)
_HEADERS = {"Accept": "application/json", "User-Agent": f"trioauth/{__version__}"}

# How zlib is told what to expect. "deflate" is to have a header (RFC 9110 8.4.1.2), and some
# servers send it without.
_WINDOWS = {
    "gzip": (16 + zlib.MAX_WBITS,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}
# A proxy that refuses says so with a status, and then in words of its own.
_PROXY_STATUS = re.compile(r"[1-5][0-9]{2}\b")
_KNOWN_STATUSES = frozenset(HTTPStatus)

# What httpx raises before the first byte of a request has gone to its server. (A ProxyError is
# about getting through the proxy.)
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def check_endpoint_url(url: str, name: str) -> None:
    """Let a URL pass that secrets may be sent to (RFC 6749 3.2).

    Args:
      url: Must be absolute, https or loopback, without user name, password or fragment.
      name: The parameter it was passed in.

    Raises:
      ValueError: It is not such a URL; names the parameter.
      TypeError: It is not a string; names the parameter.
    """
    read_origin(name, url)
    if "#" in url:
        raise ValueError(f"{name} must not have a fragment (RFC 6749 3.2); take it out of the URL")


def _check_url(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    check_endpoint_url(value, attribute.name)


@final
@attrs.frozen
class TokenRequest(Unpicklable):
    """What a grant wants to have sent: always a POST.

    Secrets don't show in its ``repr``, and it can't be pickled.

    Raises:
      ValueError: Secrets may not be sent to such a URL, or there are two bodies.
    """

    url: str = attrs.field(validator=_check_url)
    """https, or loopback."""
    data: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    """Sent as a form (RFC 6749 4), unless None."""
    json: object = attrs.field(default=None, repr=False)
    """Sent as JSON, unless None."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """Sent besides those that every request has, or instead of them."""

    def __attrs_post_init__(self) -> None:
        if self.data is not None and self.json is not None:
            raise ValueError("a request has one body: pass data= or json=, not both")


@final
@attrs.frozen
class Answer(Unpicklable):
    """A whole answer of a token endpoint.

    Its body doesn't show in the ``repr``, and it can't be pickled.
    """

    status: int
    headers: httpx.Headers = attrs.field(factory=httpx.Headers, repr=False)
    """Always with a ``Date``: that of its receipt, if the server sent none (RFC 9110 6.6.1)."""
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


@final
@attrs.define(eq=False)
class TokenEndpoint:
    """The client to ask an authorization server with.

    It follows no redirect, keeps no cookie, adds no credentials of its own (from the URL or a
    ``.netrc``), asks for no compression, and reads one megabyte at most. An answer that is
    compressed all the same (gzip, deflate) is inflated up to that size.
    """

    _make_client: Callable[[], httpx.AsyncClient]
    _client: httpx.AsyncClient | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    asked_at: float = attrs.field(default=-math.inf, init=False)
    """When a request was sent last, on trio's clock: the life of tokens counts from there."""
    _shared: TokenEndpoint | None = attrs.field(default=None, init=False)
    """The endpoint whose client this one uses; None: it has its own."""

    def _for_one_log_in(self) -> TokenEndpoint:
        """Return an endpoint with the same client, and with an ``asked_at`` of its own.

        The session's own refreshes use this one while a person is asked.
        """
        endpoint = TokenEndpoint(self._make_client)
        endpoint._shared = self
        return endpoint

    async def send(self, request: TokenRequest) -> Answer:
        """Send a request and return the whole answer, whatever its status.

        Takes as long as the server takes: callers set a deadline.

        Cancellation:
          Unsafe. The server may or may not have acted on the request.

        Raises:
          RefreshUnavailableError: There is no whole answer. ``safe_to_repeat`` if the request
              certainly did not reach the server.
          ValueError: The request has text that can't be sent; says so without quoting it.
          trio.ClosedResourceError: The session is closed.
        """
        message = _build(request)
        where = f"{message.url.scheme}://{message.url.netloc.decode('ascii')}"
        cause: httpx.HTTPError | None = None
        try:
            return await self._exchange(message, where)
        except _NOT_SENT as exc:
            # The evidence is worth keeping, but not with the request and its secrets.
            cause, exc._request = exc, None
            problem = f"can't be reached ({_reason(exc)})"
        except httpx.HTTPError as exc:
            # No more of it than its name: the text may quote what was sent or answered.
            problem = f"gave no whole answer ({type(exc).__name__})"
        # Not in the blocks above, where what was caught would become its context.
        raise RefreshUnavailableError(
            f"{where} {problem}", safe_to_repeat=cause is not None
        ) from cause

    async def _exchange(self, message: httpx.Request, where: str) -> Answer:
        client = await self._open()
        self.asked_at = trio.current_time()
        response = await client.send(
            message,
            stream=True,
            # Not None, for which httpx would look elsewhere.
            auth=httpx.Auth(),
            follow_redirects=False,
        )
        client.cookies.clear()
        async with aclosing(response):
            coding = _coding_of(response, where)
            # What `httpx.MockTransport` hands out may have been read already, and inflated.
            done = response.is_stream_consumed
            body = await (response.aread() if done else _read_body(response))
        if coding and body and not done:
            body = _inflate(body, coding, where)
        if len(body) > _LARGEST_BODY:
            raise RefreshUnavailableError(
                f"{where} sent more than {_LARGEST_BODY} bytes (status {response.status_code}): "
                "not read, because tokens are not as large"
            )
        headers = httpx.Headers(response.headers)
        headers.setdefault("Date", formatdate(usegmt=True))
        return Answer(response.status_code, headers, body)

    async def _open(self) -> httpx.AsyncClient:
        """Return the client, made when it is first needed."""
        if self._shared is not None:
            return await self._shared._open()
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this session is closed")
        if self._client is None:
            self._client = self._make_client()
        return self._client

    async def aclose(self) -> None:
        """Close the connections. What is sent afterwards raises `trio.ClosedResourceError`.

        Cancellation:
          Safe. It is closed in any case.
        """
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        await trio.lowlevel.checkpoint()


def _reason(exc: httpx.HTTPError) -> str:
    """Say why a server can't be reached: in the system's words, not in those of the exception."""
    words = str(exc) if isinstance(exc, PlainProxyError) else system_words(exc)
    if isinstance(exc, httpx.ProxyError) and (status := _PROXY_STATUS.match(str(exc))):
        number = int(status[0])
        words = f"{number} {HTTPStatus(number).phrase}" if number in _KNOWN_STATUSES else status[0]
    return ": ".join(filter(None, (type(exc).__name__, words)))


def _coding_of(response: httpx.Response, where: str) -> str:
    """Return the compression of an answer; "" for none.

    Raises:
      RefreshUnavailableError: It is one that we can't inflate.
    """
    header: str = response.headers.get("Content-Encoding", "")
    coding = header.strip().lower().removeprefix("x-")
    if coding in ("", "identity"):
        return ""
    if coding in _WINDOWS:
        return coding
    raise RefreshUnavailableError(
        f"{where} sent an answer compressed in an unknown way (status {response.status_code}), "
        "although no compression was asked for: not read"
    )


def _inflate(body: bytes, coding: str, where: str) -> bytes:
    """Inflate a body, to no more than shows that it is too large.

    Raises:
      RefreshUnavailableError: It is damaged, or cut short.
    """
    for window in _WINDOWS[coding]:
        inflater = zlib.decompressobj(window)
        try:
            inflated = inflater.decompress(body, _LARGEST_BODY + 1)
        except zlib.error:
            continue
        if len(inflated) > _LARGEST_BODY or (inflater.eof and not inflater.unused_data):
            return inflated
    raise RefreshUnavailableError(f"{where} gave no whole answer (damaged {coding})")


def _build(request: TokenRequest) -> httpx.Request:
    # Not the client's build_request(), which would mix in the client's headers and cookies.
    headers = httpx.Headers(_HEADERS)
    try:
        headers.update(request.headers)
        headers["Accept-Encoding"] = "identity"
        message = httpx.Request(
            "POST",
            request.url,
            data=request.data,
            json=request.json,
            headers=headers,
            extensions={"timeout": _TIMEOUT.as_dict()},
        )
    except UnicodeEncodeError:
        pass  # It carries the text, so it must not become the context of what is raised.
    else:
        message.stream = _Body(message.content)
        return message
    raise ValueError("a TokenRequest has text that can't be sent; headers must be ASCII")


@final
class _Body(httpx.AsyncByteStream):
    """A body in one piece, to be sent once, which leaves nothing behind when the connection breaks.

    httpx makes an async generator of one. If a server closes while that is being sent, it is left
    to the garbage collector, with a ResourceWarning.
    """

    def __init__(self, data: bytes) -> None:
        self._rest = iter((data,))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for data in self._rest:
            return data  # noqa: ASYNC910  # nothing to wait for, and nobody to cancel
        raise StopAsyncIteration  # noqa: ASYNC910  # ditto


async def _read_body(response: httpx.Response) -> bytes:
    """Read the body; of one that is too large, at least so much that this can be seen."""
    body = bytearray()
    try:
        async for part in response.aiter_raw():
            body += part
            if len(body) > 2 * _LARGEST_BODY:
                break
            if len(body) > _LARGEST_BODY:
                # Closed first and read on until that is noticed: so the generators inside httpx
                # and httpcore end. Those that are left get collected with a ResourceWarning each.
                await response.aclose()
    except httpx.HTTPError:
        if len(body) <= _LARGEST_BODY:
            raise
    return bytes(body)  # noqa: ASYNC910  # An empty body may be here already.
