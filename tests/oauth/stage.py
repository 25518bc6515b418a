"""Stage: an API whose server registers clients, and a program that keeps what it must."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from trioauth import FileStore, OAuthClient, Session, open_session
from trioauth.testing import AuthServer
from trioauth.testing._personas import find_persona

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from trioauth import ResourceClient

API = "https://server.test/mcp"
MCP = find_persona("mcp")
# As supabase/auth#2703: each redirect URI to the letter, the port included.
EXACT = attrs.evolve(MCP, redirects="exact")


@attrs.define
class Stage:
    """An API whose server registers clients, and a program that keeps what it must."""

    folder: Path
    auth: AuthServer

    def client(self, url: str = API, **options: Any) -> ResourceClient:
        kept: dict[str, Any] = {"keep": self.folder / "client.json", "name": "Notes", **options}
        return OAuthClient.for_resource(url, **kept)

    def open(self, client: ResourceClient) -> AbstractAsyncContextManager[Session]:
        return open_session(
            client,
            store=FileStore(self.folder / "tokens.json"),
            base_url=API,
            transport=self.auth.transport(),
        )

    async def log_in(self, client: ResourceClient | None = None, **options: Any) -> None:
        client = client or self.client()
        async with self.open(client) as session:
            await session.log_in(client.browser(prompt=self.auth.person(), **options))

    @property
    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "client.json").read_text("utf-8"))
        return found

    @property
    def client_id(self) -> str:
        found: str = self.kept["login"]["client"]["client_id"]
        return found


def stage_of(folder: Path, persona: Any = EXACT, **options: Any) -> Stage:
    auth = AuthServer(persona=persona, scope="notes write offline_access", **options)
    auth.approve()
    return Stage(folder, auth)
