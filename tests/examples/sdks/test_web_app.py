"""A web application that logs a person in, in two halves: docs/examples/web_app.py."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import httpx2

from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

SECRET = "canary-client-secret"


@attrs.define
class World:
    """The application, its server, and how to get browsers."""

    auth: AuthServer
    url: str
    module: Any

    def browser(self) -> httpx2.AsyncClient:
        """A browser of one person, which follows redirects and keeps cookies."""
        return httpx2.AsyncClient(base_url=self.url, follow_redirects=True, trust_env=False)


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World, None]:
    listener = socket.create_server(("127.0.0.1", 0))
    app_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    auth = AuthServer(
        client_id="notes",
        client_secret=SECRET,
        scope="notes offline_access",
        redirect_uris=[f"{app_url}/callback"],
    )
    async with auth.serve():
        for name, value in {
            "ISSUER": auth.issuer,
            "API_URL": auth.url,
            "APP_URL": app_url,
            "CLIENT_SECRET": SECRET,
        }.items():
            monkeypatch.setenv(name, value)
        module = load("web_app")
        async with serve(module.app, listener) as url:
            yield World(auth, url, module)


async def test_a_person_logs_in_sees_their_notes_and_logs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world, world.browser() as ann, world.browser() as bob:
        world.auth.approve("ann")
        assert "No login in this browser" in (await ann.get("/")).text
        there = await ann.get("/login")
        assert there.url == f"{world.url}/"
        assert "The API says" in there.text

        # The next day, as it were.
        world.auth.expire()
        assert "The API says" in (await ann.get("/")).text
        assert world.auth.ledger.refreshes == 1

        # Another browser has nothing of it, and can't end it.
        assert "No login in this browser" in (await bob.get("/")).text
        await bob.post("/logout")
        assert "The API says" in (await ann.get("/")).text

        assert "No login in this browser" in (await ann.post("/logout")).text
        world.auth.check()


async def test_a_person_who_says_no_is_told_and_may_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world, world.browser() as ann:
        world.auth.deny()
        declined = await ann.get("/login")
        assert (declined.status_code, "You said no." in declined.text) == (403, True)
        world.auth.approve("ann")
        assert "The API says" in (await ann.get("/login")).text


async def test_a_callback_is_of_use_in_one_browser_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world, world.browser() as ann, world.browser() as mallory:
        world.auth.approve("ann")
        # Mallory stops before the callback, and talks Ann into opening it.
        to_server = await mallory.get("/login", follow_redirects=False)
        to_app = await mallory.get(to_server.headers["location"], follow_redirects=False)
        callback = to_app.headers["location"]
        stolen = await ann.get(callback)
        assert (stolen.status_code, "has begun no log-in" in stolen.text) == (400, True)

        # Nor does another browser's attempt make it hers.
        await ann.get("/login", follow_redirects=False)
        other = await ann.get(callback)
        assert (other.status_code, "The log-in failed" in other.text) == (400, True)

        assert (await mallory.get(callback)).status_code == 200
        assert (await mallory.get(callback)).status_code == 400


async def test_a_server_that_is_down_is_said_and_no_login_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world, world.browser() as ann:
        world.auth.approve("ann")
        world.auth.fail(503, at="metadata")
        assert (await ann.get("/login")).status_code == 503
        world.auth.recover()
        to_server = await ann.get("/login", follow_redirects=False)
        world.auth.fail(503)
        assert (await ann.get(to_server.headers["location"])).status_code == 503
        world.auth.recover()

        assert (await ann.get("/login")).status_code == 200
        world.auth.fail(503, headers={"Retry-After": "3600"})
        world.auth.expire()
        assert (await ann.get("/")).status_code == 503
        world.auth.recover()


async def test_a_login_that_the_server_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as world, world.browser() as ann:
        world.auth.approve("ann")
        await ann.get("/login")
        world.auth.revoke()
        assert "The login has ended." in (await ann.get("/")).text


async def test_what_was_begun_and_given_up_does_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as world, world.browser() as ann:
        most = world.module.MOST_BEGUN = 3
        first = await ann.get("/login", follow_redirects=False)
        world.auth.approve("ann")
        async with world.browser() as others:
            for _ in range(most):
                await others.get("/login", follow_redirects=False)
        assert (await ann.get(first.headers["location"])).status_code == 400
