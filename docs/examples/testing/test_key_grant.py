"""The grant of one's own keeps the promises of a grant."""

from __future__ import annotations

import json

from key_grant import renew

from trioauth import Answer, Tokens
from trioauth.testing import GrantAnswers, check_grant


def granted(tokens: Tokens) -> Answer | None:
    if tokens.refresh_token is None or tokens.expires_in is None:
        return None  # This server never leaves anything out.
    body = {"token": tokens.access_token, "key": tokens.refresh_token}
    return Answer(200, body=json.dumps({**body, "ms": 1000 * tokens.expires_in}).encode())


OURS = GrantAnswers(
    granted=granted,
    refused=[Answer(410, body=b"$refresh_token is over")],
    misconfigured=[Answer(401)],
)


async def test_our_grant_keeps_the_promises_of_a_grant() -> None:
    await check_grant(renew, answers=OURS)
