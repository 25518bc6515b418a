"""Who is compared: a fixed header (the floor), trioauth, and its peers.

A side is opened in a `World`, which says where the API and the token endpoint are and how old
the token is, and gives a client: something with ``get`` and, but for azure-core, ``stream``.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import httpx
import httpx2
import trio

import trioauth

from ._lock import lock_auth

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    Opener: TypeAlias = "Callable[[World], AbstractAsyncContextManager[Any]]"

IN_MEMORY = "https://api.test"


@attrs.define
class World:
    """Where the API and the token endpoint are: in memory here, or elsewhere behind a socket."""

    base_url: str = IN_MEMORY
    expires_in: float = 3600.0
    lifetime: float = 3600.0
    """Of the tokens that a refresh brings."""
    token_status: int = 200
    """What the token endpoint answers."""
    token_latency: float | None = None
    """How many seconds it takes; None: no checkpoint either."""
    waits: bool = False
    """Whether an answer of the API takes a checkpoint, as it does on a network."""
    refused: str = ""
    """The token that the API refuses."""
    requests: int = 0
    refreshes: int = 0
    token_path: str = "/token"  # noqa: S105  # a path

    @property
    def token_url(self) -> str:
        """Return the URL of the token endpoint."""
        return self.base_url + self.token_path

    def transport(self, library: ModuleType) -> dict[str, Any]:
        """Return the option that leads a client here, if this world is in memory."""
        if self.base_url != IN_MEMORY:
            return {}
        if self.waits:
            return {"transport": library.MockTransport(partial(self._answer, library))}
        # A handler as cheap as can be, or it would hide what is measured.
        return {"transport": library.MockTransport(partial(self._answer_at_once, library))}

    def blocking_transport(self) -> dict[str, Any]:
        """Return the same for a synchronous client, which can only ask for tokens."""
        if self.base_url != IN_MEMORY:
            return {}
        return {"transport": httpx.MockTransport(lambda _: self._tokens(httpx))}

    def _answer_at_once(self, library: Any, request: Any) -> Any:
        if request.method == "POST":
            return self._tokens(library)
        return library.Response(200, content=b"ok")

    async def _answer(self, library: Any, request: Any) -> Any:
        if request.method == "POST":
            if self.token_latency is not None:
                await trio.sleep(self.token_latency)
            return self._tokens(library)
        self.requests += 1
        await trio.lowlevel.checkpoint()
        refused = self.refused and request.headers["Authorization"] == f"Bearer {self.refused}"
        return library.Response(401 if refused else 200, content=b"ok")

    def _tokens(self, library: Any) -> Any:
        self.refreshes += 1
        if self.token_status != 200:
            return library.Response(self.token_status)
        number = self.refreshes
        return library.Response(
            200,
            json={
                "access_token": f"access-{number}",
                "refresh_token": f"refresh-{number}",
                "token_type": "Bearer",
                "expires_in": self.lifetime,
            },
        )


@asynccontextmanager
async def bare(world: World, library: Any) -> AsyncGenerator[Any, None]:
    """Open a client with a fixed header: what no library could be faster than."""
    headers = {"Authorization": "Bearer access"}
    async with library.AsyncClient(
        base_url=world.base_url, headers=headers, **world.transport(library)
    ) as client:
        yield client


@asynccontextmanager
async def session(world: World, **options: Any) -> AsyncGenerator[trioauth.Session, None]:
    """Open a session; it is the side "trioauth, its own client", too."""
    grant = trioauth.RefreshTokenGrant(world.token_url, client_id="client")
    tokens = trioauth.Tokens("access-0", "refresh-0", world.expires_in)
    async with trioauth.open_session(
        grant, tokens=tokens, base_url=world.base_url, **world.transport(httpx), **options
    ) as opened:
        yield opened


@asynccontextmanager
async def attached(world: World, library: Any, **options: Any) -> AsyncGenerator[Any, None]:
    """Open a client of a library, signed by a session."""
    async with (
        session(world, **options) as opened,
        library.AsyncClient(base_url=world.base_url, **world.transport(library)) as client,
    ):
        yield opened.attach(client)


@asynccontextmanager
async def locked(world: World, library: Any) -> AsyncGenerator[Any, None]:
    """Open a client with the auth class that people paste."""
    options = {"base_url": world.base_url, **world.transport(library)}
    async with library.AsyncClient(**options) as tokens, library.AsyncClient(**options) as client:
        client.auth = lock_auth(library, world.token_url, tokens, world.expires_in)
        yield client


@asynccontextmanager
async def authlib(world: World) -> AsyncGenerator[Any, None]:
    """Open Authlib's client, on httpx2."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    token = {
        "access_token": "access-0",
        "refresh_token": "refresh-0",
        "token_type": "Bearer",
        "expires_at": time.time() + world.expires_in,
    }
    async with AsyncOAuth2Client(
        "client",
        token=token,
        token_endpoint=world.token_url,
        leeway=min(60, world.lifetime / 4),
        base_url=world.base_url,
        **world.transport(httpx2),
    ) as client:
        yield client


@asynccontextmanager
async def mcp(world: World) -> AsyncGenerator[Any, None]:
    """Open a client with the auth class of the MCP SDK, on httpx2."""
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

    class Storage:
        async def get_tokens(self) -> OAuthToken:
            return OAuthToken(access_token="access-0", refresh_token="refresh-0")  # noqa: S106

        async def set_tokens(self, tokens: OAuthToken) -> None:
            pass

        async def get_client_info(self) -> OAuthClientInformationFull:
            return OAuthClientInformationFull.model_validate(metadata | {"client_id": "client"})

        async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
            pass

    metadata = {"redirect_uris": ["http://localhost/callback"]}
    auth = OAuthClientProvider(
        world.base_url, OAuthClientMetadata.model_validate(metadata), Storage()
    )
    await auth._initialize()
    auth.context.token_expiry_time = time.time() + world.expires_in
    async with httpx2.AsyncClient(
        base_url=world.base_url, auth=auth, **world.transport(httpx2)
    ) as client:
        yield client


@asynccontextmanager
async def httpx_auth(world: World) -> AsyncGenerator[Any, None]:
    """Open a client with httpx-auth's class for client credentials; it knows no refresh tokens."""
    from httpx_auth import OAuth2, OAuth2ClientCredentials

    async with AsyncExitStack() as stack:
        tokens = stack.enter_context(httpx.Client(**world.blocking_transport()))
        auth = OAuth2ClientCredentials(world.token_url, "client", "secret", client=tokens)
        OAuth2.token_cache.clear()
        OAuth2.token_cache._add_access_token(auth.state, "access-0", world.expires_in)
        yield await stack.enter_async_context(
            httpx.AsyncClient(base_url=world.base_url, auth=auth, **world.transport(httpx))
        )


@attrs.frozen
class AzureClient:
    """azure-core's pipeline, with an httpx2 client for a transport."""

    pipeline: Any
    base_url: str

    async def get(self, url: str) -> Any:
        """Send a request to a path of the API, or to another URL."""
        from azure.core.rest import HttpRequest

        request = HttpRequest("GET", self.base_url + url if url.startswith("/") else url)
        return (await self.pipeline.run(request)).http_response


@asynccontextmanager
async def azure(world: World, *, floor: bool = False) -> AsyncGenerator[AzureClient, None]:
    """Open azure-core's pipeline, with its bearer policy or with a fixed header."""
    from azure.core.credentials import AccessToken
    from azure.core.pipeline import AsyncPipeline
    from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, HeadersPolicy

    class Credential:
        first = world.expires_in > 0

        async def get_token(self, *_: str, **__: Any) -> AccessToken:
            if self.first:
                self.first = False
                return AccessToken("access-0", int(time.time() + world.expires_in))
            response = await client.post(world.token_url)
            response.raise_for_status()
            return AccessToken(response.json()["access_token"], int(time.time() + world.lifetime))

    class Transport:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *_: object) -> None:
            pass

        async def send(self, request: Any, **_: Any) -> Any:
            return await client.request(request.method, request.url, headers=request.headers)

        async def sleep(self, seconds: float) -> None:
            await trio.sleep(seconds)

    fixed = HeadersPolicy({"Authorization": "Bearer access"})
    policy: Any = fixed if floor else AsyncBearerTokenCredentialPolicy(Credential(), "scope")
    async with httpx2.AsyncClient(**world.transport(httpx2)) as client:
        yield AzureClient(AsyncPipeline(Transport(), [policy]), world.base_url)


FLOOR = {"httpx": "httpx, fixed header", "httpx2": "httpx2, fixed header"}
OURS = {"httpx": "trioauth on httpx", "httpx2": "trioauth on httpx2"}
OWN = "trioauth's own client"
LOCK = {"httpx": "pasted lock on httpx", "httpx2": "pasted lock on httpx2"}
AUTHLIB, MCP, HTTPX_AUTH = "Authlib on httpx2", "MCP SDK on httpx2", "httpx-auth on httpx"
AZURE, AZURE_FLOOR = "azure-core", "azure-core, fixed header"
PEERS = frozenset({AUTHLIB, MCP, HTTPX_AUTH, AZURE, AZURE_FLOOR})
"""Those whose packages are imported when they are opened, and need not be installed before."""

OPENERS: dict[str, Opener] = {
    FLOOR["httpx"]: partial(bare, library=httpx),
    FLOOR["httpx2"]: partial(bare, library=httpx2),
    OURS["httpx"]: partial(attached, library=httpx),
    OURS["httpx2"]: partial(attached, library=httpx2),
    OWN: session,
    LOCK["httpx"]: partial(locked, library=httpx),
    LOCK["httpx2"]: partial(locked, library=httpx2),
    AUTHLIB: authlib,
    MCP: mcp,
    HTTPX_AUTH: httpx_auth,
    AZURE_FLOOR: partial(azure, floor=True),
    AZURE: azure,
}

FLOOR_OF = {
    OURS["httpx"]: FLOOR["httpx"],
    OURS["httpx2"]: FLOOR["httpx2"],
    OWN: FLOOR["httpx"],
    LOCK["httpx"]: FLOOR["httpx"],
    LOCK["httpx2"]: FLOOR["httpx2"],
    AUTHLIB: FLOOR["httpx2"],
    MCP: FLOOR["httpx2"],
    HTTPX_AUTH: FLOOR["httpx"],
    AZURE: AZURE_FLOOR,
}
"""Each side, and the floor it is compared with."""
