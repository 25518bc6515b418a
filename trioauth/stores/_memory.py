"""MemoryStore: tokens that several sessions of one trio run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs
import trio

from trioauth._errors import StoreConflictError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ._contract import Record


@final
@attrs.define(eq=False)
class MemoryStore:
    """Keep tokens in memory, gone when the program ends.

    Sessions of one program share a login if they get the same store.

    Args:
      record: What is in the store at the start; by default nothing (None).
    """

    _record: Record | None = None
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
        await self._checkpoint_with_lock("save")
        found = 0 if self._record is None else self._record.generation
        if found != expected:
            raise StoreConflictError(
                f"the store holds generation {found}, not {expected}: "
                "another session saved first; load again"
            )
        self._record = record

    async def probe(self) -> None:
        """Prove that `save` could save now: in memory it always can.

        Cancellation:
          Safe. Nothing is changed.

        Raises:
          RuntimeError: The lock is not held.
        """
        await self._checkpoint_with_lock("probe")

    async def _checkpoint_with_lock(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self._lock.locked():
            raise RuntimeError(
                f"{name}() needs the lock: call it inside `async with store.lock():`"
            )
