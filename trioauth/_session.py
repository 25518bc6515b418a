"""Session: an HTTP client session that stays logged in. `open_session` is its only door."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, final

import trio

from ._core.asking import check_obtains
from ._core.login_state import LoggedIn, LoggedOut
from ._core.state import held, seen
from ._core.statistics import Statistics, take_statistics
from ._errors import LoggedOutError
from ._http.attach import ClientT, attach
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
_GOODBYE = 1.0


class Opened(type):
    """Metaclass for what you get from ``open_something()``: calling the class says so."""

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        name = cls.__qualname__
        raise TypeError(f"{name} has no constructor; use: async with open_{name.lower()}(...)")


@final
class Session(ClientMethods, metaclass=Opened):
    """An HTTP client session that stays logged in; opened by `trioauth.open_session`.

    Its methods `get`, `post`, `put`, `patch`, `delete`, `head`, `options`,
    `request`, `stream`, `send` and `build_request` are those of
    `httpx.AsyncClient`, with the same signatures. Beyond what httpx raises, they
    raise `LoggedOutError`, `RefreshUnavailableError`, `GrantMisconfiguredError`
    and `OriginError`. If one is cancelled while it waits for a refresh, the
    refresh goes on.
    """

    def __init__(
        self,
        source: TokenSource,
        signer: Signer,
        asking: Asking,
        make_client: Callable[[], SessionClient],
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

    # --- looking ---------------------------------------------------------------------------

    @property
    def state(self) -> LoggedIn | LoggedOut:
        """Whether there is a login: `LoggedIn` or `LoggedOut`. After closing, the last one."""
        return seen(self._machine.state)

    @property
    def logged_in(self) -> bool:
        """Whether there is a login."""
        return isinstance(self.state, LoggedIn)

    @property
    def generation(self) -> int:
        """The number of the tokens now in use; 0 when logged out."""
        state = self.state
        return state.generation if isinstance(state, LoggedIn) else 0

    def statistics(self) -> Statistics:
        """Return what the session looks like inside. Not a checkpoint."""
        return take_statistics(self._source, resent=self._signer.resent)

    def explain(self) -> str:
        """Say for a person what the session is up to, in a few lines. Not a checkpoint.

        Whether it is logged in, and if not, why; why and when it last refreshed, who waited, and
        how that ended; whether the store has the newest; what happens next; and what happened
        lately. Works at any time, after the session was closed, too. There is no secret in it.
        The wording may change: programs ask `state` and `statistics`.
        """
        from ._core.explain import explain, look

        futile = self._signer.evidence.forbids(self._machine.clock.now())
        return explain(look(self._source, futile=futile))

    # --- HTTP ------------------------------------------------------------------------------

    @property
    def http(self) -> httpx.AsyncClient:
        """The authenticated client, to hand to whatever takes one. The session closes it.

        Made when first asked for; its connection pool with the first request. ``auth=None`` sends
        a request without the token.

        A request waits for a connection for as long as ``timeout=`` says, in seconds, here or in
        `open_session`; 30 if neither says anything, without end with ``pool=None``. With
        ``http2=True``, or a transport of your own, httpx's pool is waited for instead.

        Raises:
          trio.ClosedResourceError: The session is closed.
        """
        self._machine.check_here()
        self._machine.check_open()
        # Some of what takes a client closes it when it is closed itself.
        if self._http is None or self._http.is_closed:
            self._http = self._make_client()
        return self._http

    @property
    def back_channel(self) -> BackChannel:
        """The session's way to the authorization server, for `OAuthClient.begin`."""
        return self._asking.endpoint

    def attach(self, client: ClientT) -> ClientT:
        """Sign the requests of a client of your own, of httpx or httpx2, and return it.

        Sets its ``auth`` and leaves the rest alone; closing it stays yours. So do its cookies:
        they stay when the login ends, and go along with the next one's token, unless you drop them.

        Args:
          client: An ``AsyncClient``. Its ``base_url``, if any, must be of the session's origins.

        Raises:
          OriginError: Its ``base_url`` may not have the token.
          RuntimeError: Another session signs it, and is still open: take a client for each.
          TypeError: It is no ``AsyncClient`` of httpx or httpx2.
          trio.ClosedResourceError: The session is closed.
        """
        self._machine.check_here()
        self._machine.check_open()
        return attach(self._signer, client)

    # --- tokens ----------------------------------------------------------------------------

    async def token(self, valid_for: float = 0.0) -> str:
        """Return the access token, renewed if need be.

        For what does not go through an HTTP client: a WebSocket, gRPC, a subprocess.

        Args:
          valid_for: Seconds it should be good for, at least. Where that is more than the server
              gives at all, the best there is is returned.

        Cancellation:
          Safe. You stop waiting; a refresh goes on for everybody else.

        Raises:
          LoggedOutError: There is no login; log in again.
          RefreshUnavailableError: It had to be renewed, and that can't be done now; try later.
          GrantMisconfiguredError: The server does not know this client; mend the configuration.
          trio.ClosedResourceError: The session is closed.
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
        """Return the access token if it is at hand. Not a checkpoint.

        If it expires soon, or is not at hand, a refresh is started in the background.

        Raises:
          trio.WouldBlock: One would have to wait for a refresh.
          LoggedOutError: As `token`, and so the others.
          RefreshUnavailableError: As `token`.
          GrantMisconfiguredError: As `token`.
          trio.ClosedResourceError: As `token`.
        """
        self._machine.check_here()
        return self._source.at_hand().tokens.access_token

    async def refresh(self) -> None:
        """Renew the token now, or wait for the refresh that is in the air already.

        Within `RefreshPolicy.cooldown` of a failed refresh the server is not asked again.

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
        await self._source.renewed()

    def reject(self, generation: int) -> None:
        """Report that a server refused a generation, where httpx can't see it. Not a checkpoint.

        A WebSocket that was closed with 4401, say. The next who needs a token gets a newer one.
        Idempotent; late news, of an older generation than the current one, is ignored. So is
        news of each new token within a minute, after `RefreshPolicy.max_futile` of them, but for
        one per pause: then refreshing is of no use.

        Args:
          generation: What `Session.generation` was when `token` had returned it. (Not before: a
              token that was renewed just then has a later number.) Of a request:
              ``response.extensions["trioauth"].generation``.
        """
        self._machine.check_here()
        self._signer.report(generation)

    async def wait_logged_out(self) -> LoggedOut:
        """Wait until the login ends, and return how. At once if there is none.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          trio.ClosedResourceError: The session is closed, or was closed while waiting.
        """
        machine = self._machine
        machine.check_here()
        await trio.lowlevel.checkpoint()
        machine.check_open()
        login = None if (generation := held(machine.state)) is None else generation.login
        if login is None:
            state = self.state
            assert isinstance(state, LoggedOut)  # noqa: S101  # an open session without a login
            return state
        await login.over.wait()
        if login.outcome is None:
            machine.fail_ended(login)
        return login.outcome

    async def wait_logged_in(self) -> LoggedIn:
        """Wait until there is a login, and return it. At once if there is one.

        With a store that the program has passed, a login that is made elsewhere counts, too: the
        store is looked into once a second.

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
            state = self.state
            if isinstance(state, LoggedIn):
                return state
            changed = machine.changed
            if not await source.look():
                with trio.move_on_after(pause):
                    await changed.wait()

    @asynccontextmanager
    async def open_nursery(self) -> AsyncGenerator[trio.Nursery, None]:
        """Open a nursery that lives as long as the login.

        When the login ends, everything in the block is cancelled, and the block raises
        `LoggedOutError`, bare. Other exceptions come as from any nursery, in a group; a
        `LoggedOutError` of a task that met the end of the login itself is left out of it.

        Cancellation:
          As any nursery: everything in it is cancelled.

        Raises:
          LoggedOutError: There is no login, or it ended.
          RefreshUnavailableError: There is none yet, and the grant can't get one now.
          GrantMisconfiguredError: There is none yet, and the server does not know this client.
          trio.ClosedResourceError: The session is closed, or was closed.
        """
        machine = self._machine
        machine.check_here()
        await trio.lowlevel.checkpoint()
        login = (held(machine.state) or await self._source.obtain()).login
        others: BaseException | None = None
        scope = trio.CancelScope()
        login.scopes.add(scope)
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    yield nursery
        except BaseExceptionGroup as group:
            if not login.over.is_set():
                raise
            # Five hundred tasks that met the end of the login have one thing to say.
            _, others = group.split(LoggedOutError)
        finally:
            login.scopes.discard(scope)
        if others is not None:
            raise others
        if login.over.is_set():
            machine.fail_ended(login)

    # --- logging in and out ----------------------------------------------------------------

    async def log_in(
        self, tokens: Tokens | Callable[[BackChannel], Awaitable[Tokens]] | None = None
    ) -> None:
        """Begin a new login. One that there was ends with the reason ``replaced``.

        That one is not revoked: some servers would revoke the new tokens along with the old. Call
        `log_out` first if it should be.

        Args:
          tokens: The first tokens; or an async function that obtains them, given `back_channel`; or
              None to ask the grant, if it needs no human. One task asks at a time: others that
              call this with a function wait for its login.

        Cancellation:
          All or nothing. While tokens are being obtained, nothing has happened yet. From then on
          the login is completed without you.

        Raises:
          TypeError: Those are no tokens.
          StoreError: The login could not be kept. Of a function: before it is called, so no person
              is asked for nothing. Otherwise afterwards: the login has begun, and lasts as long as
              the session.
          trio.TooSlowError: The grant took longer than `RefreshPolicy.timeout`.
          LoggedOutError: `log_out` was called before it was complete.
          trio.ClosedResourceError: The session is closed.
          Exception: Whatever the function raises; the session is as it was.
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
        """End the login: the state at once, then the store, then the server.

        Whoever waits for a token is told before the first checkpoint of this call. That the store
        or the server could not be told is no error here: observers get `events.NotSaved` and
        `events.NotRevoked`. Without a login nothing happens.

        Args:
          revoke: Whether the grant should revoke the tokens, if it can (RFC 7009). Takes
              ``close_grace`` seconds at most.

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
        with trio.move_on_after(_GOODBYE, shield=True):
            try:
                await self._asking.endpoint.aclose()
            finally:
                if self._http is not None:
                    await self._http.aclose()
