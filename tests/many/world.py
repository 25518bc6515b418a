"""Fakes whose tokens say whose they are, and short names for what most tests begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import httpx
import trio

from tests.both import API, FakeApi, stream_transport
from tests.fakes import FakeStore
from trioauth import Record, Tokens, open_sessions

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trioauth import Sessions, TokenEndpoint, TokenStore


def tokens_of(key: str, number: int = 0, expires_in: float | None = 3600) -> Tokens:
    return Tokens(f"access-{key}-{number}", f"refresh-{key}-{number}", expires_in)


def record_of(key: str, number: int = 1) -> Record:
    return Record(number, tokens_of(key, number), login=f"login-{key}")


@attrs.define
class KeyedGrant:
    """A grant that rotates, and gives tokens that name the key of those they replace."""

    latency: float = 1
    lifetime: float | None = 3600
    script: list[Exception] = attrs.field(factory=list)
    presented: list[str] = attrs.field(factory=list)
    revoked: list[str] = attrs.field(factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        assert tokens is not None
        assert tokens.refresh_token is not None
        self.presented.append(tokens.refresh_token)
        _, key, number = tokens.refresh_token.split("-")
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.sleep(self.latency)
        finally:
            self.in_flight -= 1
        if self.script:
            raise self.script.pop(0)
        return tokens_of(key, int(number) + 1, self.lifetime)

    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        assert tokens.refresh_token is not None
        self.revoked.append(tokens.refresh_token)
        return True


@attrs.define
class KeyedFakeStore:
    """A store of many logins: a `FakeStore` for each key, and a note of each that was asked for."""

    stores: dict[str, FakeStore] = attrs.field(factory=dict)
    asked: list[str] = attrs.field(factory=list)

    def at(self, key: str) -> TokenStore:
        self.asked.append(key)
        return self.of(key)

    def of(self, key: str) -> FakeStore:
        return self.stores.setdefault(key, FakeStore())

    @classmethod
    def with_logins(cls, *keys: str) -> KeyedFakeStore:
        return cls({key: FakeStore(record_of(key)) for key in keys})


def many(
    grant: Any = None, *, api: FakeApi | None = None, **options: Any
) -> AbstractAsyncContextManager[Sessions]:
    """Open sessions over an API in memory. Without a ``store``, "ann" and "bob" are logged in."""
    options.setdefault("base_url", API)
    options.setdefault("transport", stream_transport(httpx, api or FakeApi()))
    options.setdefault("store", KeyedFakeStore.with_logins("ann", "bob"))
    return open_sessions(grant or KeyedGrant(), **options)


async def access_token(sessions: Sessions, key: str) -> str:
    async with sessions.use(key) as session:
        return await session.token()


@attrs.define
class HintingStore(KeyedFakeStore):
    """A store of many logins that says what another program has saved, when the test says so."""

    hints: list[str | None] = attrs.field(factory=list)
    fail_changed: Exception | None = None
    calls: int = 0
    loads: list[str] = attrs.field(factory=list)
    _more: trio.Event = attrs.field(factory=trio.Event)

    def hint(self, key: str | None) -> None:
        self.hints.append(key)
        self._more.set()

    async def changed(self) -> str | None:
        self.calls += 1
        await trio.lowlevel.checkpoint()
        if self.fail_changed is not None:
            raise self.fail_changed
        while not self.hints:
            self._more = trio.Event()
            await self._more.wait()
        return self.hints.pop(0)

    def save_elsewhere(self, record: Record, key: str) -> None:
        """Save as another program would, in another process."""
        self.of(key).record = record
