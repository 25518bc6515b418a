"""Where the libraries log in that `peer_logins` compares: a server on a socket, and a browser.

The server is `trioauth.testing.AuthServer`. A relay in front of it speaks TLS, because most of the
libraries insist on https. They and their browser run in a thread, for most of them block; so
does a log-in of trioauth, with a run of trio of its own.
"""

from __future__ import annotations

import logging
import socket
import ssl
import tempfile
import threading
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import httpx
import trio
import trustme

from trioauth.testing import AuthServer, Endpoint, Persona

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

# For so many seconds a browser keeps a connection that it does not use.
_AHEAD = 10.0
CALLBACK = "https://app.test/callback"
# One of the web application, and those of loopback, whose port may be any.
_REDIRECTS = (CALLBACK, "http://127.0.0.1/callback", "http://localhost", "http://localhost/")
_URLS = (
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "device_authorization_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "registration_endpoint",
)


class Refused(Exception):  # noqa: N818  # it is the server that did
    """The server showed the person a page instead of sending them back."""


@attrs.define
class World:
    """A server, and the browser of a person who says yes."""

    server: AuthServer
    url: str
    """Where the server is, with TLS."""
    authority: str
    """The file with the certificate that vouches for it."""
    polls: list[float] = attrs.field(factory=list[float])
    """When the token endpoint was asked."""
    said: list[str] = attrs.field(factory=list[str])
    """What was logged or warned of, at the levels that are on unless a program says otherwise."""

    @property
    def issuer(self) -> str:
        """What the server calls itself. MSAL wants one with a path."""
        return f"{self.url}/tenant"

    @property
    def secret(self) -> str | None:
        """The secret of the client."""
        return self.server.client_secret

    @property
    def trust(self) -> ssl.SSLContext:
        """What to pass as ``verify=`` where a context is taken."""
        return ssl.create_default_context(cafile=self.authority)

    def at(self, endpoint: Endpoint) -> str:
        """Return where an endpoint is."""
        return self.server.endpoint(endpoint).replace(self.server.url, self.url)

    def browse(self, url: str, **changes: str) -> str:
        """Open an address of the server, and return the callback, with some members changed."""
        with httpx.Client(verify=self.trust, trust_env=False) as browser:
            answer = browser.get(url)
        if answer.status_code != 302:
            raise Refused(answer.text)
        bare, _, query = answer.headers["Location"].partition("?")
        members = {name: values[0] for name, values in parse_qs(query).items()}
        return f"{bare}?{urlencode({**members, **changes})}"


def come_back(url: str, callbacks: list[str]) -> None:
    """Bring the callbacks to the port that waits for them, as the address asks for."""
    by_post = "form_post" in parse_qs(urlsplit(url).query).get("response_mode", [])
    with httpx.Client(trust_env=False, timeout=2 * _AHEAD) as browser, suppress(httpx.HTTPError):
        for callback in callbacks:
            bare, _, query = callback.partition("?")
            if by_post:
                browser.post(bare, data=parse_qs(query))
            else:
                browser.get(callback)


def port_of(url: str) -> int:
    """Return the port that an address for the browser sends the person back to."""
    [redirect_uri] = parse_qs(urlsplit(url).query)["redirect_uri"]
    return urlsplit(redirect_uri).port or 80


def is_free(port: int) -> bool:
    """Say whether a program can listen on a port of this machine."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def hold_open(port: int, closed: threading.Event, then: Callable[[], None]) -> None:
    """Open a connection ahead, as browsers do, and close it after a while, or when told."""
    with socket.create_connection(("127.0.0.1", port)):
        in_background(then)
        closed.wait(_AHEAD)
    closed.set()


def in_background(function: Callable[[], None]) -> None:
    """Let the browser go on while the library waits for it."""
    threading.Thread(target=function, daemon=True).start()


@asynccontextmanager
async def open_world(persona: Persona, secret: str | None) -> AsyncGenerator[World, None]:
    """Serve as long as the block lasts."""
    server = AuthServer(
        persona=persona,
        client_id="notes",
        client_secret=secret,
        redirect_uris=_REDIRECTS,
        scope="openid profile notes",
        issuer="https://id.test/tenant",
    )
    server.approve()
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority.cert_pem.bytes())
        file.flush()
        async with server.serve() as plain, trio.open_nursery() as nursery:
            relay = partial(_relay, urlsplit(plain).port or 0)
            serve = partial(trio.serve_ssl_over_tcp, relay, 0, context, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            port = listener.transport_listener.socket.getsockname()[1]
            world = World(server, f"https://127.0.0.1:{port}", file.name)
            _say_https(server, world.url, plain)
            nursery.start_soon(_note_polls, world)
            with _Listening(world):
                yield world
            nursery.cancel_scope.cancel()


def _say_https(server: AuthServer, url: str, plain: str) -> None:
    """Let the server call itself what the libraries call it."""

    def https(said: object) -> object:
        if isinstance(said, list):
            return [https(each) for each in said]
        if not isinstance(said, str):
            return said
        return said.replace(plain, url).replace("http://127.0.0.1", "https://127.0.0.1")

    server.lie(
        metadata=dict.fromkeys(_URLS, https),
        resource={"resource": https, "authorization_servers": https},
        callback={"iss": https},
        device={"verification_uri": https, "verification_uri_complete": https},
        id_token={"iss": https},
    )


async def _relay(port: int, client: trio.SSLStream[trio.SocketStream]) -> None:
    server = await trio.open_tcp_stream("127.0.0.1", port)
    async with client, server, trio.open_nursery() as nursery:
        nursery.start_soon(_pump, client, server, nursery.cancel_scope)
        nursery.start_soon(_pump, server, client, nursery.cancel_scope)


async def _pump(
    source: trio.abc.ReceiveStream, target: trio.abc.SendStream, scope: trio.CancelScope
) -> None:
    with suppress(trio.BrokenResourceError):
        async for part in source:
            await target.send_all(part)
    scope.cancel()


async def _note_polls(world: World) -> None:
    while True:
        if world.server.ledger.calls["token"] > len(world.polls):
            world.polls.append(trio.current_time())
        await trio.sleep(0.01)


class _Listening(logging.Handler):
    """Listens to what the libraries log, so that it is not printed either."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.said.append(record.getMessage())

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
