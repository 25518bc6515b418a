"""A person logs in at a certified server, with the pages it has, in a browser that people use."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

import trioauth
from trioauth import OAuthClient

from .chromium import run_chromium
from .people import (
    ANN,
    RENEWABLE,
    SCOPE,
    Asked,
    agree,
    both_see,
    decline,
    desktop,
    go_through,
    invited,
    log_in,
    open_session,
    sign_in,
    userinfo,
    who,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trioauth.oauth.channel import BackChannel
    from trioauth.oauth.logins.prompt import Invitation

    from .provider import Provider

# One server for all of them.
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.xdist_group("node")]

V4, V6 = "MAP localhost 127.0.0.1", "MAP localhost [::1]"


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "ports", "hosts"),
    [
        ("http://127.0.0.1/callback", 0, ""),
        ("http://localhost/callback", 0, V4),
        ("http://localhost/callback", 0, V6),
        ("http://[::1]/callback", 0, ""),
        ("http://localhost/callback", 2, V6),
    ],
    ids=["127.0.0.1", "localhost, IPv4", "localhost, IPv6", "[::1]", "fixed ports"],
)
async def test_person_logs_in_with_a_browser_and_stays_logged_in(
    uri: str, ports: int, hosts: str, provider: Provider, tmp_path: Path
) -> None:
    numbers = tuple(free_port() for _ in range(ports))
    client = await desktop(provider, redirect_uri=uri, ports=numbers)
    asked = Asked.new()
    async with run_chromium(tmp_path, hosts=hosts) as page, open_session(client, provider) as it:
        await log_in(it, asked, client.browser(prompt=asked), partial(go_through, page))
        await both_see(it, provider, 1)
        await provider.expire()
        await both_see(it, provider, 2)
        # After the refresh, too, which has brought an ID token of its own.
        assert who(it) == ANN
        assert await userinfo(it, provider) == {"sub": ANN}
        await it.log_out(revoke=True)
    ledger = await provider.ledger()
    assert ledger["events"]["grant.revoked"] == 1
    assert ledger["errors"] == {}
    assert ledger["reuse"] == 0
    assert ledger["routes"]["discovery"] == 1
    assert ledger["token_requests"] == {
        "authorization_code": {"success": 1, "error": 0},
        "refresh_token": {"success": 1, "error": 0},
    }


async def test_second_port_is_taken_if_the_first_is_not_free(
    provider: Provider, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = (int(other.getsockname()[1]), free_port())
        client = await desktop(provider, ports=ports)
        asked = Asked.new()
        async with run_chromium(tmp_path) as page, open_session(client, provider) as session:
            await log_in(session, asked, client.browser(prompt=asked), partial(go_through, page))
            await both_see(session, provider, 1)
            assert (await page.address("http://127.0.0.1")).startswith(
                f"http://127.0.0.1:{ports[1]}/"
            )


async def test_code_comes_by_post_where_that_was_asked_for(
    provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:
        way = client.browser(prompt=asked, form_post=True)
        await log_in(session, asked, way, partial(go_through, page))
        await both_see(session, provider, 1)
        assert (await page.address("http://127.0.0.1")).endswith("/callback")


async def test_requests_are_pushed_to_a_server_that_insists(
    provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider, provider.tenant)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:

        async def person(invitation: Invitation) -> None:
            assert invitation.url.startswith(f"{provider.tenant}/auth?")
            assert "request_uri=" in invitation.url
            assert "code_challenge" not in invitation.url
            await go_through(page, invitation)

        await log_in(session, asked, client.browser(prompt=asked), person)
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)
    ledger = await provider.ledger()
    assert ledger["routes"]["pushed_authorization_request"] == 1
    assert ledger["errors"] == {}


async def test_address_that_the_browser_could_not_open_is_pasted(
    provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider, redirect_uri="http://localhost/callback")
    async with (
        # To it "localhost" leads nowhere: it is on another machine.
        run_chromium(tmp_path) as page,
        open_session(client, provider) as session,
    ):

        async def person(invitation: Invitation, /) -> str:
            await page.open(invitation.url)
            await agree(page)
            pasted = await page.address("http://localhost:")
            assert invitation.check is not None
            assert invitation.check(pasted) is None
            return pasted

        await session.log_in(client.browser(prompt=person, paste=True))
        assert who(session) == ANN
        await both_see(session, provider, 1)


async def test_web_application_logs_in_in_two_halves(provider: Provider, tmp_path: Path) -> None:
    callback = "https://app.example.com/callback"
    client = await desktop(provider)
    await provider.register(
        "web", client_secret="the secret of a web application", redirect_uris=[callback]
    )
    client = OAuthClient(
        "web",
        issuer=provider.issuer,
        auth=trioauth.ClientSecretBasic("the secret of a web application"),
        scope=SCOPE,
        parameters=RENEWABLE,
    )
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:

        async def halves(channel: BackChannel) -> trioauth.Tokens:
            begun = await client.begin(channel, redirect_uri=callback)
            await page.open(begun.url)
            await sign_in(page)
            # It asks only programs of a person's machine what a person has agreed to already.
            await page.click("form:has(input[value=consent]) button[type=submit]")
            kept = trioauth.Begun.from_text(begun.to_text())
            return await client.finish(kept, await page.address(callback))(channel)

        await session.log_in(halves)
        assert who(session) == ANN
        await both_see(session, provider, 1)
        await provider.expire()
        await both_see(session, provider, 2)


async def test_person_who_declines_is_told_so_in_the_browser(
    provider: Provider, tmp_path: Path
) -> None:
    client = await desktop(provider)
    asked = Asked.new()
    async with run_chromium(tmp_path) as page, open_session(client, provider) as session:

        async def person(invitation: Invitation) -> None:
            await page.open(invitation.url)
            await decline(page)
            await page.read("You are not logged in")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(invited, asked, person)
            with pytest.raises(trioauth.LoginDeclinedError) as excinfo:
                await session.log_in(client.browser(prompt=asked))
        assert excinfo.value.code == "access_denied"
    assert (await provider.ledger())["token_requests"] == {}
