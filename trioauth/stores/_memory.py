"""MemoryStore and KeyedMemoryStore: tokens that several sessions of one trio run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._errors import StoreConflictError

from ._contract import check_key
from ._forget import A_DAY, forget
from ._turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from ._contract import Record, TokenStore


@final
@attrs.define(eq=False)
class MemoryStore:
    """Keep tokens in memory, gone when the program ends.

    Sessions of one program share a login if they get the same store.

    Args:
      record: What is in the store at the start; by default nothing (None).
    """

    _record: Record | None = attrs.field(default=None, repr=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep out all other sessions that share this store.

        Cancellation:
          Safe. A cancelled wait for the lock leaves nothing locked.
        """
        return self._lock

    async def load(self) -> Record | None:
        """Return the record last saved, or None if there never was one.

        Cancellation:
          Safe. Nothing is changed.
        """
        await trio.lowlevel.checkpoint()
        return self._record

    async def save(self, record: Record, *, expected: int) -> None:
        """Replace the record if the stored one is still generation ``expected`` (0: there is none).

        Cancellation:
          All or nothing. A cancelled call has changed nothing.

        Raises:
          StoreConflictError: Another generation is stored. Nothing was changed.
          RuntimeError: The lock is not held.
        """
        # The only checkpoint, before anything changes: so a cancelled call changes nothing.
        await _checkpoint_with_lock("save", held=self._lock.locked)
        _compare(self._record, expected)
        self._record = record

    async def probe(self) -> None:
        """Prove that `save` could save now: in memory it always can.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          RuntimeError: The lock is not held.
        """
        await _checkpoint_with_lock("probe", held=self._lock.locked)


@final
@attrs.define(eq=False)
class KeyedMemoryStore:
    """Keep many logins in memory, one for each key; gone when the program ends."""

    _records: dict[str, Record] = attrs.field(factory=dict[str, "Record"], init=False, repr=False)
    _turns: Turns = attrs.field(factory=Turns, init=False, repr=False)

    def at(self, key: str) -> TokenStore:
        """Return the store of one login. Not a checkpoint.

        Args:
          key: Which login: 1 to 1,024 characters.

        Raises:
          ValueError: The key is empty, too long, or has characters that can't be stored.
          TypeError: The key is no str.
        """
        return _OneOfMany(check_key(key), self._records, self._turns)

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
          ValueError: It is no key, or ``ended_for`` is negative or not finite.
          TypeError: The key is no str, or ``ended_for`` is no number.
        """
        return await forget(self.at(key), ended_for)


@final
@attrs.define(eq=False)
class _OneOfMany:
    """The login of one key in a `KeyedMemoryStore`. It keeps nothing itself."""

    _key: str = attrs.field(repr=False)
    _records: dict[str, Record] = attrs.field(repr=False)
    _turns: Turns = attrs.field(repr=False)

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self._turns.take(self._key)

    async def load(self) -> Record | None:
        await trio.lowlevel.checkpoint()
        return self._records.get(self._key)

    async def save(self, record: Record, *, expected: int) -> None:
        await _checkpoint_with_lock("save", held=self._is_locked)
        _compare(self._records.get(self._key), expected)
        self._records[self._key] = record

    async def probe(self) -> None:
        await _checkpoint_with_lock("probe", held=self._is_locked)

    async def delete(self, *, expected: int) -> None:
        await _checkpoint_with_lock("delete", held=self._is_locked)
        if self._key in self._records:
            _compare(self._records[self._key], expected)
            del self._records[self._key]

    def _is_locked(self) -> bool:
        return self._turns.is_taken(self._key)


async def _checkpoint_with_lock(name: str, *, held: Callable[[], bool]) -> None:
    await trio.lowlevel.checkpoint()
    if not held():
        raise RuntimeError(f"{name}() needs the lock: call it inside `async with store.lock():`")


def _compare(stored: Record | None, expected: int) -> None:
    found = 0 if stored is None else stored.generation
    if found != expected:
        raise StoreConflictError(
            f"the store holds generation {found}, not {expected}: "
            "another session saved first; load again"
        )
