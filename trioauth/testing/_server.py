"""AuthServer: the test server as its users see it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import attrs
import trio
from trio.testing import MockClock

from trioauth._opening import open_session
from trioauth._tokens import Tokens
from trioauth.grants import RefreshTokenGrant

from ._book import Book
from ._building import build_exchange
from ._clients import Client, Clients
from ._human import Human
from ._keys import Keys
from ._ledger import Ledger
from ._lies import Lies
from ._ordered import Ordered
from ._person import Person
from ._persona import Persona
from ._personas import find_persona
from ._places import Places
from ._site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    import httpx
    import httpx2

    from trioauth._session import Session
    from trioauth.oauth.grant import Grant

    from ._persona import Endpoint


def _check_seconds(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{attribute.name} must be a number of seconds, not {value}")


def _check_lifetime(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(
            f"{attribute.name} must be more than 0 seconds, or None for ever; to let tokens"
            f" expire at once, call expire()"
        )


def _check_issuer(_: object, __: object, value: str | None) -> None:
    if value is not None:
        from trioauth.oauth.metadata import check_issuer  # what clients are made of loads slowly

        check_issuer(value, "issuer")


def _all_of(uris: Iterable[str]) -> tuple[str, ...]:
    if isinstance(uris, str):
        raise TypeError("redirect_uris must be several, as in [uri], not one string")
    return tuple(uris)


@final
@attrs.define(eq=False, kw_only=True, repr=False, on_setattr=attrs.setters.frozen)
class AuthServer(Ordered):
    """An authorization server and an API that wants its tokens, to test a program with.

    It behaves like a strict one in production: refresh tokens rotate, and one that is used twice
    ends the login. Whatever goes wrong once a month out there goes wrong here when told to::

        async def test_a_lost_answer_does_not_log_us_out(autojump_clock):
            server = AuthServer(lifetime=600, reuse_grace=10)
            async with server.open_session() as session:
                server.expire()
                server.drop_answer()
                assert (await session.get("/notes")).json()["generation"] == 2
            assert server.ledger.reused == 0

    A story in six sentences: a human logs in with `log_in`. `open_session` opens a session with
    that login; a program that opens its own takes `grant` and `url`. It reaches the server in
    memory, through `transport` (httpx) or `transport2` (httpx2), or over a socket, while
    `serve` runs. Orders such as `expire`, `fail` or `drop_answer` say what goes wrong, at once,
    for the next requests, or until `recover`. `ledger` tells what the server saw. Time is
    trio's clock, so that under a `trio.testing.MockClock` an hour passes in no time.

    **A person logs in** where a program asks them to: `approve` and `deny` say what they decide,
    for the log-ins that are pending and for all later ones; before that, nothing is answered.
    `person` is a prompt that goes where a browser would. What a program did wrong in a log-in,
    though the server may have let it pass, stands in `complaints`, and `check` raises for it.

    **The authorization server** has metadata (RFC 8414, OpenID Connect Discovery), an authorization
    endpoint (code and PKCE), pushed requests (RFC 9126), devices (RFC 8628), revocation, ID tokens,
    userinfo and dynamic registration (RFC 7591). Its clients say who they are with a secret or a
    key, in one way. What it says otherwise than it should, `lie` orders, and a `persona` says what
    Google, GitHub and others do in a manner of their own. Its token endpoint knows the grants
    ``authorization_code``, ``device_code``, ``jwt-bearer``, ``token-exchange``,
    ``refresh_token`` (RFC 6749 6) and, with a ``client_secret``, ``client_credentials`` (4.4); at
    ``bearer_refresh_url`` it takes a refresh token as ``Authorization: Bearer`` and answers
    ``{"accessToken", "refreshToken", "expiresIn"}``. Orders about "the next requests" hold for
    where tokens are issued and revoked, unless ``at`` names another endpoint.

    **The API** is every other path, with any method. It answers ``{"generation", "login",
    "method", "path", "length", "sha256"}``: which tokens the request came with, and what of its
    body arrived. Some paths are special: ``/open`` wants no token; ``/slow?seconds=2`` takes that
    long; ``/stream?chunks=10&seconds=0.1`` sends the body in chunks, with that pause before each;
    ``/redirect?to=URL&status=303``; ``/status/403`` answers with that status. `api_answer` orders
    what your program expects to read.

    In memory the server answers at every host, so that a program's own URLs can stay what they
    are. A token of its making contains the word ``canary``, to be looked for where no token
    should be.
    """

    persona: Persona = attrs.field(default=Persona(), converter=find_persona)
    """How it differs from a plain server: a `Persona`, or a name such as ``"github"``."""
    lifetime: float | None = attrs.field(
        default=attrs.Factory(lambda self: self.persona.lifetime, takes_self=True),
        validator=_check_lifetime,
    )
    """Seconds that an access token is good for; None: for ever, and ``expires_in`` isn't sent. By
    default an hour, or as the persona has it, and so the next two."""
    rotate: bool = attrs.field(
        default=attrs.Factory(lambda self: self.persona.rotate, takes_self=True)
    )
    """Each refresh gives a new refresh token and spends the old one."""
    reuse_grace: float = attrs.field(
        default=attrs.Factory(lambda self: self.persona.reuse_grace, takes_self=True),
        validator=_check_seconds,
    )
    """For so many seconds the refresh token spent last gets the same answer again, as some
    servers do because answers get lost."""
    client_id: str = "client"
    """The client that it knows."""
    client_secret: str | None = None
    """Its secret, sent as ``client_secret_basic``, ``client_secret_post`` or, to sign with it,
    ``client_secret_jwt``; None: it is public, or has keys."""
    client_jwks: Mapping[str, Any] | None = None
    """Its public keys, if it signs (``private_key_jwt``): a JWKS or a JWK. Needs joserfc."""
    redirect_uris: tuple[str, ...] = attrs.field(default=(), converter=_all_of)
    """Where it may send a browser; with none, to any http URL of loopback. A persona says whether
    the port must be the one that is registered."""
    scope: str = ""
    """What tokens are good for, separated by spaces; sent in each answer, unless empty."""
    _issuer: str | None = attrs.field(default=None, alias="issuer", validator=_check_issuer)
    """What it calls itself, such as ``https://id.example.com``; by default as the persona has it,
    or else `url`. On a socket its path alone counts."""
    ledger: Ledger = attrs.field(factory=Ledger, init=False)
    """What the server saw."""

    def __attrs_post_init__(self) -> None:
        client = Client(self.client_id, self.client_secret, self.redirect_uris, self.client_jwks)
        site = Site(
            self._new_book(),
            self.ledger,
            Places(self.persona, self._issuer),
            Clients(client),
            Human(),
            Keys(self.persona.signing_alg),
            Lies(self.persona.lies),
            " ".join(self.scope.split()),
        )
        self._exchange = build_exchange(site)

    def _new_book(self) -> Book:
        persona = self.persona
        return Book(self.lifetime, self.rotate, self.reuse_grace, persona.spends, persona.replaces)

    def __repr__(self) -> str:
        logins = len(self._exchange.site.book.logins)
        return f"<AuthServer at {self.url}: {logins} logins, {self.ledger!r}>"

    # --- where it is -----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL: ``https://server.test``, or on loopback while `serve` runs."""
        return self._exchange.site.places.base

    @property
    def issuer(self) -> str:
        """What a client is told to find everything else with (RFC 8414)."""
        return self._exchange.site.places.issuer

    @property
    def token_url(self) -> str:
        """The token endpoint (RFC 6749 3.2)."""
        return self.endpoint("token")

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint (RFC 7009)."""
        return self.endpoint("revoke")

    @property
    def bearer_refresh_url(self) -> str:
        """The endpoint that takes a refresh token as ``Authorization: Bearer``."""
        return self.endpoint("bearer")

    def endpoint(self, name: Endpoint) -> str:
        """Return where an endpoint is.

        Raises:
          ValueError: The persona has no such endpoint.
        """
        url = self._exchange.site.places.url(name)
        if url is None:
            raise ValueError(f"the persona {self.persona.name!r} has no endpoint {name!r}")
        return url

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a way here for an `httpx.AsyncClient`: ``transport=server.transport()``."""
        from ._httpx import MemoryTransport  # httpx is slow to import

        return MemoryTransport(self._exchange)

    def transport2(self) -> httpx2.AsyncBaseTransport:
        """Return a way here for an `httpx2.AsyncClient`: ``transport=server.transport2()``."""
        from ._httpx2 import MemoryTransport  # httpx2 is an extra

        return MemoryTransport(self._exchange)

    @asynccontextmanager
    async def serve(self, *, port: int = 0) -> AsyncGenerator[str, None]:
        """Serve on a real socket of 127.0.0.1 as long as the block lasts; gives the URL.

        Needs hypercorn: ``pip install "trioauth[testing]"``. Not for an autojumping clock,
        which does not know that a socket is being waited for.

        Args:
          port: Where to listen; 0 picks a free one.

        Cancellation:
          Safe. Like leaving the block, it stops the server at once, and requests that
          wait for an answer get none.

        Raises:
          ImportError: hypercorn is not installed.
          OSError: The port is taken.
          RuntimeError: The clock jumps as soon as all tasks wait.
        """
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, MockClock) and clock.autojump_threshold == 0:
            raise RuntimeError(
                "serve() is not for an autojumping clock, which does not see that a socket is "
                "waited for and jumps to the timeouts; give the program server.transport()"
            )
        try:
            from ._serve import serve  # hypercorn is an extra
        except ModuleNotFoundError as exc:
            message = 'AuthServer.serve() needs hypercorn: pip install "trioauth[testing]"'
            raise ImportError(message) from exc
        async with serve(self._exchange, port) as url:
            serving = self._exchange.site.places.serving
            serving.append(url)
            try:
                yield url
            finally:
                serving.remove(url)

    # --- the human -------------------------------------------------------------------------

    def log_in(self) -> Tokens:
        """Log in as a human would, and return the first tokens of a new login.

        Called outside trio, where there is no clock, the access token's life begins when the
        server first sees it.
        """
        now = trio.current_time() if trio.lowlevel.in_trio_run() else None
        issued = self._exchange.site.book.log_in(now)
        return Tokens(
            issued.access_token,
            issued.refresh_token,
            expires_in=self.lifetime,
            scope=frozenset(self.scope.split()),
        )

    def person(self, *, follows: bool = False) -> Person:
        """Return a prompt for a log-in: a person who goes where they are asked to.

        Args:
          follows: As a browser does, follow the redirect to the program's own port, which needs
              sockets; otherwise the address they are sent to is pasted, in memory and under any
              clock.
        """
        return Person(self._exchange, follows)

    # --- the program -----------------------------------------------------------------------

    def grant(self) -> RefreshTokenGrant:
        """Return the grant that fits: a `RefreshTokenGrant` as the client that the server knows."""
        return RefreshTokenGrant(
            self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            revocation_endpoint=self._exchange.site.places.url("revoke"),
        )

    @asynccontextmanager
    async def open_session(
        self, grant: Grant | None = None, *, logged_in: bool = True, **options: Any
    ) -> AsyncGenerator[Session, None]:
        """Open a session on this server: `trioauth.open_session`, with what a test needs filled in.

        It goes by memory, or over a socket within `serve`.

        Args:
          grant: By default the one of `grant`.
          logged_in: Begin with a login (`log_in`). Otherwise as a store says, or logged out.
          options: Those of `trioauth.open_session`, such as ``store`` and ``policy``. They go
              before what is filled in: ``tokens``, ``base_url`` and ``transport``.

        Cancellation:
          Delayed, for up to ``close_grace`` seconds, if a refresh is in the air when you leave.

        Raises:
          ValueError: As `trioauth.open_session`, and so the others.
          TypeError: As `trioauth.open_session`.
          StoreError: As `trioauth.open_session`.
        """
        filled_in: dict[str, Any] = {"base_url": self.url}
        if not self._exchange.site.places.serving:
            filled_in["transport"] = self.transport()
        if logged_in and "tokens" not in options:
            filled_in["tokens"] = self.log_in()
        async with open_session(grant or self.grant(), **{**filled_in, **options}) as session:
            yield session
