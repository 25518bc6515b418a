"""open_session: how a session is put together, opened, and closed."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, cast, final

import attrs
import httpx
import trio

from . import _challenge
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
from ._http.auth_httpx import SessionAuth
from ._http.belonging import Belonging
from ._http.client import SessionClient
from ._http.signing import Signer
from ._network.options import NETWORK_OPTIONS, ClientOptions
from ._network.pools import EndpointClient, check_proxy
from ._origins import Origins
from ._session import Session
from ._tokens import Tokens, no_tokens
from .oauth.channel import TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType

    from .events import Observer
    from .oauth.grant import Grant
    from .stores._contract import TokenStore

_DEFAULT_POLICY = RefreshPolicy()

_NOT_ASYNC = {
    "is_rejected": "is_rejected must say True or False at once; it is an async function",
    "observers": "observers must not be async: they are called, and not awaited",
}


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
          not take for one to elsewhere: from http to https of the same loopback host.) A redirect
          from one origin to another arrives without the token even if both are listed, because
          httpx takes it away there: the 401 says ``not_ours``, and a request for the other origin
          itself is signed.
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
    shared = store is not None
    if store is None:
        from .stores import MemoryStore

        store = MemoryStore()
    network: Any = {k: v for k, v in client_options.items() if k in NETWORK_OPTIONS}
    # Never reuse connections to the token endpoint: if a stale one breaks, nobody knows whether the
    # refresh token was used.
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
    """What `open_session` returns: good for one ``async with``, and for nothing else."""

    __slots__ = ("_block", "_entered")

    def __init__(self, block: AbstractAsyncContextManager[Session]) -> None:
        self._block = block
        self._entered = False

    # Control-C waits until the session is open, or closed: the next checkpoint raises it.
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
        # Hidden from type checkers, to which it would say that there is every name.
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
    """What a session is put together from, once there is a nursery."""

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
        """Whether the grant can obtain the first tokens, too."""
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
        logins.ground = flights.ground
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
    """Start as ``tokens`` say, or else as the store says."""
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
        # A record from before 0.1.0 does not say why: it has only been seen in a shared store.
        machine.become(LoggedOut(record.ended or "elsewhere", at_unix=record.ended_at_unix))
    if policy.keep_fresh:
        session._flights.start_soon(timers.keep_fresh)


@asynccontextmanager
async def _keep_open(plan: _Plan, tokens: Tokens | None) -> AsyncGenerator[Session, None]:
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
        # The one that the nursery made. No task of ours raises, so it holds the block's exception
        # and perhaps a cancellation; unless somebody pressed Control-C in a grant, say.
        others = [exc for exc in group.exceptions if not isinstance(exc, trio.Cancelled)]
        if len(others) > 1:
            raise
        if crash is None or (others and (_is_cancellation(crash) or _is_exit(others[0]))):
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
    for name, function in (("is_rejected", is_rejected), *(("observers", o) for o in observers)):
        if iscoroutinefunction(function) or iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # its own, if it is an object
        ):
            raise TypeError(_NOT_ASYNC[name])
    if not callable(is_rejected):
        raise TypeError(f"is_rejected must be a function of a response, not {_kind(is_rejected)}")


def _check_options(client_options: ClientOptions) -> None:
    """Name an option that httpx would refuse only when its client is made."""
    if "auth" in client_options:
        raise TypeError("auth= is what the session is for; per request, auth=None sends unsigned")
    if unknown := sorted(client_options.keys() - ClientOptions.__annotations__.keys()):
        raise TypeError(f"open_session() has no option {', '.join(unknown)}")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_cancellation(exc: BaseException) -> bool:
    """Say whether it is nothing else: a block with a nursery in it raises a whole group of them."""
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return all(map(_is_cancellation, group.exceptions))
    return isinstance(exc, trio.Cancelled)


def _is_exit(exc: BaseException) -> bool:
    """Say whether it ends the program, such as Control-C: no other exception may hide it."""
    return not isinstance(exc, Exception | BaseExceptionGroup)


def _reraise(exc: BaseException) -> NoReturn:
    """Raise an exception as it was, without the group around it as its context."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        # Or the traceback holds the frame, and the frame the exception.
        del exc, context
