"""People who log in at oidc-provider with Chromium, and what is looked at when they have."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, final

import attrs
import httpx2
import trio

import trioauth
from trioauth import OAuthClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trioauth import Session
    from trioauth.oauth.logins.prompt import Invitation

    from .chromium import Page
    from .provider import Provider

# Without the prompt it leaves offline_access out, silently (OpenID Connect Core 11).
SCOPE, RENEWABLE = "openid offline_access", {"prompt": "consent"}
PATIENCE = 90
ANN = "ann"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class Api(Protocol):
    """The API of a server."""

    @property
    def api_url(self) -> str: ...


@final
@attrs.define(eq=False)
class Asked:
    """A prompt that shows an invitation to the test."""

    _send: trio.MemorySendChannel[Invitation]
    _receive: trio.MemoryReceiveChannel[Invitation]

    @classmethod
    def new(cls) -> Asked:
        return cls(*trio.open_memory_channel["Invitation"](math.inf))

    async def __call__(self, invitation: Invitation, /) -> str | None:
        await self._send.send(invitation)
        return None

    async def invitation(self) -> Invitation:
        return await self._receive.receive()


async def sign_in(page: Page) -> None:
    """Enter a name and a password at the server; any will do."""
    await page.type("input[name=login]", ANN)
    await page.type("input[name=password]", "of no account")
    await page.click("button.login-submit")


async def agree(page: Page) -> None:
    """Sign in, and let the program do what it asks for."""
    await sign_in(page)
    # The page after it, which has no fields.
    await page.click("form:has(input[name=prompt][value=consent]) button[type=submit]")


async def decline(page: Page) -> None:
    """Go away from the page where one signs in."""
    await page.click("a[href$=abort]")


async def desktop(
    provider: Provider,
    issuer: str | None = None,
    *,
    redirect_uri: str = "http://127.0.0.1/callback",
    ports: tuple[int, ...] = (),
) -> OAuthClient:
    """Register a program on a person's machine, which has no secret."""
    await provider.configure(access_token_ttl=600)
    await provider.register(
        "desktop",
        # The server wants the very URI of a web client, and takes any port of a native one.
        application_type="web" if ports else "native",
        token_endpoint_auth_method="none",  # noqa: S106  # the name of a method
        grant_types=["authorization_code", "refresh_token", DEVICE],
        redirect_uris=[redirect_uri.replace("/callback", f":{port}/callback") for port in ports]
        or [redirect_uri],
    )
    return OAuthClient(
        "desktop",
        issuer=issuer or provider.issuer,
        scope=SCOPE,
        parameters=RENEWABLE,
        redirect_uri=redirect_uri,
        ports=ports,
    )


async def go_through(page: Page, invitation: Invitation) -> None:
    """Log in with the browser, until the program says that it worked."""
    await page.open(invitation.url)
    await agree(page)
    await page.read("You are logged in")


@asynccontextmanager
async def open_session(grant: Any, api: Api, **options: Any) -> AsyncGenerator[Session]:
    with trio.fail_after(PATIENCE):
        async with trioauth.open_session(
            grant, base_url=api.api_url, trust_env=False, **options
        ) as session:
            yield session


async def log_in(
    session: Session,
    asked: Asked,
    log_in: Callable[..., Awaitable[Any]],
    person: Callable[[Invitation], Awaitable[None]],
) -> None:
    """Log in, while a person does something with the invitation."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.log_in, log_in)
        await invited(asked, person)
    assert who(session) == ANN


def who(session: Session) -> str:
    """Return who has logged in, by the ID token, which the server has signed."""
    assert isinstance(session.state, trioauth.LoggedIn)
    assert session.state.identity is not None
    return session.state.identity.sub


async def userinfo(session: Session, provider: Provider) -> dict[str, Any]:
    """Ask the server for more about the person (OpenID Connect Core 5.3)."""
    response = await session.get(provider.userinfo_url)
    assert response.status_code == 200, response.text
    claims: dict[str, Any] = response.json()
    return claims


async def invited(asked: Asked, person: Callable[[Invitation], Awaitable[None]]) -> None:
    """Let a person do something with the invitation."""
    await person(await asked.invitation())


async def both_see(session: Session, api: Api, generation: int) -> None:
    """Ask for something with both libraries, and look at which access token came."""
    response = await session.get("me")
    assert response.status_code == 200, response.text
    assert response.json()["generation"] == generation
    async with session.attach(httpx2.AsyncClient(trust_env=False)) as http:
        answer = await http.get(f"{api.api_url}me")
    assert answer.status_code == 200, answer.text
    assert answer.json()["generation"] == generation
