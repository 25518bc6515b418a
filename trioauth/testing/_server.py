"""AuthServer: the test server as its users see it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import attrs
import trio
from trio.testing import MockClock

from trioauth._opening import open_session
from trioauth._tokens import Tokens
from trioauth.grants import RefreshTokenGrant

from ._api import Api
from ._authorization import BEARER_REFRESH_PATH, REVOCATION_PATH, TOKEN_PATH, Authorization
from ._book import Book
from ._exchange import Exchange
from ._ledger import Ledger
from ._messages import NoAnswer, in_json, whole
from ._orders import Mishap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import httpx
    import httpx2

    from trioauth._session import Session
    from trioauth.oauth._grant import Grant

_URL_IN_MEMORY = "https://server.test"


def _check_seconds(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{attribute.name} must be a number of seconds, not {value}")


def _check_lifetime(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(
            f"{attribute.name} must be more than 0 seconds, or None for ever; to let tokens"
            f" expire at once, call expire()"
        )


@final
@attrs.define(eq=False, kw_only=True, repr=False, on_setattr=attrs.setters.frozen)
class AuthServer:
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

    **The authorization server** knows the grants ``refresh_token`` (RFC 6749 6) and, with a
    ``client_secret``, ``client_credentials`` (4.4); at ``bearer_refresh_url`` it takes a refresh
    token as ``Authorization: Bearer`` and answers ``{"accessToken", "refreshToken",
    "expiresIn"}``. Orders about "the next requests" hold for all three of its endpoints.

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

    lifetime: float | None = attrs.field(default=3600.0, validator=_check_lifetime)
    """Seconds that an access token is good for; None: for ever, and ``expires_in`` isn't sent."""
    rotate: bool = True
    """Each refresh gives a new refresh token and spends the old one."""
    reuse_grace: float = attrs.field(default=0.0, validator=_check_seconds)
    """For so many seconds the refresh token spent last gets the same answer again, as some
    servers do because answers get lost."""
    client_id: str = "client"
    """The one client it knows."""
    client_secret: str | None = None
    """Its secret, sent as ``client_secret_basic`` or ``client_secret_post``; None: it is public."""
    scope: str = ""
    """What tokens are good for, separated by spaces; sent in each answer, unless empty."""
    ledger: Ledger = attrs.field(factory=Ledger, init=False)
    """What the server saw."""
    _exchange: Exchange = attrs.field(init=False, on_setattr=attrs.setters.NO_OP)
    _serving: list[str] = attrs.field(factory=list[str], init=False)

    def __attrs_post_init__(self) -> None:
        book = Book(self.lifetime, self.rotate, self.reuse_grace)
        scope = " ".join(self.scope.split())
        authorization = Authorization(book, self.ledger, self.client_id, self.client_secret, scope)
        self._exchange = Exchange(Api(book, self.ledger), authorization, self.ledger)

    def __repr__(self) -> str:
        logins = len(self._exchange.api.book.logins)
        return f"<AuthServer at {self.url}: {logins} logins, {self.ledger!r}>"

    # --- where it is -----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL: ``https://server.test``, or on loopback while `serve` runs."""
        return self._serving[-1] if self._serving else _URL_IN_MEMORY

    @property
    def token_url(self) -> str:
        """The token endpoint (RFC 6749 3.2)."""
        return self.url + TOKEN_PATH

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint (RFC 7009)."""
        return self.url + REVOCATION_PATH

    @property
    def bearer_refresh_url(self) -> str:
        """The endpoint that takes a refresh token as ``Authorization: Bearer``."""
        return self.url + BEARER_REFRESH_PATH

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
            self._serving.append(url)
            try:
                yield url
            finally:
                self._serving.remove(url)

    # --- the human -------------------------------------------------------------------------

    def log_in(self) -> Tokens:
        """Log in as a human would, and return the first tokens of a new login.

        Called outside trio, where there is no clock, the access token's life begins when the
        server first sees it.
        """
        now = trio.current_time() if trio.lowlevel.in_trio_run() else None
        issued = self._exchange.api.book.log_in(now)
        return Tokens(
            issued.access_token,
            issued.refresh_token,
            expires_in=self.lifetime,
            scope=frozenset(self.scope.split()),
        )

    # --- the program -----------------------------------------------------------------------

    def grant(self) -> RefreshTokenGrant:
        """Return the grant that fits: a `RefreshTokenGrant` as the client that the server knows."""
        return RefreshTokenGrant(
            self.token_url,
            client_id=self.client_id,
            client_secret=self.client_secret,
            revocation_endpoint=self.revocation_url,
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
        if not self._serving:
            filled_in["transport"] = self.transport()
        if logged_in and "tokens" not in options:
            filled_in["tokens"] = self.log_in()
        async with open_session(grant or self.grant(), **{**filled_in, **options}) as session:
            yield session

    # --- orders about tokens ---------------------------------------------------------------

    def expire(self) -> None:
        """Expire every access token, for a test of a 401 before the token's time is up."""
        self._exchange.api.book.expire_all()

    def revoke(self) -> None:
        """End every login, as an administrator would, for a test of being thrown out."""
        self._exchange.api.book.revoke_all()

    def reject_all(self, on: bool = True) -> None:  # noqa: FBT001, FBT002  # reads as a switch
        """Let the API answer 401 whatever the token, for a test that refreshes don't run wild."""
        self._exchange.api.rejects_all = on

    def api_delay(self, seconds: float) -> None:
        """Let each answer of the API take so long, for a test with many requests in the air."""
        self._exchange.api.delay = _seconds(seconds)

    def api_answer(self, path: str, json: object, status: int = 200) -> None:
        """Let the API answer with this JSON at a path, for a program that reads what it gets.

        The answer to every method from now on, if the request has a good token.

        Args:
          path: Without a query, such as ``"/orders"``.
          json: What ``json.dumps`` takes.
          status: The HTTP status.
        """
        if not path.startswith("/"):
            raise ValueError(f'path must begin with a slash, as in "/orders", not be {path!r}')
        self._exchange.api.answers[path] = in_json(status, json)

    # --- orders about the authorization server ---------------------------------------------

    def delay(self, seconds: float) -> None:
        """Let each answer take so long, for a test of what happens during a refresh.

        The request is processed when it arrives: a client that gives up has lost the answer.
        """
        self._exchange.orders.delay = _seconds(seconds)

    def fail(
        self,
        status: int = 503,
        *,
        times: int | None = 1,
        error: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with an error and process nothing, for a test of outages and of refusals.

        Args:
          status: The HTTP status.
          times: For how many requests; None: until `recover`.
          error: An error code of RFC 6749 5.2, sent as JSON.
          body: What to send instead; without either, nothing.
          headers: Such as ``{"Retry-After": "5"}``.
        """
        if error is not None and body is not None:
            raise TypeError("error= makes a body of its own: give either error or body")
        fields = dict(headers or {})
        if error is not None:
            fields = {"Content-Type": "application/json", **fields}
            body = json.dumps({"error": error}).encode()
        self.answer(status, body or b"", fields, times=times)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        times: int | None = 1,
    ) -> None:
        """Answer with just this and process nothing, for a test of answers that make no sense."""
        self._exchange.orders.add(whole(status, body, headers), times)

    def drop_answer(self, times: int | None = 1) -> None:
        """Process the request and lose the answer: the client can't know the token is spent."""
        self._exchange.orders.add(Mishap.DROP, times)

    def hang(self, times: int | None = 1) -> None:
        """Never answer, and process nothing, for a test that nothing waits for ever."""
        self._exchange.orders.add(Mishap.HANG, times)

    def down(self, status: int | None = 503) -> None:
        """Be down until `recover`, for a test of a long outage. Comes before all other orders.

        Args:
          status: What a proxy in front answers; None: there is no connection (in memory), or it
              is closed without an answer (on a socket).
        """
        down = NoAnswer.UNREACHABLE if status is None else whole(status, b"")
        self._exchange.orders.down = down

    def recover(self) -> None:
        """Forget all orders about the authorization server. Who hangs already goes on hanging."""
        self._exchange.orders.clear()


def _seconds(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"seconds must be a number of seconds, not {seconds}")
    return seconds
