"""Session: an HTTP client session that stays logged in, and open_session, its only door."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, cast, final

import attrs
import httpx
import trio

from . import _challenge
from ._auth import ClientT, attach
from ._belonging import Belonging
from ._client import ClientMethods, SessionClient
from ._client_options import NETWORK_OPTIONS, ClientOptions
from ._endpoint import TokenEndpoint
from ._errors import LoggedOutError, careful
from ._flight import Generation
from ._httpx import SessionAuth
from ._keeper import Keeper
from ._network import EndpointClient, check_proxy
from ._origins import Origins
from ._policy import RefreshPolicy
from ._state import (
    Board,
    Closed,
    LoggedIn,
    LoggedOut,
    TakeOff,
    airborne,
    held,
    on_refresh,
    seen,
)
from ._tokens import Tokens, no_tokens
from ._vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from ._grant import Grant
    from ._store import TokenStore
    from .events import Observer

_DEFAULT_POLICY = RefreshPolicy()

# How long leaving waits for connections to be closed properly (TLS close_notify), in seconds.
_GOODBYE = 1.0


@final
@attrs.frozen
class Statistics:
    """What a session looks like inside, at one moment. Nothing here is secret."""

    generation: int
    """The number of the tokens now in use; 0 when logged out."""
    state: LoggedIn | LoggedOut
    """As `Session.state`."""
    tasks_waiting: int
    """Tasks that wait for the refresh in the air."""
    refreshes: int
    """Refreshes that were started."""
    retries: int
    """Requests that were sent again after a 401."""
    rejections: int
    """Generations that were refused before they expired."""
    seconds_until_expiry: float | None
    """Life left in the access token; None if unknown or logged out."""
    saved: bool
    """Whether the store has the newest news."""
    last_failure: str | None
    """What the last refresh failed with; None if it landed.

    Of an exception that is neither ours nor the operating system's, only its name and the line it
    came from: what it says may hold a secret.
    """


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

    def __init__(self, keeper: Keeper, make_client: Callable[[], SessionClient]) -> None:
        self._keeper = keeper
        self._make_client = make_client
        self._http: SessionClient | None = None

    def __repr__(self) -> str:
        return f"<trioauth.Session {self.state} at {id(self):#x}>"

    # --- looking ---------------------------------------------------------------------------

    @property
    def state(self) -> LoggedIn | LoggedOut:
        """Whether there is a login: `LoggedIn` or `LoggedOut`. After closing, the last one."""
        return seen(self._keeper.state)

    @property
    def generation(self) -> int:
        """The number of the tokens now in use; 0 when logged out."""
        state = self.state
        return state.generation if isinstance(state, LoggedIn) else 0

    def statistics(self) -> Statistics:
        """Return what the session looks like inside. Not a checkpoint."""
        keeper = self._keeper
        generation, flight, failure = (
            held(keeper.state),
            airborne(keeper.state),
            keeper.last_failure,
        )
        expires_in: float | None = None
        if generation is not None and generation.tokens.expires_in is not None:
            expires_in = generation.expires_at - keeper.clock.now()
        return Statistics(
            generation=self.generation,
            state=self.state,
            tasks_waiting=0 if flight is None else flight.passengers,
            refreshes=keeper.refreshes,
            retries=keeper.retries,
            rejections=keeper.rejections,
            seconds_until_expiry=expires_in,
            saved=keeper.vault.pending is None,
            last_failure=careful(failure) or None,
        )

    def explain(self) -> str:
        """Say for a person what the session is up to, in a few lines. Not a checkpoint.

        Whether it is logged in, and if not, why; why and when it last refreshed, who waited, and
        how that ended; whether the store has the newest; what happens next; and what happened
        lately. Works at any time, after the session was closed, too. There is no secret in it.
        The wording may change: programs ask `state` and `statistics`.

        Returns:
          Text for `print`, a log or a notebook, where it shows itself line by line.
        """
        from ._explain import explain, look

        return explain(look(self._keeper))

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
        self._keeper.check_open()
        # Some of what takes a client closes it when it is closed itself.
        if self._http is None or self._http.is_closed:
            self._http = self._make_client()
        return self._http

    def attach(self, client: ClientT) -> ClientT:
        """Sign the requests of a client of your own, of httpx or httpx2, and return it.

        Sets its ``auth`` and leaves the rest alone; closing it stays yours.

        Args:
          client: An ``AsyncClient``. Its ``base_url``, if any, must be of the session's origins.

        Raises:
          OriginError: Its ``base_url`` may not have the token.
          TypeError: It is no ``AsyncClient`` of httpx or httpx2.
          trio.ClosedResourceError: The session is closed.
        """
        self._keeper.check_open()
        return attach(self._keeper, client)

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
        await trio.lowlevel.checkpoint()
        if isinstance(valid_for, bool) or not isinstance(valid_for, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            raise TypeError(f"valid_for must be seconds as a number, not {valid_for!r}")
        if not valid_for >= 0:
            raise ValueError(f"valid_for must be zero or more seconds, not {valid_for}")
        generation = self._keeper.fresh(valid_for)
        if generation is None:
            generation = await self._keeper.obtain(valid_for=valid_for)
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
        return self._keeper.at_hand().tokens.access_token

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
        await trio.lowlevel.checkpoint()
        keeper = self._keeper
        decision = on_refresh(keeper.state, now=keeper.clock.now())
        match decision:
            case Board(flight):
                pass
            case TakeOff(cause):
                flight = keeper.take_off(cause)
            case failure:
                keeper.fail(failure)
        landing = await keeper.board(flight)
        if not isinstance(landing, Generation):
            keeper.fail(landing)
        keeper.check_open()

    def reject(self, generation: int) -> None:
        """Report that a server refused a generation, where httpx can't see it. Not a checkpoint.

        A WebSocket that was closed with 4401, say. The next who needs a token gets a newer one.
        Idempotent; late news, of an older generation than the current one, is ignored.

        Args:
          generation: What `Session.generation` was when `token` had returned it. (Not before: a
              token that was renewed just then has a later number.) Of a request:
              ``response.extensions["trioauth"].generation``.
        """
        self._keeper.reject(generation)

    async def wait_logged_out(self) -> LoggedOut:
        """Wait until the login ends, and return how. At once if there is none.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          trio.ClosedResourceError: The session is closed, or was closed while waiting.
        """
        await trio.lowlevel.checkpoint()
        keeper = self._keeper
        keeper.check_open()
        generation, state = held(keeper.state), self.state
        if generation is None:
            return state if isinstance(state, LoggedOut) else keeper.fail(Closed(state))
        await generation.login.over.wait()
        return generation.login.outcome or keeper.fail(Closed(state))

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
        await trio.lowlevel.checkpoint()
        keeper = self._keeper
        login = (held(keeper.state) or await keeper.obtain()).login
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
            keeper.fail(login.outcome or Closed(self.state))

    # --- logging in and out ----------------------------------------------------------------

    async def log_in(
        self, tokens: Tokens | Callable[[TokenEndpoint], Awaitable[Tokens]] | None = None
    ) -> None:
        """Begin a new login. One that there was ends with the reason ``replaced``.

        Args:
          tokens: The first tokens; or an async function that obtains them from a human, given the
              session's `TokenEndpoint`; or None to ask the grant, if it needs no human.

        Cancellation:
          All or nothing. While tokens are being obtained, nothing has happened yet. From then on
          the login is completed without you.

        Raises:
          TypeError: Those are no tokens.
          trio.TooSlowError: The grant took longer than `RefreshPolicy.timeout`.
          LoggedOutError: `log_out` was called before it was complete.
          trio.ClosedResourceError: The session is closed.
          Exception: Whatever the function raises; the session is as it was.
        """
        await trio.lowlevel.checkpoint()
        keeper = self._keeper
        keeper.check_open()
        began, took = trio.current_time(), 0.0
        if not isinstance(tokens, Tokens):
            tokens = await self._obtain_first(tokens)
            keeper.check_open()
            # A human may have taken half an hour: what counts is the last request.
            if keeper.endpoint.asked_at >= began:
                took = trio.current_time() - keeper.endpoint.asked_at
        await keeper.begin(tokens, asked_at=keeper.clock.now() - took)
        keeper.check_open()

    async def _obtain_first(
        self, obtain: Callable[[TokenEndpoint], Awaitable[Tokens]] | None
    ) -> Tokens:
        keeper = self._keeper
        if obtain is None and keeper.unattended:
            # Never called twice at once.
            with trio.fail_after(keeper.policy.timeout):
                async with keeper.lock:
                    return _checked(await keeper.grant(None, keeper.endpoint))
        if obtain is None:
            raise TypeError("log_in() needs tokens=: this grant can't get the first ones itself")
        if not callable(obtain):
            kind = no_tokens(obtain)
            raise TypeError(f"tokens must be trioauth.Tokens or an async function, not {kind}")
        answer = obtain(keeper.endpoint)
        if not isinstance(answer, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
            kind = _kind(answer)
            raise TypeError(f"what obtains the tokens must be async; it returned {kind} at once")
        # No deadline: a human takes the time it takes.
        return _checked(await answer)

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
        keeper = self._keeper
        keeper.check_open()
        flight = keeper.log_out(revoke=revoke)
        await trio.lowlevel.checkpoint()
        if flight is not None:
            await flight.wait_landed()

    def _forget_cookies(self) -> None:
        if self._http is not None:
            self._http.forget_cookies()

    async def _close_clients(self) -> None:
        with trio.move_on_after(_GOODBYE, shield=True):
            try:
                await self._keeper.endpoint.aclose()
            finally:
                if self._http is not None:
                    await self._http.aclose()


# Not itself decorated with asynccontextmanager: mypy 1.10 takes no client_options of what is.
def open_session(
    grant: Grant,
    *,
    tokens: Tokens | None = None,
    store: TokenStore | None = None,
    base_url: str = "",
    origins: Iterable[str] = (),
    policy: RefreshPolicy = _DEFAULT_POLICY,
    observers: Iterable[Observer] = (),
    is_rejected: Callable[[Any], bool] = _challenge.is_rejected,
    **client_options: Unpack[ClientOptions],
) -> AbstractAsyncContextManager[Session]:
    """Open an HTTP client session that stays logged in while the block runs.

    Use it like this::

        async with trioauth.open_session(grant, base_url="https://api.example.com") as session:
            response = await session.get("/me")

    Exceptions from the block come out as themselves, never wrapped in a group.

    Args:
      grant: How tokens are obtained without a human: `RefreshTokenGrant`, `ClientCredentialsGrant`,
          `BearerRefreshGrant`, or any async function like `Grant`. Never called twice at once.
      tokens: Start logged in with these, whatever the store says. For the first run after a human
          logged in; later ones leave it to the store.
      store: Where tokens are kept between runs and shared with other processes, such as
          `FileStore`. By default they are kept in memory.
      base_url: As `httpx.AsyncClient` has it. Its origin may have the token.
      origins: Others that may, such as ``"https://files.example.com"``. (One redirect httpx does
          not take for one to elsewhere: from http to https of the same loopback host.)
      policy: When to refresh, how often to try, how long to wait.
      observers: Functions that are told what happens; see `trioauth.events`.
      is_rejected: Says of a response whether it refuses the token, so that a refresh may help.
          By default a 401 does, unless its challenges say otherwise (`trioauth.challenge`).
      client_options: Those of `httpx.AsyncClient`. The ones that say how to reach the network
          (``transport``, ``mounts``, ``proxy``, ``verify``, ``cert``, ``trust_env``, ``http1``,
          ``http2``) hold for the token endpoint, too. Plain http to loopback never goes through a
          proxy, whatever the environment says; where a transport in ``mounts`` leads is yours to
          know. ``cookies`` are those that each login begins with.

    Cancellation:
      Delayed, for up to ``close_grace`` seconds, if a refresh is in the air when you leave: a
      server that rotates refresh tokens has already forgotten the old one. Then it is cancelled.
      Nothing is left running.

    Raises:
      ValueError: There is no origin, or one that can't be trusted with a token; or ``proxy``
          would have to carry plain http.
      TypeError: An argument is of the wrong kind.
      RuntimeError: This is not trio: ``trio.run`` starts the program.
      StoreError: The store can't be read. Nothing was overwritten.
    """
    if callable(observers):
        raise TypeError("observers must be several functions, not one: observers=[...]")
    told = tuple(observers)
    _check_kinds(grant, tokens, store, policy, told, is_rejected)
    _check_options(client_options)
    allowed = Origins.of(base_url, origins)
    check_proxy(client_options, allowed, grant)
    if store is None:
        from .stores import MemoryStore

        store = MemoryStore()
    network: Any = {k: v for k, v in client_options.items() if k in NETWORK_OPTIONS}
    # A refresh a minute is not worth a connection that may have gone stale meanwhile: then nobody
    # would know whether the refresh token has been used.
    network["limits"] = httpx.Limits(max_keepalive_connections=0)
    make_keeper = partial(
        Keeper,
        grant=grant,
        vault=Vault(store),
        endpoint=TokenEndpoint(partial(EndpointClient, **network)),
        origins=allowed,
        policy=policy,
        is_rejected=is_rejected,
        observers=told,
    )
    make_client = partial(SessionClient, base_url=base_url, **client_options)
    return _keep_open(make_keeper, make_client, tokens)


@asynccontextmanager
async def _keep_open(
    make_keeper: Callable[..., Keeper],
    make_client: Callable[..., SessionClient],
    tokens: Tokens | None,
) -> AsyncGenerator[Session, None]:
    """Keep a session open while the block runs: the inside of `open_session`."""
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "a session needs trio: open it in what trio.run(...) runs (asyncio has no trio in it); "
            "in a notebook, %load_ext trioauth.notebook"
        )
    clients = AsyncExitStack()
    crash: BaseException | None = None
    try:
        # Outside the nursery: what goes wrong in closing them belongs to no group either.
        async with clients, trio.open_nursery() as nursery:
            keeper = make_keeper(
                nursery=nursery,
                forget_cookies=lambda: session._forget_cookies(),  # noqa: PLW0108  # made below
            )
            session: Session = type.__call__(
                Session,
                keeper,
                partial(
                    make_client,
                    auth=SessionAuth(keeper),
                    belonging=Belonging(keeper),
                ),
            )
            clients.push_async_callback(session._close_clients)
            try:
                await keeper.open(tokens)
                yield session
            except BaseException as exc:
                crash = exc
                raise
            finally:
                await keeper.close()  # noqa: ASYNC102  # shielded, and bounded, inside
                nursery.cancel_scope.cancel(reason="trioauth: the session is closed")
    except BaseExceptionGroup as group:
        # The one that the nursery made. No task of ours raises, so it holds the block's exception
        # and perhaps a cancellation; unless somebody pressed Control-C in a grant, say.
        others = [exc for exc in group.exceptions if not isinstance(exc, trio.Cancelled)]
        if len(others) > 1:
            raise
        if crash is None or (others and _is_cancellation(crash)):
            crash = (others or group.exceptions)[0]
        # The block's own exception, and not what trio may have made of a group.
        _reraise(crash)


def _check_kinds(  # noqa: PLR0917  # the arguments of open_session, in its order
    grant: object,
    tokens: object,
    store: object,
    policy: object,
    observers: tuple[object, ...],
    is_rejected: object,
) -> None:
    """Name what is of the wrong kind before anything happens."""
    if not callable(grant) or isinstance(grant, type):
        raise TypeError(f"grant must be a grant or an async function, not {_kind(grant)}")
    if tokens is not None and not isinstance(tokens, Tokens):
        raise TypeError(f"tokens must be trioauth.Tokens, not {no_tokens(tokens)}")
    methods = [getattr(store, name, None) for name in ("lock", "load", "save")]
    if isinstance(store, type) or (store is not None and not all(map(callable, methods))):
        raise TypeError(f"store must be a TokenStore, such as FileStore, not {_kind(store)}")
    if not isinstance(policy, RefreshPolicy):
        raise TypeError(f"policy must be a trioauth.RefreshPolicy, not {_kind(policy)}")
    if not all(map(callable, observers)):
        raise TypeError("observers must be functions of one argument, the event")
    if not callable(is_rejected):
        raise TypeError(f"is_rejected must be a function of a response, not {_kind(is_rejected)}")


def _check_options(client_options: ClientOptions) -> None:
    """Name an option that httpx would refuse only when its client is made."""
    if "auth" in client_options:
        raise TypeError("auth= is what the session is for; per request, auth=None sends unsigned")
    if unknown := sorted(client_options.keys() - ClientOptions.__annotations__.keys()):
        raise TypeError(f"open_session() has no option {', '.join(unknown)}")


def _checked(tokens: object) -> Tokens:
    if not isinstance(tokens, Tokens):
        kind = no_tokens(tokens)
        raise TypeError(f"what obtains the tokens must return trioauth.Tokens, not {kind}")
    return tokens


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_cancellation(exc: BaseException) -> bool:
    """Say whether it is nothing else: a block with a nursery in it raises a whole group of them."""
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return all(map(_is_cancellation, group.exceptions))
    return isinstance(exc, trio.Cancelled)


def _reraise(exc: BaseException) -> NoReturn:
    """Raise an exception as it was, without the group around it as its context."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        # Or the traceback holds the frame, and the frame the exception.
        del exc, context
