"""RefreshTokenGrant: new tokens for a refresh token (RFC 6749 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, final

import attrs

from trioauth._errors import GrantRefusedError

from ._answers import BARE_REFUSALS, read_answer, secrets_of
from ._client import Client, ClientAuth, check_endpoint, check_extra, check_scope, copied
from ._revocation import revoke

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioauth._endpoint import Answer, TokenEndpoint, TokenRequest
    from trioauth._tokens import Tokens


def _client_of(grant: RefreshTokenGrant) -> Client:
    return Client.of(grant.client_id, grant.client_secret, grant.client_auth)


@final
@attrs.frozen
class RefreshTokenGrant:
    """New tokens for a refresh token (RFC 6749 6): what most programs need.

    Raises:
      ValueError: Secrets may not be sent to such a URL, or parameters contradict each other; names
          the parameter.
      TypeError: Something is not of its type; names the parameter.
    """

    token_endpoint: str = attrs.field(validator=check_endpoint)
    """The server's URL for tokens: https, or loopback."""

    client_id: str = attrs.field(kw_only=True)
    """What the server knows this program as."""

    client_secret: str | None = attrs.field(default=None, kw_only=True, repr=False)
    """None for a public client, one that can't keep a secret (RFC 6749 2.1)."""

    client_auth: ClientAuth | None = attrs.field(default=None, kw_only=True)
    """How to prove who asks; None for ``client_secret_basic`` if there is a secret, else
    ``none``."""

    scope: str = attrs.field(default="", kw_only=True, validator=check_scope)
    """Asked for at each refresh, and at most what was granted before; "" to ask for just that."""

    extra: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        kw_only=True,
        converter=copied,
        validator=check_extra,
        repr=False,
    )
    """More parameters to send, such as ``resource`` (RFC 8707) or ``audience``."""

    revocation_endpoint: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_endpoint)
    )
    """Where `Session.log_out` revokes the tokens (RFC 7009); None for a server that has no such."""

    bare_status_refuses: bool = attrs.field(
        default=False, kw_only=True, validator=attrs.validators.instance_of(bool)
    )
    """True for a server that refuses with a bare 400, 401 or 403 instead of ``invalid_grant``. By
    default these log nobody out: they may come from a proxy in between."""

    _client: Client = attrs.field(
        default=attrs.Factory(_client_of, takes_self=True), init=False, repr=False
    )

    needs_refresh_token: ClassVar[bool] = True
    unattended: ClassVar[bool] = False

    async def __call__(self, tokens: Tokens | None, endpoint: TokenEndpoint, /) -> Tokens:
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
        if tokens is None or tokens.refresh_token is None:
            raise GrantRefusedError(
                "no_refresh_token",
                "this login has none, so nobody was asked; log in again, and ask for one "
                "(often by the scope offline_access)",
            )
        data = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        if self.scope:
            data["scope"] = self.scope
        return self._client.request(self.token_endpoint, {**data, **self.extra})

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
        renewed = read_answer(
            answer,
            secrets=secrets_of(tokens, *self._client.secrets),
            refusing=BARE_REFUSALS if self.bare_status_refuses else (),
        )
        # Left out means "as you asked" (RFC 6749 5.1).
        return attrs.evolve(renewed, scope=renewed.scope or self.scope)

    async def revoke(self, tokens: Tokens, endpoint: TokenEndpoint) -> bool:
        """Revoke the tokens; return False if there is nowhere to do it.

        Cancellation:
          Unsafe. The server may or may not have revoked them.

        Raises:
          GrantError: The server did not accept the request: they still work.
          RefreshUnavailableError: No usable answer; they may still work.
        """
        return await revoke(self.revocation_endpoint, tokens, self._client, endpoint)
