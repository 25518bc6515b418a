"""Vault: the store, as one session sees it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs

from trioauth._errors import StoreConflictError, StoreError
from trioauth.stores._contract import probe_store

from .machine import ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container

    from trioauth.stores._contract import Record, TokenStore

    from .flight import Login


@final
@attrs.define(eq=False, repr=False)
class Vault:
    """A store, and what this session knows about it.

    All but `lock` and `peek` is called with the lock held.

    No method awaits between learning something and noting it here: a task that is
    cancelled in one of them has either learned nothing or noted everything.
    """

    _store: TokenStore

    owner: str = ""
    """Whose records the session may use, see `Record.owner`; "" if the grant does not say."""

    shared: bool = True
    """Whether others may have the store, too: the program has passed it."""

    stored: Record | None = attrs.field(default=None, init=False, repr=False)
    """What was in the store when we last looked."""

    pending: Record | None = attrs.field(default=None, init=False)
    """What should be in the store, and could not be saved yet."""

    missing: Exception | None = attrs.field(default=None, init=False)
    """Why there is no store at all, if none can be locked and there is no record."""

    _tried: Record | None = attrs.field(default=None, init=False, repr=False)
    """What we tried to save last: it may be there in spite of an error."""

    _seen: set[str] = attrs.field(factory=set[str], init=False, repr=False)
    """The logins that this session has found in the store or put there."""

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None, None]:
        """Exclude all others who share the store.

        Where no lock can be made and there is no record, there is nothing to share: then the block
        runs all the same, with `missing` set (P32).

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.
        """
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._store.lock())
            except Exception as exc:
                # If this is cancelled, it does not matter any more why there was no lock.
                if self.stored is not None or await ask(self._store.load) is not None:  # noqa: ASYNC120
                    raise
                self.missing = exc
            try:
                yield
            finally:
                # The next one to look may find that there is a store by now.
                self.missing = None

    @property
    def synced(self) -> int:
        """The generation that was in the store when we last looked; 0 if none was."""
        return 0 if self.stored is None else self.stored.generation

    @property
    def waits_for(self) -> str | None:
        """What the store waits for, in words, if it can say that: the lock of another process."""
        waits_for = getattr(self._store, "waits_for", None)
        return waits_for if isinstance(waits_for, str) else None

    async def look(self) -> Record | None:
        """Return what is in the store, whether it is news or not.

        Raises:
          StoreError: It is a record of another client, or can't be read.
        """
        record = await self.peek()
        self.note(record)
        return record

    async def peek(self) -> Record | None:
        """Return what is in the store, and don't count it as seen: it stays news.

        Raises:
          StoreError: As `look`.
        """
        if self.missing is not None:
            return None
        record = await ask(self._store.load)
        if record is not None and self.owner and record.owner not in ("", self.owner):
            raise StoreError(
                f"the token store holds the login of another client ({record.owner}), and this "
                f"session is for {self.owner}; give each client a store of its own"
            )
        return record

    def note(self, record: Record | None) -> None:
        """Count a record as seen. Not a checkpoint."""
        self.stored = record
        if record is not None:
            self._seen.add(record.login)

    async def news(self, over: Container[str] = ()) -> Record | None:
        """Return what others have saved since we last looked, or None.

        News is a record with a higher generation, or of a login never seen here, whatever its
        number: the file was deleted, and another login begun. A store that lost its contents, or
        was put back to an older state, has no news: what we hold in memory is newer. Neither is it
        news if others have only marked the tokens that ours, still to be saved, were made from, or
        if they come from an earlier renewal of the same login.

        Args:
          over: Logins that have ended here: what others still save about them is no news.
        """
        before, record = self.stored, await self.peek()
        newer = (
            record is not None
            and (record.generation > self.synced or record.login not in self._seen)
            and record.login not in over
        )
        if self.pending is not None and self.pending.tokens is not None:
            newer = newer and not _same_tokens(record, before)
            newer = newer and not _is_behind(record, self.pending)
        self.note(record)
        if not newer:
            return None
        ours = _same(record, self._tried)
        if not ours or self.pending is self._tried:
            # What we could not save was overtaken, or it was saved in spite of an error.
            self.pending = None
        return None if ours else record

    def forget(self, login: Login) -> None:
        """Give up saving what is about a login."""
        if self.pending is not None and self.pending.login == login.id:
            self.pending = None

    async def probe(self) -> None:
        """Prove that a record could be saved now, if the store can tell; write nothing.

        Raises:
          StoreError: It could not be saved.
        """
        if self.missing is not None:
            raise self.missing
        await ask(probe_store, self._store)

    async def save(self, record: Record) -> None:
        """Put a record into the store, unless somebody else has been there since we last looked."""
        self.pending = self._tried = record
        if self.missing is not None:
            raise self.missing
        try:
            await ask(self._store.save, record, expected=self.synced)
        except StoreConflictError:
            # The winner's record stays; ours is of no use to anybody.
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
