"""open_sessions: how the sessions of many keys are opened and closed together.

What a program has once is made here: the nursery, the client and its pool, the client for the
authorization server, and the queue for it. What a login has is made by ``_members``, when its key
is first used.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Unpack, final

import trio

from . import _challenge
from ._arguments import check_kinds, check_options, check_store, kind_of, read_observers
from ._block import Opening
from ._core.hints import HintSource
from ._core.queue import ServerQueue
from ._following import Following
from ._http.shared import SharedClient
from ._members import Members
from ._network.options import SharedOptions
from ._network.pools import check_proxy
from ._opening import DEFAULT_POLICY, Plan, open_endpoint
from ._origins import Origins
from ._session import CLOSING
from ._sessions import Sessions
from .stores._contract import changed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    import httpx

    from ._core.policy import RefreshPolicy
    from .events import Observer
    from .oauth.grant import Grant
    from .stores._contract import KeyedStore


# Not decorated with asynccontextmanager itself: mypy 1.10 would lose **client_options.
def open_sessions(
    grant: Grant,
    *,
    store: KeyedStore | None = None,
    base_url: str = "",
    origins: Iterable[str] = (),
    idle: float = 300,
    max_asking: int = 100,
    cookies: bool | httpx.Cookies | dict[str, str] | list[tuple[str, str]] = False,
    show_key: Callable[[str], str] | None = None,
    policy: RefreshPolicy = DEFAULT_POLICY,
    observers: Iterable[Observer] = (),
    is_rejected: Callable[[Any], bool] = _challenge.is_rejected,
    **client_options: Unpack[SharedOptions],
) -> AbstractAsyncContextManager[Sessions]:
    """Open sessions for many logins, such as those of the users of a web application.

    Use it like this::

        async with trioauth.open_sessions(client, store=store, base_url=url) as sessions:
            async with sessions.use("user-17") as session:
                response = await session.get("/me")

    The arguments that are not described here are those of `open_session`, and hold for each of the
    sessions.

    Args:
      grant: As for `open_session`. It is called for several keys at once, for each one once.
      store: Where the logins are kept, such as ``SQLiteStore``. By default they are kept in memory.
      base_url: As for `open_session`.
      origins: As for `open_session`.
      idle: Seconds after which a session that no task uses is dropped from memory; its login stays
          in the store. Default 300.
      max_asking: For how many keys the authorization server is asked at the same time; others wait
          in the order in which they came. Default 100.
      cookies: Whether a session keeps the cookies of servers, each key its own. False by default.
          Cookies themselves are what each login begins with.
      show_key: Takes a key, and returns how people see it, in the log and in errors. A key may be
          personal, so by default it is "key …" and the beginning of its hash.
      policy: As for `open_session`.
      observers: As for `open_session`; each event says whose it is, in ``key``.
      is_rejected: As for `open_session`.
      client_options: As for `open_session`, for the one client that all sessions share.

    Cancellation:
      Delayed, for up to ``close_grace`` seconds for all keys together, if refreshes are in the air
      when you leave. Nothing is left running.

    Raises:
      ValueError: As `open_session`; or ``idle`` is negative, or ``max_asking`` less than 1.
      TypeError: An argument is of the wrong kind; the message names it.
      RuntimeError: This does not run in trio: start the program with ``trio.run``; or the store is
          not open: a `RedisStore` needs an ``async with`` of its own, around this one.
    """
    told = read_observers(observers)
    check_kinds(grant, policy, told, is_rejected)
    check_store(store, ("at",), "KeyedStore, such as KeyedMemoryStore")
    check_options(client_options, SharedOptions.__annotations__, "open_sessions")
    _check_bounds(idle, max_asking, show_key)
    allowed = Origins.of(base_url, origins)
    check_proxy(client_options, allowed, grant)
    options: dict[str, Any] = {"base_url": base_url, **client_options}
    if not isinstance(cookies, bool):
        options["cookies"] = cookies
    shared = store is not None
    if store is None:
        from .stores import KeyedMemoryStore

        store = KeyedMemoryStore()
    client = SharedClient(keeps_cookies=cookies is not False, **options)
    plan = Plan(
        grant=grant,
        endpoint=open_endpoint(client_options),
        origins=allowed,
        policy=policy,
        is_rejected=is_rejected,
        observers=told,
        make_client=client.view,
        queue=ServerQueue(max_asking),
    )
    members = partial(Members, plan, store, shared=shared, idle=idle, show_key=show_key)
    return Opening(partial(_Life, members, client), Sessions, "open_sessions")


def _check_bounds(idle: object, max_asking: object, show_key: object) -> None:
    if isinstance(idle, bool) or not isinstance(idle, int | float):
        raise TypeError(f"idle must be seconds as a number, not {kind_of(idle)}")
    if not idle >= 0:
        raise ValueError(f"idle must be zero or more seconds, not {idle}")
    if isinstance(max_asking, bool) or not isinstance(max_asking, int):
        raise TypeError(f"max_asking must be a whole number, not {kind_of(max_asking)}")
    if max_asking < 1:
        raise ValueError(f"max_asking must be 1 or more, not {max_asking}")
    if show_key is not None and not callable(show_key):
        raise TypeError(f"show_key must be a function of a key, not {kind_of(show_key)}")


@final
class _Life:
    """The life of all sessions, as the block sees it."""

    def __init__(
        self, members: Callable[..., Members], client: SharedClient, nursery: trio.Nursery
    ) -> None:
        self._members = members(nursery=nursery)
        self._client = client

    async def begin(self) -> Sessions:
        members = self._members
        # A RedisStore that is not open raises here, once, and not in each use of a key.
        check_open: Callable[[], None] = getattr(members.store, "_check_open", lambda: None)
        check_open()
        members.nursery.start_soon(members.drop_idle)
        changed = changed_of(members.store) if members.shared else None
        if changed is not None:
            members.nursery.start_soon(Following(members, HintSource(changed)).follow)
        sessions: Sessions = type.__call__(Sessions, members)
        return sessions  # noqa: ASYNC910  # there is nothing to wait for

    async def end(self) -> None:
        await self._members.close()

    async def close_clients(self) -> None:
        with trio.move_on_after(CLOSING, shield=True):
            try:
                await self._members.plan.endpoint.aclose()
            finally:
                await self._client.aclose()
