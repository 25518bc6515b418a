"""Sessions: the sessions of many logins in one program. Made only by `open_sessions`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, final

import attrs
import trio

from ._http.attach import ClientT, attach_keyed
from ._session import Opened, Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from ._members import Member, Members
    from ._origins import Origins
    from ._tokens import Tokens
    from .oauth.channel import BackChannel


@final
@attrs.frozen
class SessionsStatistics:
    """The figures of `Sessions` at one moment. Nothing here is secret."""

    in_memory: int
    """Keys whose session is in memory, used or idle, or about to be."""
    idle: int
    """Those of them that are not used now."""
    opening: int
    """Those of them that wait for the store."""
    opened: int
    """Sessions that were opened since the beginning. A key counts each time."""
    dropped: int
    """Sessions that were dropped because they were idle."""
    failed: int
    """Openings that failed, because the store did."""
    asking: int
    """Refreshes, first tokens and revocations for which the authorization server is asked now."""
    queued: int
    """Those that wait for their turn, because ``max_asking`` are there already."""
    asked: int
    """How often it was asked since the beginning."""


@final
class Sessions(metaclass=Opened):
    """The sessions of many logins, by key; opened by `trioauth.open_sessions`.

    Whatever the number of keys, there is one nursery, one connection pool, one TLS context and one
    client for the authorization server. A key whose session is idle costs its record in the store,
    and nothing else.
    """

    __slots__ = ("__weakref__", "_keys", "_members")

    def __init__(self, members: Members) -> None:
        self._members = members
        self._keys = _Keys(members)

    def __repr__(self) -> str:
        count = len(self._members.table)
        state = "closed" if self._members.closed else f"{count} in memory"
        return f"<trioauth.Sessions, {state} at {id(self):#x}>"

    def use(self, key: str) -> AbstractAsyncContextManager[Session]:
        """Use the session of a key in a block: ``async with sessions.use(key) as session``.

        All tasks that use one key at the same time share one `Session`, with all its promises. It
        is opened when it is first used, and dropped from memory when no task has used it for
        ``idle`` seconds; so don't keep it beyond the block.

        Args:
          key: Whose login: any text of 1 to 1,024 characters, such as the number of a user.

        Cancellation:
          Safe. While a session is opened, you stop waiting; leaving never waits.

        Checkpoints:
          None if the session is in memory, except that a cancelled task is told.

        Raises:
          StoreError: The record of this key can't be read, or is another client's. Nothing stays:
              the next use tries again.
          ValueError: The key is empty, too long, or has characters that can't be stored.
          TypeError: The key is no str.
          trio.ClosedResourceError: The block of `open_sessions` was left.
        """
        return _Use(self._members, key)

    async def log_in(
        self,
        key: str,
        tokens: Tokens | Callable[[BackChannel], Awaitable[Tokens]] | None = None,
    ) -> None:
        """Begin a new login of a key, as `Session.log_in` does.

        Args:
          key: Whose.
          tokens: Tokens, or a function that obtains them, such as the second half of a log-in by a
              web application: ``client.finish(begun, url)``. None asks the grant, if it needs no
              human.

        Cancellation:
          All or nothing. While tokens are being obtained, nothing has happened yet. From then on
          the login is completed without you.

        Raises:
          Exception: As `use`, then as `Session.log_in`.
        """
        async with self.use(key) as session:
            await session.log_in(tokens)

    async def log_out(self, key: str, *, revoke: bool = True) -> None:
        """End the login of a key, as `Session.log_out` does. Without one nothing happens.

        Args:
          key: Whose.
          revoke: Whether the grant, if it can, revokes the tokens (RFC 7009). True by default.

        Cancellation:
          Safe. While the session is opened, nothing has happened yet. From then on it is logged
          out, and the store and the server are told without you.

        Raises:
          Exception: As `use`.
        """
        async with self.use(key) as session:
            await session.log_out(revoke=revoke)

    @property
    def back_channel(self) -> BackChannel:
        """The way to the authorization server, for `OAuthClient.begin`: it belongs to no key."""
        return self._members.plan.endpoint

    def attach(self, client: ClientT) -> ClientT:
        """Sign the requests of one client of your own for many keys, and return it.

        Each request says whose it is: ``client.get(url, extensions={"trioauth.key": "user-17"})``.
        The session of that key is opened if need be, and not dropped before the response is closed.
        A request without a key raises `ValueError`, and is not sent.

        It sets the client's ``auth``; you close the client. Its cookie jar takes no more cookies
        from servers: a cookie that was set for one key would go along with the requests of others.

        Args:
          client: An ``AsyncClient`` of httpx or httpx2. Its ``base_url``, if it has one, must be of
              an origin that may have the token.

        Raises:
          OriginError: Its ``base_url`` may not have the token.
          RuntimeError: Another open session signs it.
          TypeError: It is not an ``AsyncClient`` of httpx or httpx2.
          trio.ClosedResourceError: The block of `open_sessions` was left.
        """
        self._members.check()
        return attach_keyed(self._keys, client)

    def statistics(self) -> SessionsStatistics:
        """Return the figures of all sessions at this moment. Not a checkpoint."""
        members, queue = self._members, self._members.plan.queue
        return SessionsStatistics(
            in_memory=len(members.table),
            idle=len(members.resting),
            opening=members.opening,
            opened=members.opened,
            dropped=members.dropped,
            failed=members.failed,
            asking=queue.asking,
            queued=queue.queued,
            asked=queue.asked,
        )


@final
class _Use(AbstractAsyncContextManager[Session]):
    """One use of the session of a key. A class: an async generator would take twice as long."""

    __slots__ = ("_key", "_member", "_members")

    def __init__(self, members: Members, key: str) -> None:
        self._members = members
        self._key = key
        self._member: Member | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Session:
        if self._member is not None:
            raise RuntimeError("call sessions.use(key) again for another async with block")
        self._member = await self._members.take(self._key)
        return self._member.session

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(  # noqa: ASYNC910  # it waits for nothing
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._member is not None  # noqa: S101  # it was entered
        self._member.release()


@final
@attrs.frozen(eq=False, repr=False)
class _Keys:
    """The sessions, as the auth of an attached client sees them."""

    _members: Members

    @property
    def origins(self) -> Origins:
        return self._members.plan.origins

    @property
    def closed(self) -> bool:
        return self._members.closed

    async def pin(self, key: str) -> Member:
        return await self._members.take(key)
