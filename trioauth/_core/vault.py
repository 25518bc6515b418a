"""Vault: the store, and what one session knows about it.

1. ``stored`` is the record that this session last saw in the store. `Vault.save` is a
   compare-and-swap: it fails if the store has another number by now.
2. ``pending`` is the record that should be in the store but could not be saved. While there is one,
   the store is behind this session.
3. `Vault.news` tells whether the store is ahead of this session: its docstring lists the cases.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import StoreConflictError, StoreError
from trioauth.stores._contract import ENCRYPTED, changed_of, probe_store

from .machine import ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Container

    from trioauth.stores._contract import Record, TokenStore

    from .flight import Login


@final
@attrs.define(eq=False, repr=False)
class Vault:
    """A store, and what this session knows about it.

    All methods but `lock`, `peek` and `look` are called with the lock held.

    No method awaits between reading the store and noting what it read: if a task is cancelled in
    one, either nothing was read or everything is noted.
    """

    _store: TokenStore

    owner: str = ""
    """The only `Record.owner` whose records this session uses; "" if the grant does not say."""

    shared: bool = True
    """Whether other sessions may use the store, too: true if the program has passed it."""

    stored: Record | None = attrs.field(default=None, init=False, repr=False)
    """The record that this session last saw in the store."""

    pending: Record | None = attrs.field(default=None, init=False)
    """The record that should be in the store but could not be saved yet."""

    missing: Exception | None = attrs.field(default=None, init=False)
    """Why the store can't be locked, while it has no record: it is then treated as absent (P32)."""

    _tried: Record | None = attrs.field(default=None, init=False, repr=False)
    """The record of the last `save`. It may have been saved although `save` raised."""

    # A tuple, because it nearly always has one, and a program may have thousands of sessions.
    _seen: tuple[str, ...] = attrs.field(default=(), init=False, repr=False)
    """The ids of all logins that this session has seen in the store, or saved there."""

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Exclude all other sessions that share the store.

        If no lock can be made and there is no record, other sessions have nothing to share either:
        then the block runs without a lock, with `missing` set (P32).

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._store.lock())
            except Exception as exc:
                # (If this load is cancelled, the error of the lock is lost, and not needed.)
                if self.stored is not None or await ask(self._store.load) is not None:  # noqa: ASYNC120
                    raise
                self.missing = exc
            try:
                yield
            finally:
                # The next call tries again: by then the store may work.
                self.missing = None

    @property
    def synced(self) -> int:
        """The number of the record that this session last saw in the store; 0 if there was none."""
        return 0 if self.stored is None else self.stored.generation

    @property
    def waits_for(self) -> str | None:
        """What the store waits for, in words, such as another process's lock; None if unknown."""
        waits_for = getattr(self._store, "waits_for", None)
        return waits_for if isinstance(waits_for, str) else None

    @property
    def _path(self) -> Path | None:
        """The file, if the store is one of ours on a disk, or keeps to the same name."""
        path = getattr(self._store, "path", None)
        return path if isinstance(path, Path) else None

    @property
    def changed(self) -> Callable[[], Awaitable[str | None]] | None:
        """The method of a shared store that waits for a hint; None if there is none."""
        return changed_of(self._store) if self.shared else None

    async def look(self) -> Record | None:
        """Return the record in the store, and count it as seen.

        Raises:
          StoreError: It is a record of another client, or can't be read.
        """
        record = await self.peek()
        self.note(record)
        return record

    async def peek(self) -> Record | None:
        """Return the record in the store without counting it as seen: `news` still reports it.

        Raises:
          StoreError: As `look`.
        """
        if self.missing is not None:
            return None
        record = await ask(self._store.load)
        if record is not None and record.owner == ENCRYPTED:
            raise StoreError(
                f"the login in {self._path or 'the token store'} is encrypted: open it with "
                "trioauth.EncryptedStore, or KeyedEncryptedStore for many logins, and its key",
                path=self._path,
            )
        if record is not None and self.owner and record.owner not in ("", self.owner):
            raise StoreError(
                f"the token store holds the login of another client ({record.owner}), and this "
                f"session is for {self.owner}; give each client a store of its own",
                path=self._path,
            )
        return record

    def note(self, record: Record | None) -> None:
        """Count a record as seen. Not a checkpoint."""
        self.stored = record
        if record is not None and record.login not in self._seen:
            self._seen += (record.login,)

    async def news(self, ended_logins: Container[str] = ()) -> Record | None:
        """Return the record in the store if another session has saved it and it is news, else None.

        1. News: it has a higher number than the record last seen.
        2. News: its login was never seen here, whatever its number. (The file was deleted, and
           another login begun.)
        3. Not news: its login has ended here.
        4. Not news: it is older than what was last seen. The store lost its contents or was
           restored; this session has newer tokens in memory.
        5. Not news: new tokens are pending here, and the record has only a mark on the tokens
           before them, or is from an earlier renewal of the same login.
        6. Not news: it is our own record, whose `save` raised although it was saved.

        News replaces the pending record: another session was first.

        Args:
          ended_logins: The ids of logins that have ended here.
        """
        before, record = self.stored, await self.peek()
        # Cases 1 to 4.
        newer = record is not None and self.may_be_news(record) and record.login not in ended_logins
        # Case 5. The session's own tokens are newer, and are about to be saved.
        if self.pending is not None and self.pending.tokens is not None:
            newer = newer and not _same_tokens(record, before)
            newer = newer and not _is_behind(record, self.pending)
        self.note(record)
        if not newer:
            return None
        # Case 6.
        ours = _same(record, self._tried)
        if not ours or self.pending is self._tried:
            # The pending record was overtaken, or it is the one that was saved after all.
            self.pending = None
        return None if ours else record

    def may_be_news(self, record: Record | None) -> bool:
        """Say whether a record can be news: cases 1 and 2 of `news`. Not a checkpoint."""
        return record is not None and (
            record.generation > self.synced or record.login not in self._seen
        )

    def forget(self, login: Login) -> None:
        """Drop the pending record if it is about this login."""
        if self.pending is not None and self.pending.login == login.id:
            self.pending = None

    async def probe(self) -> None:
        """Check that a record could be saved now, as far as the store can tell; save nothing.

        Raises:
          StoreError: It could not be saved.
        """
        if self.missing is not None:
            raise self.missing
        await ask(probe_store, self._store)

    async def save(self, record: Record) -> None:
        """Save a record, unless another session has saved one since this session last looked.

        Raises:
          StoreConflictError: Another session was first; its record counts.
          Exception: The store failed; the record is pending.
        """
        # Before the first await: if this is cancelled, the record may or may not be there.
        self.pending = self._tried = record
        if self.missing is not None:
            raise self.missing
        try:
            await ask(self._store.save, record, expected=self.synced)
        except StoreConflictError:
            # The other record stays, and ours is dropped.
            self.pending = self._tried = None
            raise
        self.note(record)
        self.pending = None


def _same_tokens(record: Record | None, before: Record | None) -> bool:
    return (
        record is not None
        and before is not None
        and (record.login, record.tokens) == (before.login, before.tokens)
    )


def _is_behind(record: Record | None, pending: Record) -> bool:
    return (
        record is not None
        and record.login == pending.login
        and record.generation < pending.generation
        and record.tokens is not None
    )


def _same(record: Record | None, tried: Record | None) -> bool:
    return (
        record is not None
        and tried is not None
        and (record.generation, record.login, record.tokens)
        == (tried.generation, tried.login, tried.tokens)
    )
