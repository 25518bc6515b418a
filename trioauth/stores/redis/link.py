"""Connections to Redis servers: made when needed, shared by all requests, made anew when lost.

Built on the connections of coredis, and not on its pools: a pool of coredis 6.9 loses one of its
places when a task is cancelled while it connects, or when a leased connection is lost. It must also
be entered in the very task that the other tasks come from.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, final

import attrs
import trio
from anyio.abc import SocketAttribute
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import (
    BaseConnection,
    BaseConnectionParams,
    TCPConnection,
    TCPLocation,
    UnixDomainSocketConnection,
    UnixDomainSocketLocation,
)
from coredis.exceptions import (
    ConnectionError,  # noqa: A004  # the name that coredis gives it
    NoScriptError,
    PrimaryNotFoundError,
    RedisError,
    StalePrimaryError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from .scripts import Script
    from .url import Account, Address, Target

# How many connections wait at once for the replicas of one server to confirm a write.
_MOST_ALONE = 16


@final
@attrs.frozen
class Wire:
    """What one request is sent on."""

    connection: BaseConnection
    asking: bool = False
    """Whether the keys are just moving to this node of a Cluster, so that each command needs an
    ASKING before it."""

    async def send(self, command: bytes, *arguments: str | int) -> object:
        """Send a command, and return the answer.

        Raises:
          RedisError: The server refuses, or the connection is lost.

        Cancellation:
          Unsafe. The command may have reached the server.
        """
        if self.asking:
            # Not awaited: nothing may come between the two.
            self.connection.create_request(b"ASKING", raise_exceptions=False)
        return await self.connection.create_request(command, *arguments)

    async def run(self, script: Script, keys: tuple[str, ...], arguments: list[str]) -> object:
        """Run a script, and return what it returns; it is sent whole if the server lacks it.

        Raises:
          RedisError: As `send`.

        Cancellation:
          Unsafe. The script may run all the same.
        """
        rest: tuple[str | int, ...] = (len(keys), *keys, *arguments)
        try:
            return await self.send(b"EVALSHA", script.sha, *rest)
        except NoScriptError:
            return await self.send(b"EVAL", script.text, *rest)


@final
@attrs.define(eq=False)
class Link:
    """One connection to a server, for many requests at once."""

    _dial: Callable[[], Awaitable[BaseConnection]]
    _connection: BaseConnection | None = attrs.field(default=None, init=False)
    _dialing: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _spares: list[Link] = attrs.field(factory=list["Link"], init=False)
    _places: trio.CapacityLimiter = attrs.field(
        factory=lambda: trio.CapacityLimiter(_MOST_ALONE), init=False
    )

    async def connection(self) -> BaseConnection:
        """Return the connection; make one if there is none that works.

        Raises:
          RedisError: None can be made.

        Cancellation:
          Safe.
        """
        async with self._dialing:
            if self._connection is None or not self._connection.usable:
                self._connection = None
                self._connection = await self._dial()
            return self._connection

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[Link, None]:
        """Lend a link to the same server on which no other request waits behind this one."""
        async with self._places:
            link = self._spares.pop() if self._spares else Link(self._dial)
            try:
                yield link
            finally:
                self._spares.append(link)


@final
@attrs.define(eq=False)
class Dialer:
    """Makes connections. Their tasks are in the store's nursery, and never raise into it."""

    _target: Target
    _nursery: trio.Nursery
    _timeout: float
    _tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)

    async def dial(self, address: Address) -> BaseConnection:
        """Connect to a server, or to a node of a Cluster.

        Raises:
          RedisError: It can't be reached, or refuses.

        Cancellation:
          Safe. Nothing is left open.
        """
        target = self._target
        return await self._start(address, target.account, db=target.db, patience=self._timeout)

    async def dial_primary(self) -> BaseConnection:
        """Ask the Sentinels for the primary, and connect to it.

        Raises:
          RedisError: No Sentinel names one, it can't be reached, or it is not the primary.
          TimeoutError: The Sentinels hang.

        Cancellation:
          Safe. Nothing is left open.
        """
        problems: list[Exception] = []
        for sentinel in self._target.addresses:
            try:
                named = await self._ask_sentinel(sentinel)
            except (RedisError, TimeoutError) as exc:
                problems.append(exc)
                continue
            if named is not None:
                return await self._check_role(await self.dial(named))
        # If one of them answered, it knows no such service.
        if len(problems) == len(self._target.addresses):
            raise problems[-1]
        raise PrimaryNotFoundError

    async def _ask_sentinel(self, sentinel: Address) -> Address | None:
        target = self._target
        # One that hangs must leave time for the others, and for the primary.
        patience = self._timeout / (len(target.addresses) + 1)
        connection = await self._start(sentinel, target.sentinel_account, patience=patience)
        try:
            reply = await connection.create_request(
                b"SENTINEL GET-MASTER-ADDR-BY-NAME", target.service, timeout=patience
            )
        finally:
            connection.invalidate()
        if not isinstance(reply, list) or len(reply) != 2:  # host and port
            return None
        host, port = (each.decode() if isinstance(each, bytes) else str(each) for each in reply)
        return attrs.evolve(sentinel, host=host, port=int(port))

    @staticmethod
    async def _check_role(connection: BaseConnection) -> BaseConnection:
        # After a failover a Sentinel may name the former primary for a while.
        try:
            reply = await connection.create_request(b"ROLE")
            if isinstance(reply, list) and reply and reply[0] == b"master":
                return connection
            raise StalePrimaryError
        except BaseException:
            # It may not be asked (NOPERM), it hangs, or the request was cancelled, too.
            connection.invalidate()
            raise

    async def _start(
        self, address: Address, account: Account, *, patience: float, db: int = 0
    ) -> BaseConnection:
        if self._target.tls and self._tls is None:
            # In a thread: it reads all certificates of the system. coredis' own checks no names.
            self._tls = await trio.to_thread.run_sync(ssl.create_default_context)
        if self._nursery.cancel_scope.cancel_called:
            await trio.lowlevel.checkpoint()
            raise ConnectionError("the store is closed")
        connection = self._make(
            address,
            {
                "connect_timeout": patience,
                "stream_timeout": patience,
                "username": account.username,
                "password": account.password,
                "db": db,
                "ssl_context": self._tls if self._target.tls else None,
            },
        )
        return await _Made(connection).start(self._nursery)

    @staticmethod
    def _make(address: Address, params: BaseConnectionParams) -> BaseConnection:
        if address.is_path:
            return UnixDomainSocketConnection(UnixDomainSocketLocation(address.host), **params)
        location = TCPLocation(address.host, address.port)
        # Keepalive: a link that was cut while no request was sent is noticed by the system.
        return TCPConnection(location, socket_keepalive=True, **params)


def give_up(connection: BaseConnection) -> None:
    """Close a connection that can't be relied on, and drop what was not delivered. No checkpoint.

    Otherwise the system would go on delivering it: minutes later, when a link is mended, the server
    would give a lease to a request whose sender has long gone.
    """
    stream = connection.stream
    if stream is not None:
        # A socket that is closed with this option forgets what it has not delivered.
        raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # not Django's
        with suppress(OSError):  # It may be closed already.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.invalidate()


@final
@attrs.define(eq=False)
class _Made:
    """A connection, from the moment that it is made until it is lost.

    Its task is not started with ``start``: until it is connected, it would not be cancelled with
    the store's nursery, and closing the store would wait for a server that hangs.
    """

    _connection: BaseConnection
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _settled: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when it is connected, or can't be."""
    _problem: RedisError | None = attrs.field(default=None, init=False)

    async def start(self, nursery: trio.Nursery) -> BaseConnection:
        """Connect, and return the connection.

        Raises:
          RedisError: It can't be made.

        Cancellation:
          Safe. Nothing is left open.
        """
        nursery.start_soon(self._keep)
        try:
            await self._settled.wait()
        except BaseException:
            self._scope.cancel(reason="trioauth: no request waits for it")
            raise
        if self._problem is not None:
            raise self._problem
        return self._connection

    def started(self, value: None = None) -> None:  # noqa: ARG002  # the interface
        """Let the request go on that waits for the connection: coredis calls this."""
        self._settled.set()

    async def _keep(self) -> None:  # noqa: ASYNC910  # connecting may have failed
        connection = self._connection
        try:
            with self._scope:
                await connection.run(task_status=self)
        except RedisError as exc:
            # If it had been made, its requests have been told.
            self._problem = exc
        finally:
            self._settled.set()
            # coredis leaves its queues open if it could not connect: a ResourceWarning each.
            for each in vars(connection).values():
                if isinstance(each, MemoryObjectSendStream | MemoryObjectReceiveStream):
                    each.close()
