"""Logging in by an authorization code, put together of the package's own parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import httpx

from trioauth.oauth.answers import read_answer
from trioauth.oauth.identity import identify
from trioauth.oauth.logins.authorization import (
    Attempt,
    Code,
    Expected,
    authorization_parameters,
    authorization_url,
    exchange_form,
    read_callback,
)

if TYPE_CHECKING:
    from trioauth import BackChannel, OAuthClient, Tokens
    from trioauth.testing import AuthServer

REDIRECT = "http://127.0.0.1:7000/callback"


@attrs.define
class ByCode:
    """For `Session.log_in`: a person who says yes at once, if the server knows that they do."""

    server: AuthServer
    client: OAuthClient
    asks: dict[str, str] = attrs.field(factory=dict)

    async def __call__(self, endpoint: BackChannel) -> Tokens:
        client, attempt = self.client, Attempt.new()
        known = await client.server_of(endpoint)
        parameters = authorization_parameters(
            attempt,
            client_id=client.client_id,
            redirect_uri=REDIRECT,
            scope=client.scope,
            parameters=self.asks,
        )
        url = authorization_url(known.endpoint("authorization_endpoint"), parameters)
        async with httpx.AsyncClient(transport=self.server.transport()) as browser:
            location = (await browser.get(url)).headers["Location"]
        expected = Expected("/callback", attempt.state, known.issuer)
        code = read_callback(location, expected)
        assert isinstance(code, Code)
        form = dict(exchange_form(code, attempt, redirect_uri=REDIRECT))
        answer = await client.ask_for_tokens(endpoint, form)
        tokens = read_answer(answer)
        return await identify(
            tokens, answer, client, endpoint, nonce=attempt.nonce, parameters=self.asks
        )
