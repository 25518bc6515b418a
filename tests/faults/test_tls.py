"""TLS that does not hold: no token goes out, and no login ends."""

from __future__ import annotations

import gc
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import httpx2
import pytest
import trio
import trustme

from trioauth import LoggedIn

from . import says
from .server import open_server
from .test_token_endpoint import ATTEMPTS, LOST, clock, fails, open_both, wait_until, works

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from trioauth import Session

    from .server import Caller, Say

__all__ = ["clock"]

OURS, OTHER = trustme.CA(), trustme.CA()
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


def trusting(*authorities: trustme.CA) -> ssl.SSLContext:
    """What a program passes as ``verify=``."""
    context = ssl.create_default_context()
    for authority in authorities:
        authority.configure_trust(context)
    return context


def showing(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def self_signed() -> ssl.SSLContext:
    """A certificate that only itself vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


GOOD = showing(OURS.issue_cert("127.0.0.1"))
WRONG: dict[str, Callable[[], ssl.SSLContext]] = {
    "of somebody else": lambda: showing(OTHER.issue_cert("127.0.0.1")),
    "of another host": lambda: showing(OURS.issue_cert("id.example.com", "127.0.0.2")),
    "of a host with our address as its name": lambda: showing(
        OURS.issue_cert(common_name="127.0.0.1", organization_name="x")
    ),
    "expired": lambda: showing(OURS.issue_cert("127.0.0.1", not_after=LONG_AGO)),
    "self-signed": self_signed,
}


async def plain(caller: Caller) -> None:
    await caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_a_right_certificate_is_trusted_through_verify() -> None:
    async with (
        open_server(says.rotate, tls=GOOD) as server,
        open_server(says.welcome, tls=GOOD) as api,
        open_both(server.url, api, verify=trusting(OURS)) as session,
    ):
        await works(session, api)


@pytest.mark.parametrize("certificate", WRONG)
async def test_a_token_endpoint_with_a_wrong_certificate_hears_nothing(
    certificate: str, clock: MockClock
) -> None:
    async with (
        open_server(says.rotate, tls=WRONG[certificate]()) as server,
        open_server(says.welcome, tls=GOOD) as api,
        open_both(server.url, api, verify=trusting(OURS)) as session,
    ):
        error = await fails(session, within=8)
        # Words to act on, which are deep down in what httpx raises.
        assert "can't be reached (ConnectError: certificate verify failed: " in str(error)
        assert (server.connections, server.heard) == (ATTEMPTS, [])
        # Mended, it works without a new login, and soon: no refresh token was used.
        server.tls = GOOD
        wait_until(clock, error.retry_at)
        await works(session, api)


async def test_without_verify_a_private_authority_is_not_trusted() -> None:
    async with (
        open_server(says.rotate, tls=GOOD) as server,
        open_server(says.welcome, tls=GOOD) as api,
        open_both(server.url, api) as session,
    ):
        await fails(session, within=8)
        assert (server.heard, api.heard) == ([], [])


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("certificate", WRONG)
async def test_an_api_with_a_wrong_certificate_gets_no_token_and_costs_no_login(
    certificate: str, library: object
) -> None:
    trust = trusting(OURS)
    async with (
        open_server(says.rotate, tls=GOOD) as server,
        open_server(says.welcome, tls=WRONG[certificate]()) as api,
        open_both(server.url, api, verify=trust) as session,
        session.attach(httpx2.AsyncClient(base_url=api.url, verify=trust)) as other,
    ):
        client: httpx2.AsyncClient | Session = other if library is httpx2 else session
        with trio.fail_after(8), pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
            await client.get("/me")
        assert api.heard == []
        assert isinstance(session.state, LoggedIn)
        assert server.connections == 1
        api.tls = GOOD
        assert (await client.get("/me")).status_code == 200
        assert server.connections == 1


async def test_a_server_that_speaks_no_tls_hears_nothing(clock: MockClock) -> None:
    async with (
        open_server(plain) as server,
        open_server(says.welcome, tls=GOOD) as api,
        open_both(server.url.replace("http:", "https:"), api, verify=trusting(OURS)) as session,
    ):
        await fails(session, within=8)
        assert (server.connections, server.heard) == (ATTEMPTS, [])


@pytest.mark.slow
async def test_a_handshake_without_end_is_bounded_by_the_deadline() -> None:
    # A handshake that is cancelled leaves its socket to the garbage collector, in httpcore.
    with pytest.warns(ResourceWarning, match="unclosed <socket"):  # noqa: PT031
        async with (
            open_server(says.hang_on_accept) as server,
            open_server(says.welcome, tls=GOOD) as api,
            open_both(
                server.url.replace("http:", "https:"), api, verify=trusting(OURS), timeout=0.6
            ) as session,
        ):
            await fails(session, within=0.6)
            assert server.connections == 1
        gc.collect()


@pytest.mark.parametrize("say", [says.answering(b""), says.answering(says.TOKENS[:-9])])
async def test_an_answer_cut_short_under_tls_is_lost_as_any(say: Say, clock: MockClock) -> None:
    async def cut(caller: Caller) -> None:
        await say(caller)
        await caller.reset()  # no close_notify

    async with (
        open_server(says.rotate, tls=GOOD) as server,
        open_server(says.welcome, tls=GOOD) as api,
        open_both(server.url, api, verify=trusting(OURS)) as session,
    ):
        server.fault = cut
        error = await fails(session, within=8)
        assert server.connections == LOST
        server.fault = None
        wait_until(clock, error.retry_at)
        await works(session, api)
