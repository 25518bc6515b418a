"""The part of check_store that is about the lock."""

from __future__ import annotations

import inspect
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import attrs
import trio

from ._conformance import (
    at_each_checkpoint,
    broken,
    ends_as_cancelled,
    kind,
    open_bare_nursery,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trioauth.stores._contract import TokenStore

    from ._checkpoints import Victim

# How many seconds a task gets to wrongly pass a lock that is held; and how many a victim waits for
# a lock before it is cancelled.
_A_WHILE, _A_MOMENT = 0.1, 0.01


class _OnPurposeError(Exception):
    pass


@final
@attrs.define(eq=False)
class LockCheck:
    """The checks of the lock, with two stores that share a place and so a lock."""

    store: TokenStore
    other: TokenStore
    patience: float

    def shape(self) -> None:
        """Check that `lock` returns an async context manager."""
        lock: object = self.store.lock()
        if inspect.iscoroutine(lock):
            lock.close()
        if not hasattr(lock, "__aenter__"):
            broken(
                f"lock() must return an async context manager, and returned a {kind(lock)}:"
                " decorate it with contextlib.asynccontextmanager, or return a trio.Lock"
            )

    @asynccontextmanager
    async def locked(self, store: TokenStore, when_and_remedy: str) -> AsyncGenerator[None, None]:
        """Hold the lock during the block; getting in and out must not take for ever."""
        with trio.CancelScope(deadline=trio.current_time() + self.patience) as scope:
            async with store.lock():
                scope.deadline = math.inf
                try:
                    yield
                finally:
                    scope.deadline = trio.current_time() + self.patience
        if scope.cancelled_caught:
            broken(f"lock() must be free {when_and_remedy}; it was not in {self.patience} seconds")

    async def pass_through(self) -> None:
        """Lock, and let go."""
        async with self.locked(self.store, "at first: let a task in while no other is"):
            pass

    async def exclusion(self) -> None:
        """Try to get past a lock that is held, by the same store and by the other."""
        await self._exclude(self.store, "a second task")
        await self._exclude(self.other, "another store of that place")

    async def _exclude(self, store: TokenStore, who: str) -> None:
        entered, left = trio.Event(), trio.Event()

        async def enter() -> None:
            try:
                async with store.lock():
                    entered.set()
            except Exception as exc:  # noqa: BLE001  # whatever it is
                broken(
                    f"lock() must let {who} wait while it is held, and raised {kind(exc)}: wait"
                    " until it is free",
                    exc,
                )
            left.set()

        async with open_bare_nursery() as nursery:
            async with self.locked(self.store, "between blocks: let go when one is left"):
                nursery.start_soon(enter)
                with trio.move_on_after(_A_WHILE):
                    await entered.wait()
                together = entered.is_set()
            with trio.move_on_after(self.patience) as waiting:
                await left.wait()
            nursery.cancel_scope.cancel(reason="check_store: waited long enough")
        if together:
            broken(
                f"lock() must exclude all others, and let in {who} while it was held: lock what"
                " all who share that place have in common, for as long as the block runs"
            )
        if waiting.cancelled_caught:
            broken(
                f"lock() must wake those who wait when it gets free, and {who} went on waiting for"
                f" {self.patience} seconds: wake one, or look again from time to time"
            )

    async def letting_go(self) -> None:
        """Leave the block by an exception, and by a cancellation."""
        passed = False
        try:
            async with self.locked(self.store, "between blocks: let go when one is left"):
                raise _OnPurposeError
        except _OnPurposeError:
            passed = True
        if not passed:
            broken(
                "lock() must let exceptions of its block through, and swallowed one: let go in a"
                " `finally`, and let __aexit__() return None"
            )
        await self._check_free("after an exception in its block: let go in a `finally`")
        with trio.CancelScope() as scope:
            async with self.locked(self.store, "between blocks: let go when one is left"):
                scope.cancel(reason="check_store: in the locked block")
                await trio.lowlevel.checkpoint()
        if not scope.cancelled_caught:
            broken(
                "lock() must let trio.Cancelled of its block through, and swallowed it: let go in a"
                " `finally`, and let __aexit__() return None"
            )
        await self._check_free(
            "after a cancellation in its block: let go in a `finally`, and if that has to wait,"
            " within trio.CancelScope(shield=True) and a deadline"
        )

    async def cancellation(self) -> None:
        """Cancel a task that locks at each of its checkpoints, with the lock free and held."""
        await at_each_checkpoint(self._cancelled_when_free)
        await at_each_checkpoint(self._cancelled_when_held)

    async def _cancelled_when_free(self, victim: Victim) -> None:
        await ends_as_cancelled("lock()", victim, self._enter_other)
        await self._check_free(
            "after a task was cancelled while locking it: release what was taken by then, in a"
            " `finally`"
        )

    async def _cancelled_when_held(self, victim: Victim) -> None:
        left = trio.Event()

        async def wait() -> None:
            await ends_as_cancelled("lock()", victim, self._enter_other)
            left.set()

        async with open_bare_nursery() as nursery:
            async with self.locked(self.store, "between blocks: let go when one is left"):
                nursery.start_soon(wait)
                with trio.move_on_after(_A_MOMENT):
                    await left.wait()
            with trio.move_on_after(self.patience):
                await left.wait()
            nursery.cancel_scope.cancel(reason="check_store: waited long enough")
        await self._check_free(
            "after a task was cancelled while waiting for it: let that task leave the queue, and"
            " if it was its turn, hand the lock on"
        )

    async def _enter_other(self) -> None:
        async with self.other.lock():
            pass

    async def _check_free(self, when_and_remedy: str) -> None:
        async def lock() -> None:
            for store in (self.store, self.other):
                async with self.locked(store, when_and_remedy):
                    pass

        # In a task of its own: to the one that took it, some locks say more than "wait".
        async with open_bare_nursery() as nursery:
            nursery.start_soon(lock)
