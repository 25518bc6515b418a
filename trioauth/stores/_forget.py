"""Forgetting: the record of a login that has ended is deleted, and with it the key of the login."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._contract import Record, TokenStore

A_DAY = 86_400.0


async def forget(login: TokenStore, ended_for: float) -> bool:
    """Delete the record of a login that has ended; say whether there is none any more.

    The record of an ended login is a tombstone. Sessions elsewhere that still hold tokens of that
    login need it: without a record they would go on, and save their tokens anew. So it stays until
    each of them has looked, at the latest when its access token has expired.

    Cancellation:
      All or nothing.

    Raises:
      StoreError: The record can't be read or deleted.
      ValueError: ``ended_for`` is negative, or not finite.
      TypeError: ``ended_for`` is no number, or the store can't delete.
    """
    _check_seconds(ended_for)
    delete: Callable[..., Awaitable[None]] | None = getattr(login, "delete", None)
    if delete is None:
        raise TypeError("this store has no method delete(), so it can't forget a login")
    # First without the lock: it would wait for a refresh of a login that is to stay.
    record = await login.load()
    if record is None or not _has_ended(record, ended_for):
        return record is None
    async with login.lock():
        # A new login may have begun since.
        record = await login.load()
        if record is None or not _has_ended(record, ended_for):
            return record is None
        await delete(expected=record.generation)
    return True


def _has_ended(record: Record, ended_for: float) -> bool:
    # A tombstone without a time is one of an older version, or of a program that saved it itself.
    ended_at = 0.0 if record.ended_at_unix is None else record.ended_at_unix
    return record.tokens is None and ended_at <= time.time() - ended_for


def _check_seconds(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"ended_for must be seconds as a number, not {type(value).__name__}")
    if not 0 <= value <= sys.float_info.max:
        raise ValueError("ended_for must be zero or more seconds, and finite")
