"""A store for one process, wherever a text can be kept: a keyring, a secrets manager."""

from collections.abc import Awaitable, Callable

import trio

import trioauth


class TextStore:
    def __init__(
        self, read: Callable[[], Awaitable[str | None]], write: Callable[[str], Awaitable[None]]
    ) -> None:
        self._read = read
        self._write = write
        self._lock = trio.Lock()

    def lock(self) -> trio.Lock:
        return self._lock

    async def load(self) -> trioauth.Record | None:
        text = await self._read()
        if text is None:
            return None
        try:
            return trioauth.Record.from_text(text)
        except ValueError as error:
            reason = str(error)
        raise trioauth.StoreError(f"what is kept there is {reason}; remove it and log in again")

    async def save(self, record: trioauth.Record, *, expected: int) -> None:
        stored = await self.load()
        found = 0 if stored is None else stored.generation
        if found != expected:
            raise trioauth.StoreConflictError(f"generation {found} is stored, not {expected}")
        await self._write(record.to_text())
