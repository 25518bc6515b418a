"""GrantAnswers: how the server of a grant answers, for check_grant to imitate it."""

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
    """How the server of a grant answers; by default as RFC 6749 has it.

    For a server that does not speak OAuth, say how it answers::

        def granted(tokens):
            body = {"jwt": tokens.access_token, "session": tokens.refresh_token}
            return Answer(200, body=json.dumps(body).encode())

        ours = GrantAnswers(
            granted=granted,
            refused=[Answer(403, body=b"session is over")],
            misconfigured=[Answer(401, body=b"unknown app")],
        )

    ``$refresh_token`` in a body is replaced by the refresh token that was presented, because some
    servers quote it, and no error may show it.
    """

    granted: Callable[[Tokens], Answer | None] = _granted
    """A function that gets tokens and returns the answer that issues them. It is also called with
    tokens that have no refresh token: return None if the server always sends one."""

    refused: tuple[Answer, ...] = attrs.field(
        default=(_error(400, "invalid_grant"),), converter=_to_tuple
    )
    """The answers that say that the login is over."""

    misconfigured: tuple[Answer, ...] = attrs.field(
        default=(_error(401, "invalid_client"),), converter=_to_tuple
    )
    """The answers that say that the client is not known; empty if the server has none."""

    no_tokens: tuple[Answer, ...] = attrs.field(
        default=(
            Answer(200, body=b'{"message": "down for maintenance"}'),
            Answer(200, body=b'{"ok": false, "error": "ratelimited"}'),
            Answer(200, body=b"null"),
        ),
        converter=_to_tuple,
    )
    """Answers in JSON with neither tokens nor a known refusal: they end no login. Empty for a
    server that refuses in this way, as `BearerRefreshGrant` expects of its server by default."""

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
    """Answers of the server, or of a proxy in between, after which the login may still stand."""
