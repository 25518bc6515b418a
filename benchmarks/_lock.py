"""What people paste: an auth class with a lock around the refresh. Fair, and for comparison only.

It does what such classes do well: one refresh at a time, and whoever comes late finds the new
token. It refreshes by the clock as well as after a 401, reads a response before it waits, and
refreshes through a client of its own. (`tests/pasted_lock.py` is the one for faults; it has
no clock, which half of the cases here are about.)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import ModuleType


def lock_auth(library: ModuleType, token_url: str, client: Any, expires_in: float) -> Any:
    """Make an auth object for a client of either library."""
    base: Any = library.Auth

    class LockAuth(base):  # type: ignore[misc]  # either library's
        def __init__(self) -> None:
            self.access_token, self.refresh_token = "access-0", "refresh-0"
            self.expires_at = time.monotonic() + expires_in
            self.lock = trio.Lock()

        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
            if time.monotonic() >= self.expires_at:
                await self.renew(self.access_token)
            used = self.access_token
            request.headers["Authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code == 401:
                await response.aread()
                await self.renew(used)
                request.headers["Authorization"] = f"Bearer {self.access_token}"
                yield request

        async def renew(self, used: str) -> None:
            async with self.lock:
                if self.access_token != used:
                    return
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
                self.expires_at = time.monotonic() + answer["expires_in"]

    return LockAuth()
