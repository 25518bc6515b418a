"""Session: an HTTP client session that stays logged in. Made only by `open_session`."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, final

import trio

from ._core.asking import check_obtains
from ._core.login_state import LoggedIn, LoggedOut
from ._core.state import generation_of, public_state
from ._core.statistics import Statistics, take_statistics
from ._errors import LoggedOutError
from ._http.attach import ClientT, attach
from ._http.auth_httpx import SessionAuth
from ._http.belonging import Belonging
from ._http.client import ClientMethods
from ._tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import httpx

    from ._core.asking import Asking
    from ._core.source import TokenSource
    from ._http.client import SessionClient
    from ._http.signing import Signer
    from .oauth.channel import BackChannel

# How long leaving waits for connections to be closed properly (TLS close_notify), in seconds.
CLOSING = 1.0


class Opened(type):
    """Metaclass of a class whose objects come from ``open_...()``; calling the class raises."""

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        name = cls.__qualname__
        raise TypeError(f"{name} has no constructor; use: async with open_{name.lower()}(...)")


@final
class Session(ClientMethods, metaclass=Opened):
    """An HTTP client session that stays logged in; opened by `trioauth.open_session`.

    Its methods `get`, `post`, `put`, `patch`, `delete`, `head`, `options`, `request`, `stream`,
    `send` and `build_request` are those of `httpx.AsyncClient`, with the same signatures. Each
    request gets the access token; if the API refuses it with a 401, the token is refreshed once for
    all tasks, and the request is sent again. Besides httpx's exceptions they raise
    `LoggedOutError`, `RefreshUnavailableError`, `GrantMisconfiguredError` and `OriginError`. A
    request that is cancelled while it waits for a refresh leaves at once, and the refresh goes on.
    """

    def __init__(
        self,
        source: TokenSource,
        signer: Signer,
        asking: Asking,
        make_client: Callable[..., SessionClient],
        *,
        unattended: bool,
    ) -> None:
        self._source = source
        self._machine = source.machine
        self._flights = source.flights
        self._signer = signer
        self._asking = asking
        self._make_client = make_client
        self._unattended = unattended
        self._http: SessionClient | None = None

    def __repr__(self) -> str:
        return f"<trioauth.Session {self.state} at {id(self):#x}>"

    # --- state -----------------------------------------------------------------------------

    @property
    def state(self) -> LoggedIn | LoggedOut:
        """`LoggedIn`, or `LoggedOut` with its reason. After closing, the last state before that."""
        return public_state(self._machine.state)

    @property
    def logged_in(self) -> bool:
        """Whether there is a login."""
        return isinstance(self.state, LoggedIn)

    @property
    def generation(self) -> int:
        """The number of the tokens now in use; 0 when logged out."""
        return state.generation if isinstance(state := self.state, LoggedIn) else 0

    def statistics(self) -> Statistics:
        """Return the figures of the session at this moment. Not a checkpoint."""
        return take_statistics(self._source, resent=self._signer.resent)

    def explain(self) -> str:
        """Say what the session is doing, and why, for a person to read. Not a checkpoint.

        A few lines for `print`, a log or a notebook: whether the session is logged in, and why;
        the last refresh; the store; what happens next; the last events. It works at any time, also
        after closing, and has no secrets. The wording may change; `state` and `statistics` stay.
        """
        from ._core.explain import explain, look

        futile = self._signer.evidence.forbids(self._machine.clock.now())
        return explain(look(self._source, futile=futile))

    # --- HTTP ------------------------------------------------------------------------------

    @property
    def http(self) -> httpx.AsyncClient:
        """The authenticated client, for libraries that take an `httpx.AsyncClient`.

        The session closes it. It is made on first use, and its connection pool with the first
        request. A request with ``auth=None`` is sent without the token.

        A request waits for a connection as long as the ``timeout=`` of the request or of
        `open_session` says, in seconds; by default 30, with ``pool=None`` without end. With
        ``http2=True``, or with a transport of your own, httpx's pool does the waiting.

        Raises:
          trio.ClosedResourceError: The session is closed.
        """
        self._machine.check_here()
        self._machine.check_open()
        # A library that was given the client may have closed it: then make another.
        if self._http is None or self._http.is_closed:
            auth, belonging = SessionAuth(self._signer), Belonging(self._source)
            self._http = self._make_client(auth=auth, belonging=belonging)
        return self._http

    @property
    def back_channel(self) -> BackChannel:
        """The session's way to the authorization server, for `OAuthClient.begin`."""
        return self._asking.endpoint

    def attach(self, client: ClientT) -> ClientT:
        """Sign the requests of a client of your own, of httpx or httpx2, and return it.

        It sets the client's ``auth`` and nothing else; you close the client. Its cookies stay when
        the login ends, and are sent with the next login's token unless you drop them.

        Args:
          client: An ``AsyncClient``. Its ``base_url``, if it has one, must be of an origin that may
              have the token.

        Raises:
          OriginError: Its ``base_url`` may not have the token.
          RuntimeError: Another open session signs it: use one client for each session.
          TypeError: It is not an ``AsyncClient`` of httpx or httpx2.
          trio.ClosedResourceError: The session is closed.
        """
        self._machine.check_here()
        self._machine.check_open()
        return attach(self._signer, client)

    # --- tokens ----------------------------------------------------------------------------

    async def token(self, valid_for: float = 0.0) -> str:
        """Return the access token, after a refresh if one is needed.

        Use it where no HTTP client is involved: for a WebSocket, gRPC, a subprocess.

        Args:
          valid_for: Seconds that the token must still be valid, 0 by default. If the server gives
              shorter lifetimes, a token that is still fresh is returned.

        Cancellation:
          Safe. You stop waiting; a refresh goes on.

        Raises:
          LoggedOutError: There is no login; log in again.
          RefreshUnavailableError: A refresh was needed and failed; try later, see ``retry_at``.
          GrantMisconfiguredError: The server does not accept this client; mend the configuration.
          trio.ClosedResourceError: The session is closed.
          ValueError: ``valid_for`` is negative or NaN.
        """
        self._machine.check_here()
        await trio.lowlevel.checkpoint()
        if isinstance(valid_for, bool) or not isinstance(valid_for, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(f"valid_for must be seconds as a number, not {valid_for!r}")
        if not valid_for >= 0:
            raise ValueError(f"valid_for must be zero or more seconds, not {valid_for}")
        generation = self._source.fresh(valid_for)
        if generation is None:
            generation = await self._source.obtain(valid_for=valid_for)
        return generation.tokens.access_token

    def token_nowait(self) -> str:
        """Return the access token if that needs no waiting. Not a checkpoint.

        If the token is early or stale, or has been refused, a refresh starts in the background.

        Raises:
          trio.WouldBlock: `token` would wait for a refresh.
          LoggedOutError: As `token`, and so the others.
          RefreshUnavailableError: As `token`.
          GrantMisconfiguredError: As `token`.
          trio.ClosedResourceError: As `token`.
        """
        self._machine.check_here()
        return self._source.obtain_nowait().tokens.access_token

    async def refresh(self) -> None:
        """Renew the token now, or wait for the refresh that is already in the air.

        Within ``cooldown`` seconds of a failed refresh (`RefreshPolicy`) the server is not asked
        again, and this raises the failure.

        Cancellation:
          Safe. You stop waiting; the refresh goes on.

        Raises:
          LoggedOutError: As `token`, and so the others.
          RefreshUnavailableError: As `token`.
          GrantMisconfiguredError: As `token`.
          trio.ClosedResourceError: As `token`.
        """
        self._machine.check_here()
        await trio.lowlevel.checkpoint()
        await self._source.refresh()

    def reject(self, generation: int) -> None:
        """Report that a server refused a token outside httpx, as a WebSocket does with code 4401.

        Not a checkpoint. The next task that needs a token waits for a newer one. Idempotent; a
        report of an older generation is ignored. So are reports, except for one per pause, after
        ``max_futile`` refreshes (`RefreshPolicy`) whose tokens were reported within a minute.

        Args:
          generation: The number of the refused token: `Session.generation`, read just after `token`
              has returned. (If it is read before, `token` may renew, and return a later one.) For a
              request it is ``response.extensions["trioauth"].generation``.
        """
        self._machine.check_here()
        self._signer.report(generation)

    async def wait_logged_out(self) -> LoggedOut:
        """Wait until the login ends, and return its `LoggedOut`. Return at once without a login.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          trio.ClosedResourceError: The session is closed, or was closed while waiting.
        """
        machine = self._machine
        machine.check_here()
        await trio.lowlevel.checkpoint()
        machine.check_open()
        if (generation := generation_of(machine.state)) is None:
            state = self.state
            assert isinstance(state, LoggedOut)  # noqa: S101  # an open session without a login
            return state
        await (login := generation.login).ended.wait()
        if login.outcome is None:
            machine.raise_ended(login)
        return login.outcome

    async def wait_logged_in(self) -> LoggedIn:
        """Wait until there is a login, and return its `LoggedIn`. Return at once if there is one.

        With ``store=``, a login that another process has begun counts, too: the store is read once
        a second.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          trio.ClosedResourceError: The session is closed, or was closed while waiting.
        """
        machine, source = self._machine, self._source
        machine.check_here()
        await trio.lowlevel.checkpoint()
        pause = 1.0 if source.vault.shared else math.inf
        while True:
            machine.check_open()
            if isinstance(state := self.state, LoggedIn):
                return state
            changed = machine.changed
            if not await source.look():
                with trio.move_on_after(pause):
                    await changed.wait()

    @asynccontextmanager
    async def open_nursery(self) -> AsyncGenerator[trio.Nursery, None]:
        """Open a nursery that is cancelled when the login ends.

        The block then raises `LoggedOutError` itself, not in a group. Other exceptions are in a
        group, as with any nursery; the `LoggedOutError` of each task is left out of it.

        Cancellation:
          As any nursery: everything in it is cancelled.

        Raises:
          LoggedOutError: There is no login, or it ended.
          RefreshUnavailableError: There is no login yet, and the grant can't begin one now.
          GrantMisconfiguredError: As before, and the server does not accept this client.
          trio.ClosedResourceError: The session is closed, or was closed.
        """
        machine = self._machine
        machine.check_here()
        await trio.lowlevel.checkpoint()
        login = (generation_of(machine.state) or await self._source.obtain()).login
        others: BaseException | None = None
        scope = trio.CancelScope()
        login.scopes.add(scope)
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    yield nursery
        except BaseExceptionGroup as group:
            if not login.ended.is_set():
                raise
            # Each task may have raised it. One for the block is enough, and is raised below.
            _, others = group.split(LoggedOutError)
        finally:
            login.scopes.discard(scope)
        if others is not None:
            raise others
        if login.ended.is_set():
            machine.raise_ended(login)

    # --- logging in and out ----------------------------------------------------------------

    async def log_in(
        self, tokens: Tokens | Callable[[BackChannel], Awaitable[Tokens]] | None = None
    ) -> None:
        """Begin a new login. The login before, if there is one, ends with the reason ``replaced``.

        The old login is not revoked, because some servers would revoke the new tokens with it. To
        revoke it, call `log_out` first.

        Args:
          tokens: One of three. The first tokens. Or an async function that takes `back_channel` and
              returns tokens, by asking a person, such as ``client.browser()``. Or None, the
              default, to ask the grant, if it needs no human. Only one task asks at a time: other
              tasks that call this with a function or None wait for its login.

        Cancellation:
          All or nothing. While tokens are being obtained, nothing has happened yet. From then on
          the login is completed without you.

        Raises:
          TypeError: ``tokens``, or what the function returned, is not `Tokens`.
          StoreError: The store can't save the login. With a function: before a person is asked.
              Otherwise afterwards: the login has begun, and lasts as long as the session.
          trio.TooSlowError: The grant took longer than `RefreshPolicy.timeout`.
          LoggedOutError: `log_out` was called before it was complete.
          trio.ClosedResourceError: The session is closed.
          Exception: What the function or the grant raised; the session is as it was.
        """
        machine = self._machine
        machine.check_here()
        await trio.lowlevel.checkpoint()
        machine.check_open()
        if isinstance(tokens, Tokens):
            await self._asking.begin(tokens, asked_at=machine.clock.now())
            return
        check_obtains(tokens, unattended=self._unattended)
        await self._asking.obtain(tokens)

    async def log_out(self, *, revoke: bool = True) -> None:
        """End the login: first the state, at once; then the store; then the server.

        Tasks that wait for a token get `LoggedOutError` before the first checkpoint of this call.
        If the store or the server can't be told, this raises nothing: observers get
        `events.NotSaved` or `events.NotRevoked`. Without a login nothing happens.

        Args:
          revoke: Whether the grant, if it can, revokes the tokens (RFC 7009), in at most
              ``close_grace`` seconds. True by default.

        Cancellation:
          Safe. The session is logged out already; the store and the server are told without you.

        Raises:
          trio.ClosedResourceError: The session is closed.
        """
        self._machine.check_here()
        self._machine.check_open()
        flight = self._flights.log_out(revoke=revoke)
        await trio.lowlevel.checkpoint()
        if flight is not None:
            await flight.wait_landed()

    def _forget_cookies(self) -> None:
        if self._http is not None:
            self._http.forget_cookies()

    async def _close_clients(self) -> None:
        with trio.move_on_after(CLOSING, shield=True):
            try:
                await self._asking.endpoint.aclose()
            finally:
                if self._http is not None:
                    await self._http.aclose()
