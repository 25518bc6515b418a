"""Which endpoint is where. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, final
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    from ._persona import Endpoint, Persona

URL_IN_MEMORY = "https://server.test"
RESOURCE = "/.well-known/oauth-protected-resource"


@final
@attrs.define(eq=False)
class Places:
    """The URLs of a server, in memory and while it serves on a socket."""

    persona: Persona
    named: str | None = None
    """The issuer that a test wants; None: that of the persona."""
    serving: list[str] = attrs.field(factory=list[str], init=False)
    """Base URLs on loopback, the newest last."""

    @property
    def base(self) -> str:
        """The server's URL."""
        return self.serving[-1] if self.serving else URL_IN_MEMORY

    @property
    def issuer(self) -> str:
        """Who a client is told to ask (RFC 8414 2)."""
        issuer = self.named or self.persona.issuer
        if issuer is None:
            return self.base + self.persona.issuer_path
        return self._here(issuer)

    def url(self, endpoint: Endpoint) -> str | None:
        """Return where an endpoint is; None: there is none."""
        place = self.persona.endpoints.get(endpoint)
        return None if place is None else self._here(place)

    def find(self, path: str) -> Endpoint | None:
        """Return which endpoint a path is; None: it is the API's."""
        for endpoint, place in self.persona.endpoints.items():
            if urlsplit(place).path == path:
                return endpoint
        if path.startswith(RESOURCE):
            return "resource"
        return "metadata" if "/.well-known/" in path else None

    def has_metadata(self, path: str) -> bool:
        """Say whether the metadata is at this path.

        With ``/tenant`` for the issuer's path, ``/.well-known/NAME/tenant`` (RFC 8414 3.1) and, by
        OpenID Connect, ``/tenant/.well-known/openid-configuration``. A slash at the end of an
        issuer may stay or go: clients differ.
        """
        issuer_path = urlsplit(self.issuer).path
        bare = issuer_path.rstrip("/")
        places = {
            f"/.well-known/{name}{tail}"
            for name in self.persona.well_known
            for tail in (bare, issuer_path)
        }
        if "openid-configuration" in self.persona.well_known:
            places.add(f"{bare}/.well-known/openid-configuration")
        return path in places

    def _here(self, place: str) -> str:
        parts = urlsplit(place)
        if parts.scheme and not self.serving:
            return place
        return self.base + parts.path
