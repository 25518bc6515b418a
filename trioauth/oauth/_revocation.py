"""Telling the server that a login is over (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._answers import failure, read_retry_after, secrets_of

if TYPE_CHECKING:
    from trioauth._secrets import Secrets
    from trioauth._tokens import Tokens

    from ._client_auth import Client
    from ._endpoint import TokenEndpoint, TokenRequest

# Logging out should not take long for a server that is busy.
_LONGEST_PAUSE = 2.0
_PAUSE = 1.0


async def revoke(url: str | None, tokens: Tokens, client: Client, endpoint: TokenEndpoint) -> bool:
    """Revoke the refresh token, and with it the access token (RFC 7009 2.1); else that alone.

    Returns:
      False if there is no URL to do it at.

    Cancellation:
      Unsafe. The server may or may not have revoked them.

    Raises:
      GrantError: The server did not accept the request: they still work.
      RefreshUnavailableError: No usable answer; they may still work.
    """
    if url is None:
        await trio.lowlevel.checkpoint()
        return False
    hint = "access_token" if tokens.refresh_token is None else "refresh_token"
    token = tokens.refresh_token or tokens.access_token
    request = client.request(url, {"token": token, "token_type_hint": hint})
    await send_revocation(request, endpoint, secrets=secrets_of(tokens, *client.secrets))
    return True


async def send_revocation(
    request: TokenRequest, endpoint: TokenEndpoint, *, secrets: Secrets
) -> None:
    """Send a request to revoke; a server that is busy is asked once more (RFC 7009 2.2.1).

    Cancellation:
      Unsafe. The server may or may not have acted on it.

    Raises:
      GrantError: The server did not accept the request.
      RefreshUnavailableError: No usable answer.
    """
    answer = await endpoint.send(request)
    if answer.status == 503:
        wanted = read_retry_after(answer.headers)
        await trio.sleep(_PAUSE if wanted is None else min(wanted, _LONGEST_PAUSE))
        answer = await endpoint.send(request)
    if not answer.is_success:
        raise failure(answer, secrets=secrets)
