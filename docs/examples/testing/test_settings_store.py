"""The store of one's own keeps the promises of a store."""

from __future__ import annotations

from settings_store import Settings, SettingsStore

from trioauth.testing import check_store


async def test_the_settings_keep_the_promises_of_a_store() -> None:
    settings = Settings()
    await check_store(lambda: SettingsStore(settings))
