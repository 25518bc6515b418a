"""What the tests of `FileStore` have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from trioauth import Record, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioauth import TokenStore

OLD = Record(1, Tokens("old-access", "old-refresh", 60.0), login="me", expires_at_unix=1e9)
NEW = Record(2, Tokens("new-access", "new-refresh", 60.0), login="me", expires_at_unix=2e9)


async def put(store: TokenStore, record: Record, *, expected: int = 0) -> None:
    async with store.lock():
        await store.save(record, expected=expected)


async def check_locked(store: TokenStore) -> None:
    with trio.move_on_after(0.1) as scope:
        async with store.lock():
            raise AssertionError("got a lock that was taken")
    assert scope.cancelled_caught


async def check_unlocked(store: TokenStore) -> None:
    """Check that the lock can be had, soon at least: a thread may still be on its way out."""
    with trio.fail_after(5):
        async with store.lock():
            pass


def fail(number: int) -> Callable[..., Any]:
    """Make a system call that fails with this number."""

    def raise_error(*args: object, **kwargs: object) -> Any:
        raise OSError(number, os.strerror(number))

    return raise_error
