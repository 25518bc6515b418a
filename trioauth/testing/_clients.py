"""The clients that the server knows, and how they say who they are. Pure but for random numbers."""

from __future__ import annotations

import ipaddress
import secrets
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit

import attrs

from ._forms import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._persona import Redirects


@final
@attrs.frozen
class Client:
    """An application that the server knows (RFC 6749 2)."""

    client_id: str
    secret: str | None = attrs.field(default=None, repr=False)
    redirect_uris: tuple[str, ...] = ()
    """Those registered; with none, any http URL of loopback will do, unless they are exact."""
    jwks: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """Its public keys, if it says who it is by signing."""

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to say who it is (RFC 6749 2.1)."""
        return self.secret is None and self.jwks is None

    def takes(self, redirect_uri: str, redirects: Redirects) -> bool:
        """Say whether the browser may be sent there (RFC 6749 3.1.2.3; RFC 8252 7.3)."""
        if not self.redirect_uris:
            return redirects != "exact" and _is_free(redirect_uri, redirects)
        return any(
            redirect_uri == registered
            or (
                _is_free(redirect_uri, redirects)
                and _without_port(redirect_uri) == _without_port(registered)
            )
            for registered in self.redirect_uris
        )


def _is_free(uri: str, redirects: Redirects) -> bool:
    """Say whether the port of this redirect URI may be any."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        parts.port  # noqa: B018  # raises if it is none
    except ValueError:
        return False
    if parts.scheme != "http" or "#" in uri:
        return False
    if host == "localhost":
        return redirects in {"loopback", "localhost"}
    return redirects in {"loopback", "ip"} and is_loopback_address(host)


def is_loopback_uri(uri: str) -> bool:
    """Say whether a redirect URI is one of loopback, without https."""
    return _is_free(uri, "loopback")


def is_loopback_address(host: str) -> bool:
    """Say whether a host is an IP address of loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(uri: str) -> tuple[str, str | None, str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname, parts.path, parts.query


@final
@attrs.define(eq=False)
class Clients:
    """Every client: the one that there is from the beginning, and those that registered."""

    first: Client
    documents: dict[str, Mapping[str, object]] = attrs.field(
        factory=dict[str, "Mapping[str, object]"], init=False
    )
    """Client id metadata documents by their URL, in place of fetching them."""
    _registered: dict[str, Client] = attrs.field(factory=dict[str, Client], init=False)
    _count: int = attrs.field(default=0, init=False)
    """How many ever did: no id is given twice."""

    def find(self, client_id: str | None) -> Client | None:
        """Return the client of this id."""
        if client_id == self.first.client_id:
            return self.first
        if client_id in self._registered:
            return self._registered[client_id]
        document = self.documents.get(client_id or "")
        if document is None:
            return None
        return Client(str(client_id), redirect_uris=uris_of(document))

    def register(self, metadata: Mapping[str, Any]) -> Client:
        """Register one more client (RFC 7591)."""
        self._count += 1
        # A method that is missing means client_secret_basic (RFC 7591 2).
        method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
        secret = f"cs-canary-{secrets.token_hex(12)}" if "secret" in str(method) else None
        jwks = metadata.get("jwks") if method == "private_key_jwt" else None
        client = Client(f"registered-{self._count}", secret, uris_of(metadata), jwks)
        self._registered[client.client_id] = client
        return client

    def forget(self) -> None:
        """Forget all clients that registered."""
        self._registered.clear()


def uris_of(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the redirect URIs of a registration or of a document."""
    return tuple(map(str, listed(metadata.get("redirect_uris", []))))
