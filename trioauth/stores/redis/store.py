"""RedisStore: many logins on a Redis server, for programs on many hosts.

1. Each login is a hash: the record, its generation, and a fencing number. `save` compares and swaps
   in one script.
2. The lock is a lease: a key that expires by the server's clock. What a lease can't give, the
   fence and the compare-and-swap catch, at the latest in `save`: see docs/howto/redis.md.
3. A lease is released by a task of the store, so that no caller waits for a server that hangs.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, final

import attrs
import trio

from trioauth.stores._contract import check_key
from trioauth.stores._forget import A_DAY, forget
from trioauth.stores._turns import Turns

from .hints import Hints
from .login import RedisLogin, Terms
from .url import Target, read_url

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from .connected import Connected


def _check_seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be seconds as a number, not {type(value).__name__}")
    if not 0.001 <= value <= 86400:  # a millisecond, a day
        raise ValueError(f"{attribute.name} must be seconds, more than 0 and at most a day")


def _check_replicas(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError(f"{attribute.name} must be a whole number from 0 to 100")


def _check_prefix(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    if not value.isprintable() or set("{}*?[]\\ ") & set(value):
        # Braces would choose the hash slot, and an ACL reads the others as patterns.
        raise ValueError(
            f"{attribute.name} must be printable characters, and no space and none of {{}}*?[]\\"
        )


@final
@attrs.define(eq=False, repr=False)
class RedisStore:
    """Keep many logins on a Redis server, for programs on many hosts.

    ::

        async with trioauth.RedisStore("rediss://user:password@redis.example.com/0") as store:
            async with trioauth.open_session(grant, store=store.at("user-17")) as session:
                ...

    It needs coredis (``pip install "trioauth[redis]"``) and Redis 6 or newer, or Valkey. It keeps
    one connection to each server, whatever the number of logins. The records are in the clear on
    the server, under ``prefix`` and the key.

    The lock of a login is a lease that expires after ``lease`` seconds by the server's clock. It is
    renewed once, by `probe`, just before the refresh token is sent, and not in the background: so
    the lease must be longer than ``RefreshPolicy.timeout``. A session that comes back after its
    lease was given to another one can't save until it has the lock again.

    Args:
      url: ``redis://user:password@host:6379/0``, or ``rediss://`` for TLS; ``unix:///path?db=0``;
          ``redis+sentinel://user:password@host:26379,host:26379/service/0``, or with
          ``?sentinel_username=&sentinel_password=`` if the Sentinels want a password, too;
          ``redis+cluster://host:6379,host:6379``. User and password are percent-encoded.
      prefix: What the names of all keys and of the channel begin with. Default "trioauth:".
      lease: How many seconds a lock lasts if its holder dies. Default 60.
      timeout: How many seconds one operation may take, connecting included. Default 5.
      replicas: How many replicas must confirm each save, so that a failover to one of them loses
          nothing. Default 0. If fewer do, `save` raises; the record is on the primary all the same.
      tls: The TLS context for ``rediss``. By default the system's certificates are trusted.

    Raises:
      ValueError: An argument is out of range, or the URL can't be used. It is not quoted.
      TypeError: An argument is of the wrong type.
    """

    _target: Target = attrs.field(converter=read_url, alias="url")
    prefix: str = attrs.field(
        default="trioauth:",
        kw_only=True,
        validator=_check_prefix,
        on_setattr=attrs.setters.frozen,
    )
    lease: float = attrs.field(
        default=60, kw_only=True, validator=_check_seconds, on_setattr=attrs.setters.frozen
    )
    """How many seconds a lock lasts if its holder dies."""
    _timeout: float = attrs.field(
        default=5, kw_only=True, validator=_check_seconds, alias="timeout"
    )
    _replicas: int = attrs.field(
        default=0, kw_only=True, validator=_check_replicas, alias="replicas"
    )
    _tls: ssl.SSLContext | None = attrs.field(default=None, kw_only=True, alias="tls")
    _hints: Hints = attrs.field(factory=Hints, init=False)
    _terms: Terms = attrs.field(init=False)
    _seen: int = attrs.field(default=0, init=False)
    _open: Connected | None = attrs.field(default=None, init=False)
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _was_open: bool = attrs.field(default=False, init=False)

    def __repr__(self) -> str:
        return f"<RedisStore of {self._target}>"

    def __attrs_post_init__(self) -> None:
        self._terms = Terms(
            self._target,
            self.prefix,
            self.lease,
            self._timeout,
            self._replicas,
            Turns(),
            self._hints,
            self._connected,
        )

    # Control-C is held back while the store opens and closes; the next checkpoint raises it.
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        """Open the store. It connects when it is first used.

        Cancellation:
          Safe. Nothing is left open.

        Raises:
          RuntimeError: It is open, or was; make another one.
          ModuleNotFoundError: coredis is not installed.
        """
        if self._was_open:
            raise RuntimeError("a RedisStore can be opened once: make another one")
        # Only now: coredis takes a quarter of a second to import, and may not be installed.
        try:
            from .connected import connect
        except ModuleNotFoundError as exc:
            raise ModuleNotFoundError(
                'RedisStore needs coredis: pip install "trioauth[redis]"', name=exc.name
            ) from exc

        self._was_open = True
        self._open = await self._stack.enter_async_context(
            connect(
                self._target,
                timeout=self._timeout,
                tls=self._tls,
                hints=self._hints,
                channel=f"{self.prefix}changed",
            )
        )
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the store, as `aclose` does.

        Cancellation:
          Delayed, by a second at most: leases that were just given back are released.
        """
        self._mark_closed()
        # Shielded, and bounded, inside.
        await self._stack.__aexit__(kind, value, traceback)  # noqa: ASYNC102

    async def aclose(self) -> None:
        """Close all connections. What still uses the store gets `trio.ClosedResourceError`.

        Leaving the ``async with`` block does the same.

        Cancellation:
          Delayed, by a second at most: leases that were just given back are released.
        """
        opened = self._mark_closed()
        if opened is None:
            await trio.lowlevel.checkpoint()
        else:
            await opened.close()

    def at(self, key: str) -> RedisLogin:
        """Return the store of one login. Not a checkpoint.

        Args:
          key: Which login: 1 to 1,024 characters. It is a part of the names of two Redis keys.

        Raises:
          ValueError: The key is empty, too long, or has characters that can't be stored.
          TypeError: The key is no str.
        """
        return RedisLogin(self._terms, check_key(key), seen=self._hints.number)

    async def forget(self, key: str, *, ended_for: float = A_DAY) -> bool:
        """Delete the record of a login that has ended; say whether there is none any more.

        A login that lasts is left alone, and so is one that has ended only now: False. Let it end
        first, with `Sessions.log_out`, which removes the tokens at once.

        Args:
          key: Whose login.
          ended_for: How many seconds ago it must have ended, at least. Default a day. It must be
              longer than an access token lives: a session of another process that has not yet seen
              that the login ended would save it anew.

        Cancellation:
          All or nothing.

        Raises:
          StoreError: The record can't be read or deleted. A damaged one is left as it is.
          ValueError: It is no key, or ``ended_for`` is negative or not finite.
          TypeError: The key is no str, or ``ended_for`` is no number.
        """
        return await forget(self.at(key), ended_for)

    async def changed(self) -> str | None:
        """Wait for a hint that a record may have changed, and return its key; None: any may have.

        The first call subscribes to the hints. Up to 1,000 keys are kept for the next call, then
        they become one None. Hints may be lost, doubled or forged.

        Cancellation:
          Safe. No hint is lost.
        """
        self._connected().listen()
        # Of this call: a hint that another task has got since is for this one, too.
        seen = self._seen
        await trio.lowlevel.checkpoint()
        while (found := self._hints.after(seen)) is None:
            await self._hints.wait(None)
            # Closing wakes the tasks that wait.
            self._connected()
        key, seen = found
        self._seen = max(self._seen, seen)
        return key

    def _mark_closed(self) -> Connected | None:
        opened, self._open = self._open, None
        # So that the tasks that wait for a hint see it.
        self._hints.give(None)
        return opened

    def _connected(self) -> Connected:
        opened = self._open
        if opened is None:
            if self._was_open:
                raise trio.ClosedResourceError("this RedisStore is closed")
            raise RuntimeError(
                "this RedisStore is not open: use it inside `async with RedisStore(...) as store:`"
            )
        opened.check_run()
        return opened

    def _check_open(self) -> None:
        """Raise what each use of a store that is not open raises: `open_sessions` asks."""
        self._connected()
