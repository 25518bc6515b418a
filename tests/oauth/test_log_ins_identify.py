"""Log-ins say who has logged in, and refuse an ID token that does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from trioauth import Begun, IdentityError, LoggedIn, OAuthClient
from trioauth.testing import AuthServer, Persona

from .people import brought_back

pytest.importorskip("joserfc")

pytestmark = pytest.mark.usefixtures("autojump_clock")


def opened(**options: Any) -> tuple[AuthServer, OAuthClient]:
    server = AuthServer(persona=Persona(signing_alg="ES256", interval=0), **options)
    server.approve("ann")
    return server, OAuthClient("client", issuer=server.issuer, scope="openid notes")


@pytest.mark.parametrize("way", ["browser", "device"])
async def test_a_log_in_says_who_it_is(way: str) -> None:
    server, client = opened()
    async with server.open_session(client, logged_in=False) as session:
        if way == "browser":
            log_in: Any = client.browser(prompt=server.person(), parameters={"max_age": "600"})
        else:
            log_in = client.device(prompt=server.person())
        await session.log_in(log_in)
        assert isinstance(session.state, LoggedIn)
        assert session.state.identity is not None
        assert session.state.identity.sub == "ann"
        assert ("auth_time" in session.state.identity.claims) == (way == "browser")
        server.check()


@pytest.mark.parametrize("way", ["browser", "device"])
async def test_a_log_in_refuses_an_id_token_that_does_not_hold(way: str) -> None:
    server, client = opened()
    server.lie(id_token={"nonce": "another"} if way == "browser" else {"aud": "another"})
    async with server.open_session(client, logged_in=False) as session:
        log_in: Any = getattr(client, way)(prompt=server.person())
        with pytest.raises(IdentityError) as caught:
            await session.log_in(log_in)
        assert caught.value.claim == ("nonce" if way == "browser" else "aud")
        assert not session.logged_in
        assert server.ledger.calls["token"] == 1
        assert server.ledger.requests_seen == []


async def test_what_was_asked_for_in_the_first_half_is_looked_for_in_the_second() -> None:
    server, client = opened()
    server.lie(id_token={"auth_time": None})
    callback = "http://127.0.0.1:8000/callback"
    async with server.open_session(client, logged_in=False) as session:
        begun = await client.begin(
            session.back_channel, redirect_uri=callback, parameters={"max_age": "600"}
        )
        begun = Begun.from_text(begun.to_text())
        with pytest.raises(IdentityError) as caught:
            await session.log_in(client.finish(begun, await brought_back(server, begun)))
        assert caught.value.claim == "auth_time"
        assert not session.logged_in
