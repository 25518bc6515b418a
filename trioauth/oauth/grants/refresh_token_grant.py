"""RefreshTokenGrant: new tokens for a refresh token (RFC 6749 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import attrs

from trioauth._secrets import Secrets, Unpicklable
from trioauth.oauth.answers import BARE_REFUSALS, Rules
from trioauth.oauth.by_secret import Client, ClientAuth
from trioauth.oauth.fields import (
    check_endpoint,
    check_extra,
    check_scope,
    copied,
    owner_of,
    to_refusals,
)
from trioauth.oauth.revocation import revoke

from .refresh import read_refreshed, refresh_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._tokens import Tokens
    from trioauth.oauth.channel import Answer, BackChannel, TokenRequest


def _client_of(grant: RefreshTokenGrant) -> Client:
    return Client.of(grant.client_id, grant.client_secret, grant.client_auth)


@final
@attrs.frozen
class RefreshTokenGrant(Unpicklable):
    """New tokens for a refresh token (RFC 6749 6): what most programs need.

    Only a known refusal ends the login, such as ``{"error": "invalid_grant"}``, whatever the
    status. For a server that says no in another way, see ``refusals`` and ``bare_status_refuses``.
    It can't be pickled, because of the secret.

    Args:
      token_endpoint: The server's URL for tokens: https, or loopback.
      client_id: What the server knows this program as.
      client_secret: What proves it. None for a public client, one that can't keep a secret
          (RFC 6749 2.1).
      client_auth: How to prove it: ``"client_secret_basic"`` in a header, ``"client_secret_post"``
          among the parameters, ``"none"``. None for the first if there is a secret, else the last.
      scope: Asked for at each refresh, with spaces in between, and at most what was granted
          before. ``""`` asks for just that.
      extra: More parameters to send with each refresh, for servers that want to be told which API
          the token is for: ``{"resource": "https://api.example.com"}`` (RFC 8707) or
          ``{"audience": "..."}`` (Auth0 and others). None of those that the grant sends itself.
      revocation_endpoint: Where `Session.log_out` revokes the tokens (RFC 7009): https, or
          loopback. None for a server that has no such.
      bare_status_refuses: True for a server that refuses with a bare 400, 401 or 403 instead of
          ``invalid_grant``. By default these end no login: they may come from a proxy in between.
      refusals: Codes of the server's own that end the login, whatever the status, by the member of
          the answer they are in, or its path with dots between the names:
          ``{"error": ["token_gone"], "status": ["BAD_REFRESH_TOKEN"], "errcode": [40030]}``. They
          come on top of the known ones, and before them.

    Raises:
      ValueError: Secrets may not be sent to such a URL, or parameters contradict each other; names
          the parameter.
      TypeError: Something is not of its type; names the parameter.
    """

    token_endpoint: str = attrs.field(validator=check_endpoint)
    client_id: str = attrs.field(kw_only=True)
    client_secret: str | None = attrs.field(default=None, kw_only=True, repr=False)
    client_auth: ClientAuth | None = attrs.field(default=None, kw_only=True)
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
    bare_status_refuses: bool = attrs.field(
        default=False, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    refusals: Mapping[str, frozenset[str]] = attrs.field(
        factory=dict[str, "frozenset[str]"], kw_only=True, converter=to_refusals
    )

    _client: Client = attrs.field(
        default=attrs.Factory(_client_of, takes_self=True), init=False, repr=False
    )

    @property
    def owner(self) -> str:
        """Whose tokens these are: the token endpoint, without its query, and the client."""
        return owner_of(self.token_endpoint, self.client_id)

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    async def __call__(self, tokens: Tokens | None, endpoint: BackChannel, /) -> Tokens:
        """Refresh.

        Cancellation:
          Unsafe, for a server that rotates: the new tokens may be lost.

        Raises:
          GrantRefusedError: The server said no, or there is no refresh token.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
        """
        answer = await endpoint.send(self.request(tokens))
        return self.read(answer, tokens)

    def request(self, tokens: Tokens | None) -> TokenRequest:
        """Build the request.

        Raises:
          GrantRefusedError: There is no refresh token.
        """
        form = refresh_form(tokens, scope=self.scope, more=self.extra)
        return self._client.request(self.token_endpoint, form)

    def read(self, answer: Answer, tokens: Tokens | None) -> Tokens:
        """Read the answer.

        Args:
          answer: What the server sent.
          tokens: The ones to be renewed: they don't show in an error, even if the server echoes
              them.

        Raises:
          GrantRefusedError: The server said no.
          GrantMisconfiguredError: The server does not accept this client.
          RefreshUnavailableError: No usable answer.
        """
        rules = Rules(
            refusals=self.refusals,
            statuses=BARE_REFUSALS if self.bare_status_refuses else (),
            settings=True,
        )
        secrets = Secrets(self._client.secrets)
        return read_refreshed(answer, tokens, scope=self.scope, secrets=secrets, rules=rules)

    async def revoke(self, tokens: Tokens, endpoint: BackChannel) -> bool:
        """Revoke the tokens; return False if there is nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked them.

        Raises:
          GrantError: The server did not accept the request: they still work.
          RefreshUnavailableError: No usable answer; they may still work.
        """
        return await revoke(self.revocation_endpoint, tokens, self._client, endpoint)
