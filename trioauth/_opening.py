"""open_session: how a session is put together, opened and closed.

1. `open_session` checks its arguments, and makes what needs no trio: a `Plan`.
2. ``async with`` opens the only nursery (``_block``). `Plan.build` puts the parts together, from
   the lowest to the highest; where a lower part must call a higher one, it is given a function.
3. `start` begins as the arguments or the store say.
4. At the end flights get ``close_grace`` seconds, then the nursery is cancelled, then the clients
   are closed.

The sessions of many keys (``_members``) are put together and started in the same way; they share
what is one for a program: the nursery, the clients, and the queue for the authorization server.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, final

import attrs
import httpx
import trio

from . import _challenge
from ._arguments import check_kinds, check_options, check_store, read_observers
from ._block import Opening
from ._core.asking import Asking
from ._core.flights import Flights
from ._core.here import Here
from ._core.hints import Hints
from ._core.login_state import LoggedOut
from ._core.logins import Logins
from ._core.machine import Machine
from ._core.policy import RefreshPolicy
from ._core.queue import ServerQueue
from ._core.records import Records
from ._core.renewal import Renewal
from ._core.source import TokenSource
from ._core.state import Vacant, on_log_in
from ._core.timers import Timers
from ._core.vault import Vault
from ._errors import StoreError
from ._http.client import SessionClient
from ._http.signing import Signer
from ._network.options import NETWORK_OPTIONS, ClientOptions
from ._network.pools import EndpointClient, check_proxy
from ._origins import Origins
from ._session import Session
from ._tokens import Tokens, no_tokens
from .oauth.channel import TokenEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ._core.key import Key
    from .events import Observer
    from .oauth.grant import Grant
    from .stores._contract import TokenStore

DEFAULT_POLICY = RefreshPolicy()


# Not decorated with asynccontextmanager itself: mypy 1.10 would lose **client_options.
def open_session(
    grant: Grant,
    *,
    tokens: Tokens | None = None,
    store: TokenStore | None = None,
    base_url: str = "",
    origins: Iterable[str] = (),
    policy: RefreshPolicy = DEFAULT_POLICY,
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
    told = read_observers(observers)
    check_kinds(grant, policy, told, is_rejected)
    if tokens is not None and not isinstance(tokens, Tokens):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
        raise TypeError(f"tokens must be trioauth.Tokens, not {no_tokens(tokens)}")
    check_store(store, ("lock", "load", "save"), "TokenStore, such as FileStore")
    check_options(client_options, ClientOptions.__annotations__, "open_session")
    allowed = Origins.of(base_url, origins)
    check_proxy(client_options, allowed, grant)
    shared = store is not None
    if store is None:
        from .stores import MemoryStore

        store = MemoryStore()
    plan = Plan(
        grant=grant,
        endpoint=open_endpoint(client_options),
        origins=allowed,
        policy=policy,
        is_rejected=is_rejected,
        observers=told,
        make_client=partial(SessionClient, base_url=base_url, **client_options),
    )
    vault = Vault(store, owner=owner_of(grant), shared=shared)
    return Opening(partial(_Life, plan, vault, tokens), Session, "open_session")


def owner_of(grant: object) -> str:
    """Return whose records a grant works with; "" if it does not say."""
    return getattr(grant, "owner", "") or ""


def open_endpoint(client_options: Mapping[str, Any]) -> TokenEndpoint:
    """Make the client for the authorization server, with the options that hold for it, too."""
    network: Any = {k: v for k, v in client_options.items() if k in NETWORK_OPTIONS}
    # Never reuse connections to the token endpoint: if a stale one breaks, we can't know whether
    # the refresh token was used.
    network["limits"] = httpx.Limits(max_keepalive_connections=0)
    return TokenEndpoint(partial(EndpointClient, **network))


@final
class _Life:
    """The life of one session, as the block sees it."""

    def __init__(
        self, plan: Plan, vault: Vault, tokens: Tokens | None, nursery: trio.Nursery
    ) -> None:
        self._plan = plan
        self._tokens = tokens
        self._parts = plan.build(nursery, vault)
        self._session = self._parts[0]

    async def begin(self) -> Session:
        await start(self._plan, *self._parts, self._tokens)
        return self._session

    async def end(self) -> None:
        await self._session._flights.close()

    async def close_clients(self) -> None:
        await self._session._close_clients()


@final
@attrs.frozen(kw_only=True)
class Plan:
    """What a program has once, and all of its sessions are put together from."""

    grant: Grant
    endpoint: TokenEndpoint
    origins: Origins
    policy: RefreshPolicy
    is_rejected: Callable[[Any], bool]
    observers: tuple[Observer, ...]
    make_client: Callable[..., SessionClient]
    queue: ServerQueue = attrs.field(factory=ServerQueue)

    @property
    def unattended(self) -> bool:
        """Whether the grant can also obtain the first tokens, without a human."""
        return getattr(self.grant, "unattended", False)

    def build(
        self,
        nursery: trio.Nursery,
        vault: Vault,
        key: Key | None = None,
        here: Here | None = None,
    ) -> tuple[Session, Records, Timers]:
        """Put the parts together, from the lowest to the highest. Not a checkpoint.

        Args:
          nursery: Where the flights run.
          vault: The store of this login.
          key: Whose session it is, if the program has many.
          here: What `Here` all of these have.
        """
        grant, queue = self.grant, self.queue
        # One of its own for each login: the life of tokens counts from what it has asked last.
        endpoint = self.endpoint if key is None else self.endpoint.share()
        machine = Machine(
            self.policy,
            Vacant() if self.unattended else LoggedOut("never_logged_in"),
            self.observers,
            here=here or Here(),
            key=key,
        )
        lock = trio.Lock()
        records = Records(machine, vault, getattr(grant, "needs_refresh_token", False))
        if key is not None:
            records.jitter = key.jitter
        logins = Logins(machine, records, vault, grant, endpoint, lock, queue)
        renewal = Renewal(machine, records, vault, grant, endpoint, lock, queue, logins.revoke_late)
        flights = Flights(machine, renewal, logins, nursery)
        logins.cancel_renewals_unless = flights.cancel_renewals_unless
        timers = Timers(machine, flights, vault)
        records.save_later = timers.save_later
        source = TokenSource(machine, flights, vault)
        signer = Signer(source, self.origins, self.is_rejected)
        session: Session = type.__call__(
            Session,
            source,
            signer,
            Asking(machine, flights, endpoint),
            self.make_client,
            unattended=self.unattended,
        )
        machine.forget_cookies = session._forget_cookies
        return session, records, timers


async def start(
    plan: Plan, session: Session, records: Records, timers: Timers, tokens: Tokens | None
) -> None:
    """Begin with ``tokens``, else as the store says, else without a login."""
    machine, vault, policy = session._machine, session._source.vault, plan.policy
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
    if vault.changed is not None and machine.key is None:
        # (The sessions of many keys have one task for the hints to all of them.)
        session._flights.start_soon(Hints(machine, session._flights, vault.changed).follow)
