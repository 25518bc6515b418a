"""A grant of one's own: the server takes a renewal key as JSON, and gives a token and a new key."""

from __future__ import annotations

import json

import trioauth

URL = "https://login.example.com/renew"


async def renew(
    tokens: trioauth.Tokens | None, endpoint: trioauth.TokenEndpoint
) -> trioauth.Tokens:
    if tokens is None or tokens.refresh_token is None:
        raise trioauth.GrantRefusedError("no_key")
    request = trioauth.TokenRequest(URL, json={"key": tokens.refresh_token})
    answer = await endpoint.send(request)
    match answer.status:
        case 200:
            body = json.loads(answer.body)
            return trioauth.Tokens(body["token"], body["key"], expires_in=body["ms"] / 1000)
        case 401:
            raise trioauth.GrantMisconfiguredError("unknown_app")
        case 410:
            raise trioauth.GrantRefusedError("over")
        case status:
            raise trioauth.RefreshUnavailableError(f"the server answered with status {status}")
