"""Providers and the personas that play them: what the tests of providers log in with."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs

from trioauth import ClientSecretPost, OAuthClient, providers
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from trioauth.providers import Provider

SECRET = "cs-canary"  # noqa: S105  # of no real client

# With the names of hosts that the personas have.
KNOWN: dict[str, Provider] = {
    "google": providers.google(),
    "entra": providers.entra(),
    "github": providers.github(),
    "gitlab": providers.gitlab(),
    "okta": providers.okta("dev-1.okta.com"),
    "auth0": providers.auth0("tenant.auth0.com", audience="https://api.example.com"),
    "keycloak": providers.keycloak("https://keycloak.example", "main"),
    "cognito": providers.cognito("eu-west-1_Example"),
    "slack": providers.slack(),
    "dropbox": providers.dropbox(),
    "salesforce": providers.salesforce(),
    "gitea": providers.gitea("https://gitea.example"),
    "authentik": providers.authentik("https://authentik.example", "notes"),
    "dex": providers.dex("https://dex.example/dex"),
}
CONFIDENTIAL = {"google", "github", "slack"}
WITH_DEVICES = ("google", "entra", "github", "gitlab", "okta", "auth0", "keycloak", "authentik",
                "dex")  # fmt: skip


def free_ports(count: int = 3) -> tuple[int, ...]:
    """Ports that are free now, in place of the one that is registered: tests run side by side."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def known(name: str) -> Provider:
    provider = KNOWN[name]
    return attrs.evolve(provider, ports=free_ports()) if provider.ports else provider


def server_like(name: str, provider: Provider, **options: Any) -> AuthServer:
    """The persona, where a client is registered as the provider wants it."""
    filled_in: dict[str, Any] = {
        "persona": name,
        "redirect_uris": provider.redirect_uris,
        "client_secret": SECRET if name in CONFIDENTIAL else None,
    }
    return AuthServer(**{**filled_in, **options})


def client_of(name: str, provider: Provider, **options: Any) -> OAuthClient:
    auth = ClientSecretPost(SECRET) if name in CONFIDENTIAL else None
    return provider.client("client", **{"auth": auth, "scope": "notes", **options})
