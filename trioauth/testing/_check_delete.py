"""The part of check_store that is about ``delete``, which is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import attrs

from trioauth._errors import StoreConflictError

from ._conformance import broken, ends_as_cancelled, kind, yields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth.stores._contract import TokenStore

    from ._check_lock import LockCheck
    from ._checkpoints import Victim

_RULE = "delete() must delete the record if the stored one is generation `expected`"
_WHEN = "between deletes: let go when the block is left"


@final
@attrs.define(eq=False)
class DeleteCheck:
    """The checks of ``delete``. Each begins with a record, which ``put`` saves."""

    store: TokenStore
    other: TokenStore
    locks: LockCheck
    put: Callable[[], Awaitable[int]]
    """Saves a record, whether there is one or not; returns its generation."""

    async def conflict(self) -> None:
        """Delete with a wrong `expected`."""
        rule = "delete() must raise StoreConflictError if another generation is stored"
        generation = await self.put()
        problem = await self._try(generation + 1)
        if not isinstance(problem, StoreConflictError):
            what = "nothing" if problem is None else kind(problem)
            broken(f"{rule}, and raised {what}: compare, as save() does", problem)
        if await self.other.load() is None:
            broken(f"{rule}; it raised, and deleted all the same: compare before you delete")

    async def deletion(self) -> None:
        """Delete a record; then delete where there is none."""
        generation = await self.put()
        if (problem := await self._try(generation)) is not None:
            broken(f"{_RULE}, and raised {kind(problem)}: let it be async", problem)
        for store in (self.store, self.other):
            if await store.load() is not None:
                broken(f"{_RULE}; afterwards load() must return None, and did not")
        if (problem := await self._try(generation)) is not None:
            broken(
                f"delete() must do nothing if there is no record, and raised {kind(problem)}: an"
                " answer may have been lost, and the call repeated",
                problem,
            )
        await self.put()

    async def cancelled(self, victim: Victim) -> None:
        """Cancel a delete: the record is there, or it is gone."""
        generation = await self.put()
        before = await self.other.load()
        async with self.locks.locked(self.store, _WHEN):
            await ends_as_cancelled("delete()", victim, lambda: self._delete(generation))
        # Once the other store has the lock, a thread that was left behind has ended.
        async with self.locks.locked(self.other, "after a delete() that was cancelled"):
            after = await self.other.load()
        if after is not None and after != before:
            broken("delete() must be all or nothing when it is cancelled, and changed the record")

    async def _try(self, expected: int) -> Exception | None:
        problem: Exception | None = None
        async with self.locks.locked(self.store, _WHEN):
            try:
                await yields("delete()", lambda: self._delete(expected))
            except AssertionError:
                raise
            except Exception as exc:  # noqa: BLE001  # looked at outside the block
                problem = exc
        return problem

    def _delete(self, expected: int) -> Awaitable[None]:
        store: Any = self.store  # not in the protocol: it is optional
        deleting: Awaitable[None] = store.delete(expected=expected)
        return deleting
