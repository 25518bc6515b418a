"""Telling the server that a login is over (RFC 7009)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from .answers import failure, read_retry_after, secrets_of
from .form import Form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioauth._secrets import Secrets
    from trioauth._tokens import Tokens

    from .by_secret import Client
    from .channel import Answer, BackChannel

# Logging out should not take long for a server that is busy.
_LONGEST_PAUSE = 2.0
_PAUSE = 1.0


def revocation_form(tokens: Tokens) -> Form:
    """Build the form: of the refresh token, and with it the access token (2.1); else of that."""
    if tokens.refresh_token is None:
        return Form({"token": tokens.access_token, "token_type_hint": "access_token"})
    return Form({"token": tokens.refresh_token, "token_type_hint": "refresh_token"})


async def revoke(url: str | None, tokens: Tokens, client: Client, endpoint: BackChannel) -> bool:
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
    request = client.request(url, revocation_form(tokens))
    secrets = secrets_of(tokens, *client.secrets)
    await send_revocation(partial(endpoint.send, request), secrets=secrets)
    return True


async def send_revocation(send: Callable[[], Awaitable[Answer]], *, secrets: Secrets) -> None:
    """Ask a server to revoke; one that is busy is asked once more (RFC 7009 2.2.1).

    Args:
      send: Sends the request.
      secrets: What must not be seen in an error.

    Cancellation:
      Unsafe. The server may or may not have acted on it.

    Raises:
      GrantError: The server did not accept the request.
      RefreshUnavailableError: No usable answer.
    """
    answer = await send()
    if answer.status == 503:
        wanted = read_retry_after(answer.headers)
        await trio.sleep(_PAUSE if wanted is None else min(wanted, _LONGEST_PAUSE))
        answer = await send()
    if not answer.is_success:
        raise failure(answer, secrets=secrets)
