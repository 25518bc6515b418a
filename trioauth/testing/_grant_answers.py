"""GrantAnswers: what the server of a grant says, for check_grant to say it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, final

import attrs
import httpx

from trioauth.oauth.channel import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trioauth._tokens import Tokens

# In the body of an answer, it becomes the refresh token that was presented.
ECHO = b"$refresh_token"


def _granted(tokens: Tokens) -> Answer:
    """Issue tokens as RFC 6749 5.1 has it."""
    members = {
        "access_token": tokens.access_token,
        "token_type": tokens.token_type,
        "expires_in": tokens.expires_in,
        "refresh_token": tokens.refresh_token,
    }
    return Answer(200, body=json.dumps({k: v for k, v in members.items() if v}).encode())


def _error(status: int, code: str) -> Answer:
    """Say no as RFC 6749 5.2 has it, and quote what came, as some servers do."""
    body = {"error": code, "error_description": f"not with {ECHO.decode()}"}
    return Answer(status, body=json.dumps(body).encode())


def _to_tuple(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    return tuple(answers)


@final
@attrs.frozen(kw_only=True)
class GrantAnswers:
    """What a server says to a grant: by default one that speaks OAuth (RFC 6749).

    For a server of another kind, say how that one answers::

        def granted(tokens):
            body = {"jwt": tokens.access_token, "session": tokens.refresh_token}
            return Answer(200, body=json.dumps(body).encode())

        ours = GrantAnswers(
            granted=granted,
            refused=[Answer(403, body=b"session is over")],
            misconfigured=[Answer(401, body=b"unknown app")],
        )

    ``$refresh_token`` in a body becomes the refresh token that was presented: some servers quote
    what they got, and no error may show it.
    """

    granted: Callable[[Tokens], Answer | None] = _granted
    """Given tokens, how it issues just these. Asked for some without a ``refresh_token``, too: None
    for a server that always sends one."""

    refused: tuple[Answer, ...] = attrs.field(
        default=(_error(400, "invalid_grant"),), converter=_to_tuple
    )
    """How it says that the login is over."""

    misconfigured: tuple[Answer, ...] = attrs.field(
        default=(_error(401, "invalid_client"),), converter=_to_tuple
    )
    """How it says that it does not know the client; empty for one that never does."""

    no_tokens: tuple[Answer, ...] = attrs.field(
        default=(
            Answer(200, body=b'{"message": "down for maintenance"}'),
            Answer(200, body=b'{"ok": false, "error": "ratelimited"}'),
            Answer(200, body=b"null"),
        ),
        converter=_to_tuple,
    )
    """JSON that holds neither tokens nor a known refusal, which ends no login. Empty for a server
    that says no in this way; `BearerRefreshGrant` takes its server to be such a one, unless it is
    told otherwise."""

    unavailable: tuple[Answer, ...] = attrs.field(
        default=(
            Answer(503),
            Answer(429, httpx.Headers({"Retry-After": "7"})),
            Answer(500, body=b"no good: " + ECHO),
            Answer(502, body=b"<html>Bad Gateway</html>"),
            Answer(302, httpx.Headers({"Location": "https://login.test/"})),
            Answer(200, body=b"<html>Welcome to our WiFi</html>"),
        ),
        converter=_to_tuple,
    )
    """What it, or whoever is in between, answers when nothing is known to be over."""
