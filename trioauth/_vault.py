"""Vault: the store, as one session sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from ._errors import StoreConflictError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ._flight import Login
    from ._store import Record, TokenStore


@final
@attrs.define(eq=False)
class Vault:
    """A store, and what this session knows about it. All but `lock` is called with the lock held.

    No method awaits between learning something and noting it here, so whoever is
    cancelled in one of them has either learned nothing or noted everything.
    """

    _store: TokenStore

    stored: Record | None = attrs.field(default=None, init=False, repr=False)
    """What was in the store when we last looked."""

    pending: Record | None = attrs.field(default=None, init=False)
    """What should be in the store, and could not be saved yet."""

    _tried: Record | None = attrs.field(default=None, init=False, repr=False)
    """What we tried to save last: it may be there in spite of an error."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Exclude all others who share the store."""
        return self._store.lock()

    @property
    def synced(self) -> int:
        """The generation that was in the store when we last looked; 0 if none was."""
        return 0 if self.stored is None else self.stored.generation

    async def look(self) -> Record | None:
        """Return what is in the store, whether it is news or not."""
        self.stored = await self._store.load()
        return self.stored

    async def news(self) -> Record | None:
        """Return what others have saved since we last looked, or None.

        A store that lost its contents, or was put back to an older state, has no news: what we
        hold in memory is newer.
        """
        before = self.synced
        record = await self.look()
        if self.synced <= before:
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

    async def save(self, record: Record) -> None:
        """Put a record into the store, unless somebody else has been there since we last looked."""
        self.pending = self._tried = record
        try:
            await self._store.save(record, expected=self.synced)
        except StoreConflictError:
            # The winner's record stays; ours is of no use to anybody.
            self.pending = self._tried = None
            raise
        self.stored = record
        self.pending = None


def _same(record: Record | None, tried: Record | None) -> bool:
    return (
        record is not None
        and tried is not None
        and (record.generation, record.login, record.tokens)
        == (tried.generation, tried.login, tried.tokens)
    )
