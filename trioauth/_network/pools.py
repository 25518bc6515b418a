"""How the network is reached: one TLS context for all, pools made late, no proxy to loopback.

A client is made at once, and cheaply, because `Session.http` is a property. What takes time is made
with the first request, in a thread: httpx's pool, and the TLS context, of which a process has one.
"""

from __future__ import annotations

import importlib
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, final

import httpx
import trio

from trioauth._origins import is_loopback, read_origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from trioauth._origins import Origins

    from .options import ClientOptions

ResultT = TypeVar("ResultT")

# Over these a proxy would read everything, tokens included. (A WebSocket's handshake is plain
# http.)
_PLAIN = frozenset({"http", "ws"})

# The files that httpx, or ssl.create_default_context() below it, takes from the environment.
_TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
_contexts_lock = threading.Lock()
_own_threads = trio.lowlevel.RunVar[trio.CapacityLimiter]("trioauth_own_threads")


# --- the TLS context ---------------------------------------------------------------------------


async def default_tls(*, trust_env: bool = True) -> ssl.SSLContext:
    """Return the TLS context that httpx would make by default: one for the whole process.

    It takes 50 ms and 1.7 MB to make one. Whatever httpx would read it from counts: with another
    ``SSL_CERT_FILE`` it is another one.

    Cancellation:
      Safe. It is made without you.

    Checkpoints:
      None if it is there.
    """
    read_from = (trust_env, *map(os.environ.get, _TLS_VARIABLES))
    context = _contexts.get(read_from)
    if context is None:
        context = await _in_thread(partial(_make_tls, read_from, trust_env=trust_env))
    return context  # noqa: ASYNC910  # It may be there.


def _make_tls(read_from: tuple[object, ...], *, trust_env: bool) -> ssl.SSLContext:
    # In a thread; those of another run of trio may want one at the same time.
    with _contexts_lock:
        if read_from not in _contexts:
            # While we are in a thread: httpx imports it with its first pool, in 30 ms.
            importlib.import_module("httpcore")
            _contexts[read_from] = httpx.create_ssl_context(trust_env=trust_env)
        return _contexts[read_from]


async def _in_thread(work: Callable[[], ResultT]) -> ResultT:
    """Run something in a thread that need not be waited for.

    One at a time in a run, and with a limiter of our own: the program's threads may all be waiting
    for a token.
    """
    try:
        limiter = _own_threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(1)
        _own_threads.set(limiter)
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


# --- pools ---------------------------------------------------------------------------------


@final
class Pool(httpx.AsyncBaseTransport):
    """A connection pool of httpx's, made with its first request."""

    def __init__(self, *, own_lookups: bool = False, **options: Any) -> None:
        """Args are those of `httpx.AsyncHTTPTransport`.

        Args:
          own_lookups: Whether host names can be looked up while all of trio's threads are busy.
          options: For httpx.
        """
        self._options = options
        self._own_lookups = own_lookups
        self.transport: httpx.AsyncHTTPTransport | None = None
        """What is made; None before."""
        self._opening = trio.Lock()
        self._closed = False

    async def open(self) -> httpx.AsyncHTTPTransport:
        """Make the pool, once.

        Cancellation:
          Safe.

        Raises:
          trio.ClosedResourceError: The client was closed before it was made.
        """
        async with self._opening:
            transport = self.transport or await self._make()
            if self._closed:
                # Nothing to close in it: it has no connection yet.
                raise trio.ClosedResourceError("this client was closed before the request was sent")
            self.transport = transport
        return transport

    async def _make(self) -> httpx.AsyncHTTPTransport:
        options = dict(self._options)
        if options.get("verify", True) is True and not options.get("cert"):
            options["verify"] = await default_tls(trust_env=options.get("trust_env", True))
            transport = httpx.AsyncHTTPTransport(**options)
        else:
            # Certificates of the program's own, which httpx reads from files.
            transport = await _in_thread(partial(httpx.AsyncHTTPTransport, **options))
        # Late, because they import httpcore.
        from .connecting import Connecting
        from .lookups import Lookups

        pool: Any = transport._pool
        if self._own_lookups:
            pool._network_backend = Lookups(pool._network_backend)
        pool._network_backend = Connecting(pool._network_backend)
        return transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, as `httpx.AsyncHTTPTransport` does.

        Cancellation:
          As with httpx: the request may or may not have reached the server.
        """
        transport = self.transport or await self.open()
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections.

        Cancellation:
          Safe. They are closed in any case.
        """
        self._closed = True
        transport, self.transport = self.transport, None
        if transport is not None:
            await transport.aclose()
        await trio.lowlevel.checkpoint()


@final
class PlainProxyError(httpx.ProxyError):
    """A request was not sent, because a proxy would have read it. What it says holds no secret."""


@final
class _ProxyPool(httpx.AsyncBaseTransport):
    """The way through a proxy, which what is plain and for this machine never takes (P15)."""

    def __init__(
        self, proxied: httpx.AsyncBaseTransport, direct: httpx.AsyncBaseTransport, *, said: bool
    ) -> None:
        self._proxied = proxied
        self._direct = direct
        self._said = said

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request through the proxy, or around it.

        Cancellation:
          As with httpx: the request may or may not have reached the server.

        Raises:
          httpx.ProxyError: The program itself has said ``proxy=``. Nothing was sent.
        """
        url = request.url
        if url.scheme not in _PLAIN or not is_loopback(url.host):
            return await self._proxied.handle_async_request(request)
        if self._said:
            where = f"{url.scheme}://{url.netloc.decode('ascii')}"
            raise PlainProxyError(_no_proxy(where), request=request)
        # A proxy from the environment is meant for what is elsewhere.
        return await self._direct.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections to the proxy.

        Cancellation:
          Safe. They are closed in any case.
        """
        await self._proxied.aclose()


def _no_proxy(where: str) -> str:
    return (
        f"plain http to this machine never goes through a proxy, which would read the tokens, and "
        f"{where} would with proxy=; leave proxy= out (then HTTPS_PROXY is taken for the rest), "
        f'or except it: mounts={{"{where}": None}}'
    )


def check_proxy(options: ClientOptions, origins: Origins, grant: object) -> None:
    """Name what ``proxy=`` would carry in clear, as far as it is known when a session is opened.

    Args:
      options: The program's.
      origins: Where the access token may go.
      grant: The URLs that it has, if any, are where its secrets go.

    Raises:
      ValueError: One of them is plain http, and so loopback.
    """
    # With mounts= the program says itself what goes where; `_ProxyPool` sees what it does say.
    if options.get("proxy") is None or options.get("mounts"):
        return
    endpoints = {
        read_origin(name, url)
        for name in ("token_endpoint", "revocation_endpoint", "url")
        if isinstance(url := getattr(grant, name, None), str)
    }
    for scheme, raw_host, port in sorted(origins.allowed | endpoints):
        if scheme in _PLAIN:
            host = raw_host.decode("ascii")
            raise ValueError(_no_proxy(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"))


# --- clients -------------------------------------------------------------------------------


class NetworkClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` that is cheap to make: its pools are made when they are used."""

    def __init__(self, **options: Any) -> None:
        self._proxy_said = options.get("proxy") is not None
        super().__init__(**options)

    # These two are httpx's own seams, the same in 0.27 and 0.28.
    def _init_transport(self, *_: Any, **options: Any) -> httpx.AsyncBaseTransport:
        transport: httpx.AsyncBaseTransport | None = options.pop("transport")
        return self._make_pool(**options) if transport is None else transport

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *_: Any, **options: Any
    ) -> httpx.AsyncBaseTransport:
        pool = self._make_pool(proxy=proxy, **options)
        return _ProxyPool(pool, self._transport, said=self._proxy_said)

    def _make_pool(self, **options: Any) -> httpx.AsyncBaseTransport:
        return self._plain_pool(**options)

    @staticmethod
    def _plain_pool(*, own_lookups: bool = False, **options: Any) -> Pool:
        # For asgi and wsgi applications, which httpx 0.27 takes; a session has no such option.
        options.pop("app", None)
        return Pool(own_lookups=own_lookups, **options)


@final
class EndpointClient(NetworkClient):
    """A client for the token endpoint.

    40 threads of the program that wait in ``trio.from_thread.run(session.token)`` take up all that
    trio has, and the look-up of the token endpoint's name needs one.
    """

    def _make_pool(self, **options: Any) -> httpx.AsyncBaseTransport:
        return self._plain_pool(own_lookups=True, **options)
