"""The stores that a fleet may share, all by key."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias, final, get_args

import attrs

from trioauth import FileStore, RedisStore, RefreshPolicy, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import KeyedStore, TokenStore

Kind: TypeAlias = Literal["file", "sqlite", "redis"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@final
@attrs.frozen
class _OneLogin:
    """A store of one login as one of many, of which only one is used."""

    path: str

    def at(self, key: str) -> TokenStore:
        del key
        return FileStore(self.path)


@asynccontextmanager
async def open_store(kind: Kind, place: str, lease: float) -> AsyncGenerator[KeyedStore, None]:
    """Open the store at a place: a path, or a URL."""
    match kind:
        case "file":
            yield _OneLogin(place)
        case "sqlite":
            yield SQLiteStore(place)
        case "redis":
            async with RedisStore(place, lease=lease) as store:
                yield store


def policy_for(kind: Kind, lease: float) -> RefreshPolicy:
    """Return a policy: where the lock is a lease, a flight must be over before the lease is."""
    if kind == "redis":
        return RefreshPolicy(timeout=0.6 * lease, cooldown=0.5)
    return RefreshPolicy(cooldown=0.5)
