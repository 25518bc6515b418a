"""Pools: how the network is reached.

1. A client is made at once, because `Session.http` is a property. Its pool and the TLS context take
   time, and are made in a thread, with the first request.
2. A process has one default TLS context, because each takes 1.7 MB.
3. Plain http to this machine never goes through a proxy, which would read the tokens (P15).
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

    from .options import SharedOptions

ResultT = TypeVar("ResultT")

# A proxy reads everything in these, tokens included. (The handshake of ws is plain http.)
_PLAIN = frozenset({"http", "ws"})

# The variables by which httpx, or ssl.create_default_context(), finds files.
_TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
_contexts_lock = threading.Lock()
_own_threads = trio.lowlevel.RunVar[trio.CapacityLimiter]("trioauth_own_threads")


# --- the TLS context ---------------------------------------------------------------------------


async def default_tls(*, trust_env: bool = True) -> ssl.SSLContext:
    """Return the TLS context that httpx makes by default, made once in a process.

    Making one takes 50 ms and 1.7 MB. If an environment variable that httpx reads has changed, such
    as ``SSL_CERT_FILE``, another one is made.

    Cancellation:
      Safe. It is still made, for the next caller.

    Checkpoints:
      None if it is made already.
    """
    read_from = (trust_env, *map(os.environ.get, _TLS_VARIABLES))
    context = _contexts.get(read_from)
    if context is None:
        context = await _in_thread(partial(_make_tls, read_from, trust_env=trust_env))
    return context  # noqa: ASYNC910  # as documented


def _make_tls(read_from: tuple[object, ...], *, trust_env: bool) -> ssl.SSLContext:
    # In a thread: that of another run of trio may do the same at the same time.
    with _contexts_lock:
        if read_from not in _contexts:
            # httpx imports it with its first pool, in 30 ms: do that in this thread, too.
            importlib.import_module("httpcore")
            _contexts[read_from] = httpx.create_ssl_context(trust_env=trust_env)
        return _contexts[read_from]


async def _in_thread(work: Callable[[], ResultT]) -> ResultT:
    """Run a function in a thread, which a cancelled caller does not wait for.

    With a limiter of our own, because all of trio's threads may be waiting for a token. One thread
    at a time in a run.
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
    """A connection pool of httpx, made with its first request."""

    def __init__(self, *, own_lookups: bool = False, **options: Any) -> None:
        """Args are those of `httpx.AsyncHTTPTransport`.

        Args:
          own_lookups: Whether host names can be looked up while all of trio's threads are busy.
          options: For httpx.
        """
        self._options = options
        self._own_lookups = own_lookups
        self.transport: httpx.AsyncHTTPTransport | None = None
        """The pool; None until it is made."""
        self._opening = trio.Lock()
        self._closed = False

    async def open(self) -> httpx.AsyncHTTPTransport:
        """Make the pool, once.

        Cancellation:
          Safe. The next caller makes it.

        Raises:
          trio.ClosedResourceError: The client was closed before it was made.
        """
        async with self._opening:
            transport = self.transport or await self._make()
            if self._closed:
                # The new pool needs no closing: it has no connection yet.
                raise trio.ClosedResourceError("this client was closed before the request was sent")
            self.transport = transport
        return transport

    async def _make(self) -> httpx.AsyncHTTPTransport:
        options = dict(self._options)
        if options.get("verify", True) is True and not options.get("cert"):
            options["verify"] = await default_tls(trust_env=options.get("trust_env", True))
            transport = httpx.AsyncHTTPTransport(**options)
        else:
            # The program has its own certificates, and httpx reads files.
            transport = await _in_thread(partial(httpx.AsyncHTTPTransport, **options))
        # Imported here, because they import httpcore, which takes time.
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
    """A request was not sent, because a proxy would have read it. The message has no secret."""


@final
class _ProxyPool(httpx.AsyncBaseTransport):
    """Sends requests through a proxy, except plain http to this machine (P15)."""

    def __init__(
        self, proxied: httpx.AsyncBaseTransport, direct: httpx.AsyncBaseTransport, *, said: bool
    ) -> None:
        self._proxied = proxied
        self._direct = direct
        self._said = said

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request through the proxy, or directly.

        Cancellation:
          As with httpx: the request may or may not have reached the server.

        Raises:
          httpx.ProxyError: It is plain http to this machine, and the program itself has passed
              ``proxy=``. Nothing was sent.
        """
        url = request.url
        if url.scheme not in _PLAIN or not is_loopback(url.host):
            return await self._proxied.handle_async_request(request)
        if self._said:
            where = f"{url.scheme}://{url.netloc.decode('ascii')}"
            raise PlainProxyError(_no_proxy(where), request=request)
        # The proxy is from the environment, which means it for other machines.
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


def check_proxy(options: SharedOptions, origins: Origins, grant: object) -> None:
    """Raise if ``proxy=`` would carry plain http, as far as this is known on opening.

    Args:
      options: The program's.
      origins: Where the access token may go.
      grant: Its URLs, if it has any, are where its secrets go.

    Raises:
      ValueError: One of these URLs is plain http, and so loopback.
    """
    # With mounts= some origins may bypass the proxy. `_ProxyPool` checks each request anyway.
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
    """An `httpx.AsyncClient` that is cheap to make: its pools are made on first use."""

    def __init__(self, **options: Any) -> None:
        self._proxy_said = options.get("proxy") is not None
        super().__init__(**options)

    # These two override private methods of httpx, the same in 0.27 and 0.28.
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
        # httpx 0.27 passes it, for ASGI applications; a session has no such option.
        options.pop("app", None)
        return Pool(own_lookups=own_lookups, **options)


@final
class EndpointClient(NetworkClient):
    """A client for the token endpoint.

    It looks names up in threads of its own. If 40 threads of the program wait in
    ``trio.from_thread.run(session.token)``, trio has none left.
    """

    def _make_pool(self, **options: Any) -> httpx.AsyncBaseTransport:
        return self._plain_pool(own_lookups=True, **options)
