"""How a client proves who it is (RFC 6749 2.3, RFC 7523 2.2, OpenID Connect Core 9).

Each is a value that is called with a request, and returns it with the proof added. A client has one
of them, so a request has exactly one proof; a public client has none, and says its client_id.

A client assertion is a JWT that is valid for a minute and has a ``jti`` of its own, so each request
gets a new one, that of a repeated attempt included (P27). It is for the issuer of the server, one
plain string, as FAPI 2.0 wants it; for a server without an issuer it is for the token endpoint.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, final

import attrs
import trio

from trioauth._secrets import Unpicklable

from .by_secret import Client
from .fields import check_text

if TYPE_CHECKING:
    from .channel import TokenRequest

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME: Final = 60

_Sign: TypeAlias = Callable[[bytes], Awaitable[bytes]]


class ClientAuthentication(Protocol):
    """How a client proves who it is: any async function of this shape will do.

    What it adds to the request is hidden in errors. If it has more to hide, such as a secret that
    it sends encoded, an attribute ``secrets`` names that.
    """

    async def __call__(
        self, request: TokenRequest, client_id: str, audience: str, /
    ) -> TokenRequest:
        """Return the request with the proof added: to its form, to its headers.

        Called for each attempt anew.

        Args:
          request: A form, to be sent to ``request.url``.
          client_id: Of the client. It is not in the form yet.
          audience: Whom an assertion is for: the issuer of the server, or its token endpoint.

        Cancellation:
          Safe: nothing has been sent.
        """
        ...


def add_to_form(request: TokenRequest, **more: str) -> TokenRequest:
    """Return a request with more parameters in its form."""
    return attrs.evolve(request, data={**(request.data or {}), **more})


@final
@attrs.frozen
class ClientSecretBasic(Unpicklable):
    """The client's secret, in the header ``Authorization: Basic`` (RFC 6749 2.3.1).

    What every server understands.
    """

    client_secret: str = attrs.field(repr=False, validator=check_text)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in an error."""
        return (self.client_secret,)

    async def __call__(
        self,
        request: TokenRequest,
        client_id: str,
        audience: str,  # noqa: ARG002  # as the others
        /,
    ) -> TokenRequest:
        """Add the header.

        Cancellation:
          Safe. Nothing has been sent.
        """
        await trio.lowlevel.checkpoint()
        return Client(client_id, self.client_secret, "client_secret_basic").sign(request)


@final
@attrs.frozen
class ClientSecretPost(Unpicklable):
    """The client's secret, among the parameters, for servers that don't read the header."""

    client_secret: str = attrs.field(repr=False, validator=check_text)

    async def __call__(
        self,
        request: TokenRequest,
        client_id: str,
        audience: str,  # noqa: ARG002  # as the others
        /,
    ) -> TokenRequest:
        """Add the parameters.

        Cancellation:
          Safe. Nothing has been sent.
        """
        await trio.lowlevel.checkpoint()
        return Client(client_id, self.client_secret, "client_secret_post").sign(request)


@final
@attrs.frozen
class ClientSecretJWT(Unpicklable):
    """A JWT signed with the client's secret (``client_secret_jwt``): the secret itself stays here.

    Args:
      client_secret: At least as many bytes as the algorithm's digest has, or servers refuse it
          (RFC 7518 3.2).
      algorithm: As the client is registered.
    """

    client_secret: str = attrs.field(repr=False, validator=check_text)
    algorithm: Literal["HS256", "HS384", "HS512"] = attrs.field(
        default="HS256", validator=attrs.validators.in_(("HS256", "HS384", "HS512"))
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be seen in an error."""
        return (self.client_secret,)

    async def __call__(
        self, request: TokenRequest, client_id: str, audience: str, /
    ) -> TokenRequest:
        """Add a new assertion.

        Cancellation:
          Safe. Nothing has been sent.
        """
        await trio.lowlevel.checkpoint()
        return await _assert(request, client_id, audience, {"alg": self.algorithm}, self._sign)

    async def _sign(self, data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        digest = getattr(hashlib, f"sha{self.algorithm[2:]}")
        return hmac.new(self.client_secret.encode(), data, digest).digest()


@final
@attrs.frozen(init=False)
class PrivateKeyJWT(Unpicklable):
    """A JWT signed with a private key (``private_key_jwt``), whose public part the server knows.

    Needs the extra ``jose``, unless something else signs::

        PrivateKeyJWT(Path("key.pem").read_bytes(), kid="2026-11")
        PrivateKeyJWT(sign=hsm.sign, algorithm="ES256", kid="2026-11")

    Args:
      key: As PEM, as a JWK (a dict), or as a key of joserfc.
      algorithm: As the client is registered. None for the ``alg`` of the JWK, or else by the kind
          of the key: RS256, ES256, ES384, ES512, EdDSA.
      kid: By which the server finds the public part; many insist on one. None for the ``kid`` of
          the JWK, if it has one.
      sign: Instead of a key, an async function that returns the signature of some bytes, in the
          form of RFC 7518 3 (for ES256 not DER but R and S, 64 bytes): for a key in an HSM, or at
          a cloud's key service. ``algorithm`` says which one it makes.

    Raises:
      ValueError: It is no private key, or it doesn't fit the algorithm. Does not quote it.
      TypeError: There is neither a key nor ``sign``, or both.
      ModuleNotFoundError: joserfc is not installed.
    """

    algorithm: str
    kid: str | None
    _sign: _Sign = attrs.field(repr=False)

    def __init__(
        self,
        key: str | bytes | Mapping[str, Any] | object | None = None,
        *,
        algorithm: str | None = None,
        kid: str | None = None,
        sign: _Sign | None = None,
    ) -> None:
        if (key is None) == (sign is None):
            raise TypeError("PrivateKeyJWT needs a key or sign=, and one of the two only")
        if sign is None:
            from .keys import signer

            algorithm, kid, sign = signer(key, algorithm, kid)
        elif algorithm is None or algorithm == "none":
            raise TypeError("PrivateKeyJWT(sign=...) needs algorithm=, such as 'ES256'")
        # Made by attrs, which pyright does not know.
        self.__attrs_init__(algorithm, kid, sign)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    async def __call__(
        self, request: TokenRequest, client_id: str, audience: str, /
    ) -> TokenRequest:
        """Add a new assertion.

        Cancellation:
          Safe. Nothing has been sent.
        """
        await trio.lowlevel.checkpoint()
        header = {"alg": self.algorithm} | ({} if self.kid is None else {"kid": self.kid})
        return await _assert(request, client_id, audience, header, self._sign)


async def _assert(
    request: TokenRequest, client_id: str, audience: str, header: dict[str, str], sign: _Sign
) -> TokenRequest:
    """Add an assertion of the client to a request (RFC 7523 2.2 and 3).

    Cancellation:
      As the function that signs.
    """
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_urlsafe(24),
        "iat": now,
        "exp": now + _LIFETIME,
    }
    content = f"{_encode(header | {'typ': 'JWT'})}.{_encode(claims)}"
    signature = await sign(content.encode("ascii"))
    if not isinstance(signature, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers
        raise TypeError(f"sign must return bytes, not {type(signature).__name__}")
    assertion = f"{content}.{_base64url(signature)}"
    return add_to_form(
        request,
        client_id=client_id,
        client_assertion_type=ASSERTION_TYPE,
        client_assertion=assertion,
    )


def _encode(members: Mapping[str, object]) -> str:
    return _base64url(json.dumps(members, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
