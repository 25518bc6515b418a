"""A grant for a server that speaks no OAuth: any async function of this shape will do."""

import json

import trioauth

URL = "https://api.example.com/session/renew"


async def renew(
    tokens: trioauth.Tokens | None, endpoint: trioauth.TokenEndpoint
) -> trioauth.Tokens:
    if tokens is None or tokens.refresh_token is None:
        raise trioauth.GrantRefusedError("no_refresh_token", "log in again")
    answer = await endpoint.send(trioauth.TokenRequest(URL, json={"session": tokens.refresh_token}))
    if answer.status in {401, 403, 410}:
        raise trioauth.GrantRefusedError("session_over", f"the server says {answer.status}")
    if not answer.is_success:
        raise trioauth.RefreshUnavailableError(
            f"the server says {answer.status}",
            safe_to_repeat=answer.status in {429, 503},  # it has not used the token
        )
    body = json.loads(answer.body)
    return trioauth.Tokens(
        access_token=body["key"],
        refresh_token=body["session"],
        expires_in=body["minutes"] * 60,
    )
