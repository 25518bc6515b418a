"""A client (RFC 6749 2) that proves who it is with a secret, or not at all."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final
from urllib.parse import quote_plus

import attrs

from trioauth._secrets import Unpicklable

from .channel import TokenRequest
from .fields import check_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ClientAuth: TypeAlias = Literal["none", "client_secret_basic", "client_secret_post"]
"""How a client proves who it is, by the names of OpenID Connect Core 9."""

_METHODS = ("none", "client_secret_basic", "client_secret_post")


def _check_auth(client: Client, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in _METHODS:
        raise ValueError(f"{attribute.name} must be one of {', '.join(_METHODS)}, not {value!r}")
    if value == "none" and client.client_secret is not None:
        raise ValueError('client_auth="none" has no use for client_secret; pass one of the two')
    if value != "none" and client.client_secret is None:
        raise ValueError(f'client_auth="{value}" needs a client_secret')


@final
@attrs.frozen
class Client(Unpicklable):
    """Who asks. Proves it in exactly one way (RFC 6749 2.3)."""

    client_id: str = attrs.field(validator=check_text)
    client_secret: str | None = attrs.field(
        repr=False, validator=attrs.validators.optional(check_text)
    )
    client_auth: ClientAuth = attrs.field(validator=_check_auth)

    @classmethod
    def of(
        cls, client_id: str, client_secret: str | None, client_auth: ClientAuth | None
    ) -> Client:
        """Fill in how, if that was left open: Basic, which every server must support (2.3.1)."""
        by_default: ClientAuth = "none" if client_secret is None else "client_secret_basic"
        return cls(client_id, client_secret, by_default if client_auth is None else client_auth)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen anywhere, in every form that is sent."""
        return () if self.client_secret is None else (self.client_secret, self._basic())

    def request(self, url: str, data: Mapping[str, str | Sequence[str]]) -> TokenRequest:
        """Make a request of this client: a form, with the proof added to it."""
        return self.sign(TokenRequest(url, data))

    def sign(self, request: TokenRequest) -> TokenRequest:
        """Add the proof to a request that is a form."""
        if self.client_auth == "client_secret_basic":
            headers = {**request.headers, "Authorization": f"Basic {self._basic()}"}
            return attrs.evolve(request, headers=headers)
        data = {**(request.data or {}), "client_id": self.client_id}
        if self.client_secret is not None:
            data["client_secret"] = self.client_secret
        return attrs.evolve(request, data=data)

    def _basic(self) -> str:
        # Encoded as in a form first (RFC 6749 2.3.1): there may be a colon in either.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret or '')}"
        return base64.b64encode(pair.encode("ascii")).decode("ascii")
