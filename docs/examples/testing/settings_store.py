"""A store of one's own: the tokens are one of the settings that a program keeps anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trioauth import Record, StoreConflictError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


@attrs.define
class Settings:
    """Stands for a table, a cache or a shelf; its ``values`` are read and written at once."""

    values: dict[str, str] = attrs.field(factory=dict[str, str], repr=False)
    lock: trio.Lock = attrs.field(factory=trio.Lock)


@attrs.define
class SettingsStore:
    settings: Settings

    def lock(self) -> AbstractAsyncContextManager[None]:
        return self.settings.lock

    async def load(self) -> Record | None:
        await trio.lowlevel.checkpoint()
        text = self.settings.values.get("tokens")
        return None if text is None else Record.from_text(text)

    async def save(self, record: Record, *, expected: int) -> None:
        stored = await self.load()
        found = 0 if stored is None else stored.generation
        if found != expected:
            raise StoreConflictError(f"generation {found} is stored, not {expected}")
        self.settings.values["tokens"] = record.to_text()
