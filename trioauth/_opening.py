"""open_session: how a session is put together, opened and closed.

1. `open_session` checks its arguments, and makes what needs no trio: a `_Plan`.
2. ``async with`` opens the only nursery. `_Plan.build` puts the parts together, from the lowest to
   the highest; where a lower part must call a higher one, it is given a function here.
3. `_start` begins as the arguments or the store say.
4. At the end flights get ``close_grace`` seconds, then the nursery is cancelled, then the clients
   are closed. The block's exception comes out as itself (P19).
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, cast, final

import attrs
import httpx
import trio

from ._core.asking import Asking
from ._core.flights import Flights
from ._core.login_state import LoggedOut
from ._core.logins import Logins
from ._core.machine import Machine
from ._core.policy import RefreshPolicy
from ._core.records import Records
from ._core.renewal import Renewal
from ._core.source import TokenSource
from ._core.state import Vacant, on_log_in
from ._core.timers import Timers
from ._core.vault import Vault
from ._errors import StoreError
from ._http import challenge as _challenge
from ._http.auth_httpx import SessionAuth
from ._http.belonging import Belonging
from ._http.client import SessionClient
from ._http.signing import Signer
from ._network.options import NETWORK_OPTIONS, ClientOptions
from ._network.pools import EndpointClient, check_proxy
from ._origins import Origins
from ._session import Session
from ._tokens import Tokens, no_tokens
from .oauth._endpoint import TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType

    from .events import Observer
    from .oauth._grant import Grant
    from .stores._contract import TokenStore

_DEFAULT_POLICY = RefreshPolicy()

_NOT_ASYNC = {
    "is_rejected": "is_rejected must say True or False at once; it is an async function",
    "observers": "observers must not be async: they are called, and not awaited",
}


# Not decorated with asynccontextmanager itself: mypy 1.10 would lose **client_options.
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

    Exceptions of the block come out as themselves, never wrapped in a group.

    Args:
      grant: How tokens are obtained without a human: `RefreshTokenGrant`, `ClientCredentialsGrant`,
          `BearerRefreshGrant`, or any async function like `Grant`. Never called twice at once.
      tokens: Start a login with these, whatever the store has. For the first run, after a human has
          logged in; later runs leave it out, and use the store.
      store: Where tokens are kept between runs and shared with other processes, such as
          `FileStore`. By default they are kept in memory.
      base_url: As for `httpx.AsyncClient`. Its origin may have the token.
      origins: Other origins that may have the token, such as ``"https://files.example.com"``. After
          a redirect from one origin to another, httpx removes the token even if both are listed
          (except from http to https of the same loopback host): a 401 there has ``not_ours``.
          Send a request to the other origin itself instead.
      policy: When to refresh, how often to try, how long to wait; see `RefreshPolicy` for the
          defaults.
      observers: Functions that are called with each event; see `trioauth.events`.
      is_rejected: Takes a response, and says whether it refuses the token, so that a refresh may
          help. By default a 401 does, unless its challenges say otherwise (`trioauth.challenge`).
      client_options: The options of `httpx.AsyncClient`, except ``auth``. Those that say how to
          reach the network (``transport``, ``mounts``, ``proxy``, ``verify``, ``cert``,
          ``trust_env``, ``http1``, ``http2``) hold for the token endpoint, too. Plain http to
          loopback never goes through a proxy of the environment; what a transport in ``mounts``
          does is up to you. Each login begins with ``cookies``.

    Cancellation:
      Delayed, for up to ``close_grace`` seconds, if a refresh is in the air when you leave: a
      server that rotates refresh tokens has already dropped the old one. Then the refresh is
      cancelled. Nothing is left running.

    Raises:
      ValueError: There is no origin, or one that must not have a token (plain http to another
          host); or ``proxy`` would carry plain http to loopback.
      TypeError: An argument is of the wrong kind; the message names it.
      RuntimeError: This does not run in trio: start the program with ``trio.run``.
      StoreError: The store can't be read, or has another client's login. Nothing was saved.
    """
    if callable(observers):
        raise TypeError("observers must be several functions, not one: observers=[...]")
    told = tuple(observers)
    _check_kinds(grant, tokens, store, policy, told, is_rejected)
    _check_options(client_options)
    allowed = Origins.of(base_url, origins)
    check_proxy(client_options, allowed, grant)
    shared = store is not None
    if store is None:
        from .stores import MemoryStore

        store = MemoryStore()
    network: Any = {k: v for k, v in client_options.items() if k in NETWORK_OPTIONS}
    # Never reuse connections to the token endpoint: if a stale one breaks, we can't know whether
    # the refresh token was used.
    network["limits"] = httpx.Limits(max_keepalive_connections=0)
    plan = _Plan(
        grant=grant,
        vault=Vault(store, owner=getattr(grant, "owner", "") or "", shared=shared),
        endpoint=TokenEndpoint(partial(EndpointClient, **network)),
        origins=allowed,
        policy=policy,
        is_rejected=is_rejected,
        observers=told,
        make_client=partial(SessionClient, base_url=base_url, **client_options),
    )
    return _Opening(_keep_open(plan, tokens))


@final
class _Opening(AbstractAsyncContextManager["Session"]):
    """What `open_session` returns: for one ``async with``, and for nothing else."""

    __slots__ = ("_block", "_entered")

    def __init__(self, block: AbstractAsyncContextManager[Session]) -> None:
        self._block = block
        self._entered = False

    # Control-C is held back while the session opens and closes; the next checkpoint raises it.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Session:
        if self._entered:
            raise RuntimeError(
                "this session was opened before, and is good for one async with block; call "
                "trioauth.open_session(...) again for another"
            )
        self._entered = True
        return await self._block.__aenter__()  # the other half is below

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._block.__aexit__(kind, value, traceback)  # noqa: ASYNC102  # as `_keep_open` says

    if not TYPE_CHECKING:  # pragma: no branch  # it is so whenever this runs
        # Hidden from type checkers: with a __getattr__, each mistyped name would type-check.
        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_") or not hasattr(Session, name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(
                "this session is not open yet; write: "
                f"async with trioauth.open_session(...) as session, and then session.{name}"
            )


@final
@attrs.frozen(kw_only=True)
class _Plan:
    """All that a session is put together from, once there is a nursery."""

    grant: Grant
    vault: Vault
    endpoint: TokenEndpoint
    origins: Origins
    policy: RefreshPolicy
    is_rejected: Callable[[Any], bool]
    observers: tuple[Observer, ...]
    make_client: Callable[..., SessionClient]

    @property
    def unattended(self) -> bool:
        """Whether the grant can also obtain the first tokens, without a human."""
        return getattr(self.grant, "unattended", False)

    def build(self, nursery: trio.Nursery) -> tuple[Session, Records, Timers]:
        """Put the parts together, from the lowest to the highest. Not a checkpoint."""
        machine = Machine(
            self.policy,
            Vacant() if self.unattended else LoggedOut("never_logged_in"),
            self.observers,
        )
        lock = trio.Lock()
        records = Records(machine, self.vault, getattr(self.grant, "needs_refresh_token", False))
        logins = Logins(machine, records, self.vault, self.grant, self.endpoint, lock)
        renewal = Renewal(
            machine, records, self.vault, self.grant, self.endpoint, lock, logins.revoke_late
        )
        flights = Flights(machine, renewal, logins, nursery)
        logins.cancel_renewals_unless = flights.cancel_renewals_unless
        timers = Timers(machine, flights, self.vault)
        records.save_later = timers.save_later
        source = TokenSource(machine, flights, self.vault)
        signer = Signer(source, self.origins, self.is_rejected)
        session: Session = type.__call__(
            Session,
            source,
            signer,
            Asking(machine, flights, self.endpoint),
            partial(self.make_client, auth=SessionAuth(signer), belonging=Belonging(source)),
            unattended=self.unattended,
        )
        machine.forget_cookies = session._forget_cookies
        return session, records, timers


async def _start(
    plan: _Plan, session: Session, records: Records, timers: Timers, tokens: Tokens | None
) -> None:
    """Begin with ``tokens``, else as the store says, else without a login."""
    machine, vault, policy = session._machine, plan.vault, plan.policy
    asked_at = machine.clock.now()
    try:
        with trio.fail_after(policy.timeout):
            record = await vault.look()
    except trio.TooSlowError:
        raise StoreError(
            f"the token store gave no answer within {policy.timeout} seconds "
            "(RefreshPolicy.timeout); see why it hangs"
        ) from None
    if tokens is not None:
        await session._flights.begin(tokens, asked_at=asked_at).wait_landed()
    elif record is not None and record.tokens is not None:
        generation = records.restore(record, record.tokens)
        machine.become(on_log_in(machine.state, generation))
    elif record is not None and not plan.unattended:
        # A record of version 0.1.0 does not say why; another process has written it.
        machine.become(LoggedOut(record.ended or "elsewhere", at_unix=record.ended_at_unix))
    if policy.keep_fresh:
        session._flights.start_soon(timers.keep_fresh)


@asynccontextmanager
async def _keep_open(plan: _Plan, tokens: Tokens | None) -> AsyncGenerator[Session, None]:
    """Open a session, keep it open while the block runs, and close it."""
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "a session needs trio: open it in what trio.run(...) runs (asyncio has no trio in it); "
            "in a notebook, %load_ext trioauth.notebook"
        )
    clients = AsyncExitStack()
    crash: BaseException | None = None
    try:
        # The clients are closed outside the nursery, so that an error there is in no group.
        async with clients, trio.open_nursery() as nursery:
            session, records, timers = plan.build(nursery)
            clients.push_async_callback(session._close_clients)
            try:
                await _start(plan, session, records, timers, tokens)
                yield session
            except BaseException as exc:
                crash = exc
                raise
            finally:
                await session._flights.close()  # noqa: ASYNC102  # shielded, and bounded, inside
                nursery.cancel_scope.cancel(reason="trioauth: the session is closed")
    except BaseExceptionGroup as group:
        # The nursery made this group. Tasks of ours don't raise, so it holds the block's exception
        # and perhaps a cancellation; or else Control-C, pressed while a grant or a store ran.
        others = [exc for exc in group.exceptions if not isinstance(exc, trio.Cancelled)]
        if len(others) > 1:
            raise
        if crash is None or (others and (_is_cancellation(crash) or _is_exit(others[0]))):
            crash = (others or group.exceptions)[0]
        # The block's own exception object, also if that is a group, which trio may have rebuilt.
        _reraise(crash)


def _check_kinds(  # noqa: PLR0917  # the arguments of open_session, in its order
    grant: object,
    tokens: object,
    store: object,
    policy: object,
    observers: tuple[object, ...],
    is_rejected: object,
) -> None:
    """Raise `TypeError` for an argument of the wrong kind, before anything happens."""
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
    for name, function in (("is_rejected", is_rejected), *(("observers", o) for o in observers)):
        if iscoroutinefunction(function) or iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # its own, if it is an object
        ):
            raise TypeError(_NOT_ASYNC[name])
    if not callable(is_rejected):
        raise TypeError(f"is_rejected must be a function of a response, not {_kind(is_rejected)}")


def _check_options(client_options: ClientOptions) -> None:
    """Raise `TypeError` for an unknown option: httpx would do so only when its client is made."""
    if "auth" in client_options:
        raise TypeError("auth= is what the session is for; per request, auth=None sends unsigned")
    if unknown := sorted(client_options.keys() - ClientOptions.__annotations__.keys()):
        raise TypeError(f"open_session() has no option {', '.join(unknown)}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_cancellation(exc: BaseException) -> bool:
    """Say whether this is a cancellation, or a group of cancellations from a nursery."""
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return all(map(_is_cancellation, group.exceptions))
    return isinstance(exc, trio.Cancelled)


def _is_exit(exc: BaseException) -> bool:
    """Say whether this ends the program, such as Control-C: no other exception may hide it."""
    return not isinstance(exc, Exception | BaseExceptionGroup)


def _reraise(exc: BaseException) -> NoReturn:
    """Raise an exception without making the group around it its ``__context__``."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        # Else traceback and frame keep each other alive.
        del exc, context
