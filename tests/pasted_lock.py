"""What people paste: an auth class with a lock around the refresh. Fair, and for comparison only.

It does what such classes do well: one refresh at a time, and a task that comes late finds
the new token. It is a `trio.Lock`, the response is read before the wait, and the refresh
goes through a client of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType

    from trioauth import Tokens


def lock_auth(library: ModuleType, token_url: str, client: Any, tokens: Tokens) -> Any:
    """Make an auth object for a client of either library."""
    base: Any = library.Auth

    class LockAuth(base):  # type: ignore[misc]  # either library's
        def __init__(self) -> None:
            self.access_token = tokens.access_token
            self.refresh_token = tokens.refresh_token
            self.lock = trio.Lock()

        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
            used = self.access_token
            request.headers["Authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code == 401:
                await response.aread()
                async with self.lock:
                    if self.access_token == used:
                        await self.refresh()
                request.headers["Authorization"] = f"Bearer {self.access_token}"
                yield request

        async def refresh(self) -> None:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self.refresh_token,
                "client_id": "client",
            }
            response = await client.post(token_url, data=form)
            response.raise_for_status()
            answer = response.json()
            self.access_token = answer["access_token"]
            self.refresh_token = answer["refresh_token"]

    return LockAuth()
