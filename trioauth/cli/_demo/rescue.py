"""A last place for tokens that their store did not take."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trioauth._errors import StoreError
from trioauth.stores import FileStore
from trioauth.stores._contract import Record

if TYPE_CHECKING:
    from trioauth._tokens import Tokens


async def rescue(tokens: Tokens) -> Path | None:
    """Save tokens in a private file of their own; return which, or None if there is no room either.

    Cancellation:
      All or nothing.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="trioauth-demo-"))  # noqa: ASYNC240  # a last resort
        store = FileStore(folder / "tokens.json")
        async with store.lock():
            await store.save(Record(1, tokens), expected=0)
    except (OSError, StoreError):
        await trio.lowlevel.checkpoint()
        return None
    return store.path
