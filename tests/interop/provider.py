"""Provider: the authorization server's process, as seen by a test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import attrs
import httpx

from .install import HERE, find_program

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_START_TIMEOUT = 30
STOP_TIMEOUT = 5


@final
@attrs.frozen
class Client:
    """A client the server knows."""

    client_id: str
    client_secret: str | None = attrs.field(default=None, repr=False)


@final
@attrs.define(eq=False)
class Provider:
    """oidc-provider, two protected APIs, and what a test may do behind their backs.

    The clients: ``public``; ``basic`` and ``post`` (confidential, with odd characters in id and
    secret); ``service`` (client credentials only). All async methods talk to the server over a
    connection of their own.
    """

    issuer: str
    """Such as ``http://127.0.0.1:49152``, without a slash at its end."""
    clients: Mapping[str, Client]

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def tenant(self) -> str:
        """Another issuer, with a path; insists on pushed authorization requests."""
        return f"{self.issuer}/tenant"

    @property
    def userinfo_url(self) -> str:
        return f"{self.issuer}/me"

    @property
    def revocation_url(self) -> str:
        return f"{self.issuer}/token/revocation"

    @property
    def introspection_url(self) -> str:
        return f"{self.issuer}/token/introspection"

    @property
    def api_url(self) -> str:
        """The API of oidc-provider's access tokens; any path below it answers."""
        return f"{self.issuer}/api/"

    @property
    def own_refresh_url(self) -> str:
        """Takes a refresh token as a bearer token; JSON comes back."""
        return f"{self.issuer}/auth/refresh"

    @property
    def own_api_url(self) -> str:
        """The API of that server's access tokens; any path below it answers."""
        return f"{self.issuer}/own/"

    async def log_in(self, client: str = "public") -> dict[str, Any]:
        """Return a token response for a user's login, as after an authorization code flow.

        It says the number of the ``login``, too.

        Args:
          client: One of the `clients`, or the ``client_id`` of one that was registered.
        """
        client_id = self.clients[client].client_id if client in self.clients else client
        return await self._post("login", {"client_id": client_id})

    async def log_in_own(self) -> dict[str, Any]:
        """Return ``accessToken``, ``refreshToken``, ``expiresIn`` of the server of its own kind."""
        return await self._post("own-login")

    async def expire(self) -> None:
        """Let all access tokens expire now. Their generation numbers go on."""
        await self._post("expire")

    async def revoke(self, login: int | None = None) -> None:
        """End one login at the server, or all of them."""
        await self._post("revoke", {} if login is None else {"login": login})

    async def register(self, client_id: str, **metadata: object) -> None:
        """Make a client known until the test ends, with metadata as in RFC 7591."""
        await self._post("client", {"client_id": client_id, **metadata})

    async def rotate_keys(self) -> None:
        """Sign ID tokens with a new key from now on; the old ones are still published."""
        await self._post("rotate-keys")

    async def configure(self, **settings: float | str) -> None:
        """Change settings until the test ends.

        Args:
          **settings: ``access_token_ttl`` (whole seconds, for tokens issued from now on),
              ``storage_delay`` (seconds for looking up a refresh token), ``answer_delay`` (seconds
              between the rotation and the answer), ``metadata`` (``"openid"`` or ``"oauth"``: only
              that form of well-known address is served).
        """
        await self._post("settings", settings)

    async def ledger(self) -> dict[str, Any]:
        """Return what the server counted since the test began; see ledger.mjs."""
        return await self._call("GET", "ledger")

    async def refreshes(self, grant_type: str = "refresh_token") -> tuple[int, int]:
        """Return how many token requests succeeded, and how many failed.

        Args:
          grant_type: ``own`` for the server of its own kind.
        """
        counts = (await self.ledger())["token_requests"].get(grant_type, {})
        return counts.get("success", 0), counts.get("error", 0)

    def reset(self) -> None:
        """Forget everything: tokens, logins, counts, settings."""
        httpx.post(f"{self.issuer}/test/reset", trust_env=False).raise_for_status()

    async def _post(self, action: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        return await self._call("POST", action, body)

    async def _call(
        self, method: str, action: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        # No proxy from the environment; and no context from it either: it costs 50 ms.
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            response = await http.request(method, f"{self.issuer}/test/{action}", json=body)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result


@contextlib.contextmanager
def run_provider(*, access_token_ttl: int = 3) -> Generator[Provider]:
    """Run the server in a process of its own, on a free port of the loopback interface."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+") as log:
        process = subprocess.Popen(
            [find_program("node"), str(HERE / "server.mjs"), str(access_token_ttl)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            ready = _read_line(process)
            if not ready:
                log.seek(0)
                raise RuntimeError(f"the authorization server did not start:\n{log.read()}")
            clients = {
                name: Client(client["client_id"], client.get("client_secret"))
                for name, client in ready["clients"].items()
            }
            yield Provider(ready["issuer"], clients)
        finally:
            _stop(process)


def _read_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    # Killing it is the portable way to end a read that takes too long.
    watchdog = threading.Timer(_START_TIMEOUT, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
        watchdog.join()
    result: dict[str, Any] = json.loads(line or "{}")
    return result


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    # The server ends when its stdin does, so it never outlives the tests, not even killed ones.
    process.stdin.close()
    for end in (process.terminate, process.kill, None):
        try:
            process.wait(STOP_TIMEOUT)
            break
        except subprocess.TimeoutExpired:
            if end is None:
                raise
            end()
    process.stdout.close()
