"""ClientCredentialsGrant: tokens for the program itself (RFC 6749 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, final

import attrs

from trioauth._secrets import Secrets, Unpicklable
from trioauth._tokens import Tokens
from trioauth.oauth.by_secret import Client
from trioauth.oauth.fields import check_endpoint, check_extra, check_scope, copied, owner_of
from trioauth.oauth.revocation import revoke

from .client_credentials import credentials_form, read_obtained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import Answer, BackChannel, TokenRequest


def _client_of(grant: ClientCredentialsGrant) -> Client:
    return Client(grant.client_id, grant.client_secret, grant.client_auth)


@final
@attrs.frozen
class ClientCredentialsGrant(Unpicklable):
    """Tokens for the program itself, without a person (RFC 6749 4.4).

    It needs no human, not even once: the session logs in when first asked. It can't be pickled,
    because of the secret.

    Args:
      token_endpoint: The server's URL for tokens: https, or loopback.
      client_id: What the server knows this program as.
      client_secret: What proves it.
      client_auth: Where the secret goes: into a header (``"client_secret_basic"``, the default),
          or among the parameters (``"client_secret_post"``).
      scope: Asked for, with spaces in between. ``""`` for what the server gives by default.
      extra: More parameters to send, for servers that want to be told which API the token is for:
          ``{"resource": "https://api.example.com"}`` (RFC 8707) or ``{"audience": "..."}`` (Auth0
          and others). None of those that the grant sends itself.
      revocation_endpoint: Where `Session.log_out` revokes the token (RFC 7009): https, or
          loopback. None for a server that has no such.

    Raises:
      ValueError: Secrets may not be sent to such a URL, or a parameter is not what it must be;
          names the parameter.
      TypeError: Something is not of its type; names the parameter.
    """

    token_endpoint: str = attrs.field(validator=check_endpoint)
    client_id: str = attrs.field(kw_only=True)
    client_secret: str = attrs.field(kw_only=True, repr=False)
    client_auth: Literal["client_secret_basic", "client_secret_post"] = attrs.field(
        default="client_secret_basic", kw_only=True
    )
    scope: str = attrs.field(default="", kw_only=True, validator=check_scope)
    extra: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        kw_only=True,
        converter=copied,
        validator=check_extra,
        repr=False,
    )
    revocation_endpoint: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_endpoint)
    )

    _client: Client = attrs.field(
        default=attrs.Factory(_client_of, takes_self=True), init=False, repr=False
    )

    @property
    def owner(self) -> str:
        """Whose tokens these are: the token endpoint, without its query, and the client."""
        return owner_of(self.token_endpoint, self.client_id)

    needs_refresh_token: ClassVar[bool] = False
    unattended: ClassVar[bool] = True

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Obtain new tokens, whatever the previous ones.

        Cancellation:
          Safe. The server may have issued a token, which stays unused.

        Raises:
          GrantRefusedError: The server said no.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
        """
        return self.read(await endpoint.send(self.request(tokens)), tokens)

    def request(self, tokens: Tokens | None = None) -> TokenRequest:  # noqa: ARG002  # as all grants
        """Build the request."""
        form = credentials_form(scope=self.scope, more=self.extra)
        return self._client.request(self.token_endpoint, form)

    def read(self, answer: Answer, tokens: Tokens | None = None) -> Tokens:  # noqa: ARG002  # ditto
        """Read the answer. A refresh token in it is ignored: there should be none (RFC 6749 4.4.3).

        Raises:
          GrantRefusedError: The server said no.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
        """
        return read_obtained(answer, scope=self.scope, secrets=Secrets(self._client.secrets))

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Revoke the token; return False if there is nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked it.

        Raises:
          GrantError: The server did not accept the request: it still works.
          RefreshUnavailableError: No usable answer; it may still work.
        """
        return await revoke(self.revocation_endpoint, tokens, self._client, endpoint)
