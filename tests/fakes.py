"""Fakes with flight recorders, for tests that want to say exactly what happens when."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trioauth import Record, StoreConflictError, Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth import TokenEndpoint


def first_tokens(expires_in: float | None = 3600) -> Tokens:
    """What a login starts with in most tests: 0 makes it expired, 3600 fresh."""
    return Tokens("access-0", "refresh-0", expires_in)


@attrs.define
class FakeGrant:
    """A grant that rotates, takes ``latency`` virtual seconds, and remembers how it was called.

    Failing is part of the interface: put exceptions in ``script`` and they are
    raised, in order, before any tokens are issued. A rotation counts from the
    middle of the latency on, whether or not the caller is still there.
    """

    latency: float = 1
    lifetime: float | None = 3600
    script: list[Exception] = attrs.field(factory=list)
    unattended: bool = False
    presented: list[str | None] = attrs.field(factory=list)
    """The refresh tokens it was called with."""
    issued: int = 0
    completed: int = 0
    in_flight: int = 0
    most_in_flight: int = 0

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        self.presented.append(None if tokens is None else tokens.refresh_token)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await trio.sleep(self.latency / 2)
            if self.script:
                raise self.script.pop(0)
            self.issued += 1
            number = self.issued
            await trio.sleep(self.latency / 2)
        finally:
            self.in_flight -= 1
        self.completed += 1
        return Tokens(f"access-{number}", f"refresh-{number}", self.lifetime)

    @property
    def spent_twice(self) -> list[str]:
        """The refresh tokens that were presented more than once."""
        known = [token for token in self.presented if token is not None]
        return sorted({token for token in known if known.count(token) > 1})


@attrs.define
class RevokingGrant(FakeGrant):
    """A grant whose server can be told that a login is over."""

    revoking_takes: float = 0
    fail_revoke: Exception | None = None
    can_revoke: bool = True
    revoked: list[Tokens] = attrs.field(factory=list)

    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        await trio.sleep(self.revoking_takes)
        if self.fail_revoke is not None:
            raise self.fail_revoke
        self.revoked.append(tokens)
        return self.can_revoke


@attrs.define
class ShieldedGrant(RevokingGrant):
    """A grant that can't be cancelled, such as one in a thread."""

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint) -> Tokens:
        with trio.CancelScope(shield=True):
            answer = await FakeGrant.__call__(self, tokens, endpoint)
        return answer  # noqa: RET504  # to type checkers a cancel scope may swallow an exception


@attrs.define
class OwnedGrant(FakeGrant):
    """A grant that says whose tokens it renews."""

    owner: str = "https://id.test/token notes"


@attrs.define
class FakeStore:
    """A store in memory that can be slow, and can fail in the way and at the time one says."""

    record: Record | None = None
    latency: float = 0
    fail_load: Exception | None = None
    fail_save: Exception | None = None
    fail_lock: Exception | None = None
    saved: list[Record] = attrs.field(factory=list)
    locked: bool = False
    _lock: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the record, which must be there."""
        assert self.record is not None
        return self.record.tokens

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        async with self._lock:
            if self.fail_lock is not None:
                raise self.fail_lock
            self.locked = True
            try:
                yield
            finally:
                self.locked = False

    async def load(self) -> Record | None:
        await trio.sleep(self.latency)
        if self.fail_load is not None:
            raise self.fail_load
        return self.record

    async def save(self, record: Record, *, expected: int) -> None:
        assert self.locked, "save() is called with the lock held"
        await trio.sleep(self.latency)
        if self.fail_save is not None:
            raise self.fail_save
        stored = 0 if self.record is None else self.record.generation
        if stored != expected:
            raise StoreConflictError(f"generation {stored} is stored, not {expected}")
        self.record = record
        self.saved.append(record)


@attrs.define
class ProbedStore(FakeStore):
    """A store that can say whether it could be written."""

    fail_probe: Exception | None = None
    probed: int = 0

    async def probe(self) -> None:
        assert self.locked, "probe() is called with the lock held"
        self.probed += 1
        await trio.sleep(self.latency)
        if self.fail_probe is not None:
            raise self.fail_probe
