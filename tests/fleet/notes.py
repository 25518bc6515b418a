"""What a worker notes of its doings, and the store and the grant that do so.

A note is a line of JSON on standard output, a pipe. It is written in one system call, before what
it announces and after what it reports, so it is there even if the process is killed right after.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, final

import attrs

from trioauth import GrantRefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from trioauth import Grant, KeyedStore, Record, TokenEndpoint, Tokens, TokenStore

    Write: TypeAlias = Callable[["Note"], None]

# How the test server names refresh tokens.
_NAME = re.compile(r"rt-canary-(\d+)-(\d+)-")


@final
@attrs.frozen
class Token:
    """A refresh token, by the numbers that the server gave it."""

    login: int
    generation: int

    @classmethod
    def of(cls, tokens: Tokens | None) -> Token | None:
        """Return which one these tokens have."""
        found = tokens and _NAME.match(tokens.refresh_token or "")
        return Token(int(found[1]), int(found[2])) if found else None

    @property
    def next(self) -> Token:
        """What it is exchanged for."""
        return Token(self.login, self.generation + 1)

    @property
    def previous(self) -> Token:
        """What it was exchanged for."""
        return Token(self.login, self.generation - 1)


@final
@attrs.frozen
class Note:
    """One line. What it says:

    - ``ready``: it has opened the store.
    - ``locked``, ``unlocked``: the lock of a key is held, is given back.
    - ``probing``: it is about to be looked at, and if it is a lease, renewed.
    - ``loaded``, ``saved``: this token was read from the store, is in the store now.
    - ``ended``: the store has been told that the login has ended.
    - ``unsaved``: saving failed.
    - ``spend``: this token is about to be sent to the server.
    - ``answered``: the server has answered, with new tokens or with a refusal.
    - ``got``: the API took the access token that came with this refresh token.
    - ``denied``: the API answered 401.
    - ``lost``: the session of this key is logged out.
    - ``unavailable``: no token could be had for now.
    """

    what: str
    key: str = ""
    token: Token | None = None
    time: float = attrs.field(factory=time.monotonic)
    """All processes of a machine have this clock in common."""

    def to_line(self) -> bytes:
        """Write it."""
        token = None if self.token is None else [self.token.login, self.token.generation]
        return json.dumps([self.what, self.key, token, self.time]).encode() + b"\n"

    @classmethod
    def of(cls, line: list[Any]) -> Note:
        """Read it."""
        what, key, token, then = line
        return cls(what, key, None if token is None else Token(*token), then)


def write_note(note: Note) -> None:
    """Write a note. It is in the pipe when this returns, whatever happens to this process."""
    os.write(1, note.to_line())


@final
@attrs.define(eq=False)
class NotingGrant:
    """A grant that notes each refresh token before it is sent."""

    _grant: Any
    _write: Write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grant, name)

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
        token = Token.of(tokens)
        self._write(Note("spend", token=token))
        try:
            new: Tokens = await self._grant(tokens, endpoint)
        except GrantRefusedError:
            self._write(Note("answered", token=token))
            raise
        self._write(Note("answered", token=token))
        return new


@final
@attrs.define(eq=False)
class NotingStore:
    """The store of one login; it notes what is done with it."""

    _store: Any
    _key: str
    _write: Write
    _loaded: Token | None = attrs.field(default=None, init=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _note(self, what: str, token: Token | None = None) -> None:
        self._write(Note(what, self._key, token))

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        async with self._store.lock():
            self._note("locked")
            try:
                yield
            finally:
                self._note("unlocked")

    async def probe(self) -> None:
        # Before it: the lease ends no sooner than so many seconds from now.
        self._note("probing")
        await self._store.probe()

    async def load(self) -> Record | None:
        record: Record | None = await self._store.load()
        token = Token.of(record and record.tokens)
        if token is not None and token != self._loaded:
            self._note("loaded", token)
        self._loaded = token
        return record

    async def save(self, record: Record, *, expected: int) -> None:
        try:
            await self._store.save(record, expected=expected)
        except BaseException:
            self._note("unsaved", Token.of(record.tokens))
            raise
        self._note("ended" if record.tokens is None else "saved", Token.of(record.tokens))


@final
@attrs.define(eq=False)
class NotingStores:
    """A store of many logins."""

    _store: Any
    _write: Write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def at(self, key: str) -> TokenStore:
        return NotingStore(self._store.at(key), key, self._write)


if TYPE_CHECKING:

    def _fits(grant: NotingGrant, stores: NotingStores) -> tuple[Grant, KeyedStore]:
        return grant, stores
