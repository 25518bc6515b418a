"""Many logins in one program: what keeps them, and where their records are.

A side is opened in a `World` over a store of SQLite, and gives an object with ``get(key, path)``.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs
import httpx
import httpx2
import trio

import trioauth

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ._sides import World

    Opener: TypeAlias = (
        "Callable[[World, trioauth.SQLiteStore], AbstractAsyncContextManager[Keeper]]"
    )

LIFETIME = 3600.0


class Keeper(Protocol):
    """Sends requests for many logins."""

    async def open(self, key: str) -> None:
        """Do what has to be done before the first request of a login."""
        ...

    async def get(self, key: str, path: str) -> Any:
        """Send a request of a login."""
        ...


def keys_of(count: int) -> list[str]:
    """Return the first so many keys."""
    return [f"user-{number}" for number in range(count)]


async def stored(path: Path, keys: Sequence[str], lives: Sequence[float] = ()) -> Any:
    """Make a store of SQLite that knows these logins.

    Args:
      path: The file.
      keys: Whose logins.
      lives: How many seconds each token still lives; by default `LIFETIME`.
    """
    store, now = trioauth.SQLiteStore(path), time.time()

    def row(number: int) -> tuple[str, int, str]:
        key, life = keys[number], lives[number] if lives else LIFETIME
        tokens = trioauth.Tokens(f"access-{key}", f"refresh-{key}", LIFETIME)
        record = trioauth.Record(1, tokens, login=f"login-{key}", expires_at_unix=now + life)
        return key, record.generation, record.to_text()

    # The store makes the file; each save is flushed to the disk, which 100,000 need not be.
    login = store.at(keys[0])
    async with login.lock():
        await login.save(trioauth.Record.from_text(row(0)[2]), expected=0)
    with sqlite3.connect(path) as connection:
        rest = map(row, range(1, len(keys)))
        connection.executemany("INSERT INTO logins VALUES (?, ?, ?)", rest)
    connection.close()
    return store


def bare_read(path: Path) -> Callable[[str], Any]:
    """Return the least that reads a record without blocking the event loop."""
    connection = sqlite3.connect(path, check_same_thread=False)
    limiter = trio.CapacityLimiter(1)

    def select(key: str) -> Any:
        query = "SELECT generation, record FROM logins WHERE key = ?"
        return connection.execute(query, (key,)).fetchone()

    async def read(key: str) -> Any:
        return await trio.to_thread.run_sync(select, key, limiter=limiter)

    return read


# --- sides ---------------------------------------------------------------------------------


@attrs.frozen
class _Shared:
    sessions: trioauth.Sessions

    async def open(self, key: str) -> None:
        async with self.sessions.use(key):
            pass

    async def get(self, key: str, path: str) -> Any:
        async with self.sessions.use(key) as session:
            return await session.get(path)


@asynccontextmanager
async def sessions(
    world: World, store: trioauth.KeyedStore, **options: Any
) -> AsyncGenerator[trioauth.Sessions, None]:
    """Open sessions for many logins."""
    grant = trioauth.RefreshTokenGrant(world.token_url, client_id="client")
    options = {"base_url": world.base_url, "store": store, **world.transport(httpx), **options}
    async with trioauth.open_sessions(grant, **options) as opened:
        yield opened


@asynccontextmanager
async def _use(world: World, store: trioauth.SQLiteStore) -> AsyncGenerator[Keeper, None]:
    async with sessions(world, store) as opened:
        yield _Shared(opened)


@attrs.frozen
class _Attached:
    client: Any

    async def open(self, key: str) -> None:
        await self.get(key, "/me")

    async def get(self, key: str, path: str) -> Any:
        return await self.client.get(path, extensions={"trioauth.key": key})


@asynccontextmanager
async def _attached(world: World, store: trioauth.SQLiteStore) -> AsyncGenerator[Keeper, None]:
    async with (
        sessions(world, store) as opened,
        httpx2.AsyncClient(base_url=world.base_url, **world.transport(httpx2)) as client,
    ):
        yield _Attached(opened.attach(client))


@attrs.frozen
class _Dict:
    """What a program would write itself: a dict of clients, each opened when it is first needed."""

    make: Callable[[str], Any]
    stack: AsyncExitStack
    clients: dict[str, Any] = attrs.field(factory=dict[str, Any])
    locks: dict[str, trio.Lock] = attrs.field(factory=dict[str, trio.Lock])

    async def open(self, key: str) -> None:
        # Or two requests of one user would open two clients, and refresh twice.
        async with self.locks.setdefault(key, trio.Lock()):
            if key not in self.clients:
                client = await self.make(key)
                self.clients[key] = await self.stack.enter_async_context(client)

    async def get(self, key: str, path: str) -> Any:
        if key not in self.clients:
            await self.open(key)
        return await self.clients[key].get(path)


@asynccontextmanager
async def _dict_of_sessions(
    world: World, store: trioauth.SQLiteStore
) -> AsyncGenerator[Keeper, None]:
    grant = trioauth.RefreshTokenGrant(world.token_url, client_id="client")

    async def make(key: str) -> Any:
        options: dict[str, Any] = {"base_url": world.base_url, **world.transport(httpx)}
        return trioauth.open_session(grant, store=store.at(key), **options)

    async with AsyncExitStack() as stack:
        yield _Dict(make, stack)


@asynccontextmanager
async def _dict_of_authlib(
    world: World, store: trioauth.SQLiteStore
) -> AsyncGenerator[Keeper, None]:
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    read = bare_read(store.path)

    async def make(key: str) -> Any:
        record = trioauth.Record.from_text((await read(key))[1])
        assert record.tokens is not None
        token = {
            "access_token": record.tokens.access_token,
            "refresh_token": record.tokens.refresh_token,
            "token_type": "Bearer",
            "expires_at": record.expires_at_unix,
        }
        return AsyncOAuth2Client(
            "client",
            token=token,
            token_endpoint=world.token_url,
            base_url=world.base_url,
            **world.transport(httpx2),
        )

    async with AsyncExitStack() as stack:
        yield _Dict(make, stack)


USE = "trioauth, sessions.use"
ATTACHED = "trioauth, attached to httpx2"
SESSIONS = "a dict of our sessions"
AUTHLIBS = "a dict of Authlib clients"
SIDES: dict[str, Opener] = {
    USE: _use,
    ATTACHED: _attached,
    SESSIONS: _dict_of_sessions,
    AUTHLIBS: _dict_of_authlib,
}


async def open_all(keeper: Keeper, keys: Sequence[str]) -> None:
    """Open the logins of these keys, one after the other.

    In the task that calls: a dict of sessions can't be filled by the tasks that need them, because
    each session has a nursery, which would belong to the task that was the first to need it.
    """
    for key in keys:
        await keeper.open(key)


def in_turn(action: Callable[[str], Any], keys: Sequence[str]) -> Callable[[], Any]:
    """Make an action that takes the next key each time, and begins again after the last."""
    number = -1

    def act() -> Any:
        nonlocal number
        number = (number + 1) % len(keys)
        return action(keys[number])

    return act
