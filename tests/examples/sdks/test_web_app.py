"""Web applications that log their users in: web_app.py and quart_web_app.py in docs/examples."""

from __future__ import annotations

import re
import socket
from contextlib import asynccontextmanager
from html import unescape
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import pytest
import trio
from cryptography.fernet import Fernet

from tests.examples import load
from trioauth.testing import AuthServer

from .loopback import serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import TypeAlias

    Running: TypeAlias = AbstractAsyncContextManager["World"]

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
async def run(program: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World, None]:
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
            "COOKIE_KEY": Fernet.generate_key().decode(),
            "LOGINS": "logins.db",
        }.items():
            monkeypatch.setenv(name, value)
        module: Any = load(program)
        async with serve(module.app, listener) as url:
            yield World(auth, url, module)


@pytest.fixture(params=["web_app", "quart_web_app"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Running:
    return run(request.param, monkeypatch)


def login_of(page: httpx2.Response) -> int:
    """Return the number of the login that the API has seen."""
    found = re.search(r'"login": ?(\d+)', unescape(page.text))
    assert found is not None, page.text
    return int(found[1])


async def test_two_people_log_in_see_their_own_notes_and_log_out(running: Running) -> None:
    async with running as world, world.browser() as ann, world.browser() as bob:
        world.auth.approve("ann")
        assert "No login in this browser" in (await ann.get("/")).text
        there = await ann.get("/login")
        assert there.url == f"{world.url}/"
        assert login_of(there) == 1

        # Another browser has nothing of it, and can't end it.
        assert "No login in this browser" in (await bob.get("/")).text
        await bob.post("/logout")
        assert login_of(await ann.get("/")) == 1
        assert login_of(await bob.get("/login")) == 2

        # The next day, as it were: both look at the same time, and in several tabs.
        world.auth.expire()
        seen: list[tuple[str, int]] = []

        async def look(name: str, browser: httpx2.AsyncClient) -> None:
            seen.append((name, login_of(await browser.get("/"))))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(look, "ann", ann)
                nursery.start_soon(look, "bob", bob)
        assert sorted(seen) == [("ann", 1)] * 5 + [("bob", 2)] * 5
        assert world.auth.ledger.refreshes == 2
        assert world.auth.ledger.repeats == 0

        assert "No login in this browser" in (await ann.post("/logout")).text
        assert "No login in this browser" in (await ann.get("/")).text
        assert world.auth.ledger.revocations == 1
        assert login_of(await bob.get("/")) == 2
        world.auth.check()


async def test_each_log_in_gives_the_browser_a_new_number_and_ends_the_login_before(
    running: Running,
) -> None:
    async with running as world, world.browser() as ann:
        world.auth.approve("ann")
        await ann.get("/login")
        before = ann.cookies["visitor"]
        assert login_of(await ann.get("/login")) == 2
        assert ann.cookies["visitor"] != before
        async with world.browser() as thief:
            thief.cookies.set("visitor", before)
            assert "The login has ended" in (await thief.get("/")).text


async def test_the_store_has_no_cookie_in_it(running: Running, tmp_path: Path) -> None:
    async with running as world, world.browser() as ann:
        world.auth.approve("ann")
        await ann.get("/login")
        visitor = ann.cookies["visitor"]
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("logins.db*"))
        assert world.module.key_of(visitor).encode() in kept
        assert visitor.encode() not in kept


async def test_cookies_are_for_this_application_alone(running: Running) -> None:
    async with running as world, world.browser() as ann:
        world.auth.approve("ann")
        going = await ann.get("/login", follow_redirects=False)
        coming = await ann.get(going.headers["location"], follow_redirects=False)
        back = await ann.get(coming.headers["location"], follow_redirects=False)
        for answer, name in ((going, "begun"), (back, "visitor")):
            cookie = next(
                each for each in answer.headers.get_list("set-cookie") if each.startswith(name)
            )
            parts = {part.strip().lower() for part in cookie.split(";")}
            assert {"httponly", "samesite=lax"} <= parts
        # What was begun is of no use to who reads the cookie.
        assert "verifier" not in going.headers["set-cookie"]


async def test_a_person_who_says_no_is_told_and_may_try_again(running: Running) -> None:
    async with running as world, world.browser() as ann:
        world.auth.deny()
        declined = await ann.get("/login")
        assert (declined.status_code, "You said no." in declined.text) == (403, True)
        world.auth.approve("ann")
        assert "The API says" in (await ann.get("/login")).text


async def test_a_callback_is_of_use_in_one_browser_and_once(running: Running) -> None:
    async with running as world, world.browser() as ann, world.browser() as mallory:
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


async def test_a_server_that_is_down_is_said_and_no_login_ends(running: Running) -> None:
    async with running as world, world.browser() as ann:
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


async def test_a_login_that_the_server_ended_is_said(running: Running) -> None:
    async with running as world, world.browser() as ann:
        world.auth.approve("ann")
        await ann.get("/login")
        world.auth.revoke()
        assert "The login has ended." in (await ann.get("/")).text


async def test_a_store_that_fails_is_said(running: Running, tmp_path: Path) -> None:
    async with running as world, world.browser() as ann:
        world.auth.approve("ann")
        (tmp_path / "logins.db").write_text("not a database")
        assert (await ann.get("/login")).status_code == 503
        assert (await ann.post("/logout")).status_code == 200
