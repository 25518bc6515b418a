"""The web applications in processes of their own: two people in a real browser, and kill -9."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import httpx2
import pytest
import trio
from cryptography.fernet import Fernet

from tests.examples import EXAMPLES
from tests.interop.chromium import run_chromium
from trioauth.testing import AuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.interop.chromium import Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("web_app"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]

SECRET = "canary-client-secret"
WORKERS, TASKS, ROUNDS = 2, 3, 2
PATIENCE = 400


@attrs.define(eq=False)
class Application:
    """A web application, as an operator starts it: hypercorn, with two workers."""

    program: str
    port: int
    auth: AuthServer
    folder: Path
    cookie_key: str = attrs.field(factory=lambda: Fernet.generate_key().decode())
    process: trio.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        options = ["--worker-class", "trio", "--workers", str(WORKERS), "--bind", self.url[7:]]
        self.process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "hypercorn", *options, f"{self.program}:app"],
            cwd=EXAMPLES,
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                "ISSUER": self.auth.issuer,
                "API_URL": self.auth.url,
                "APP_URL": self.url,
                "CLIENT_SECRET": SECRET,
                "COOKIE_KEY": self.cookie_key,
                "LOGINS": str(self.folder / "logins.db"),
            },
            # The workers belong to the same group, so that all are killed at once.
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with httpx2.AsyncClient(trust_env=False) as visitor:
            await answered(visitor, f"{self.url}/")

    async def stop(self, number: signal.Signals) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, number)
            await self.process.wait()
            self.process = None


async def answered(visitor: httpx2.AsyncClient, url: str) -> httpx2.Response:
    """Ask until there is an answer: while the application starts there is none."""
    while True:
        try:
            return await visitor.get(url)
        except httpx2.TransportError:
            await trio.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@asynccontextmanager
async def running(program: str, folder: Path) -> AsyncGenerator[Application]:
    port = free_port()
    auth = AuthServer(
        client_id="notes",
        client_secret=SECRET,
        scope="notes offline_access",
        redirect_uris=[f"http://127.0.0.1:{port}/callback"],
    )
    with trio.fail_after(PATIENCE):
        async with auth.serve(), started(Application(program, port, auth, folder)) as application:
            yield application


@asynccontextmanager
async def started(application: Application) -> AsyncGenerator[Application]:
    try:
        await application.start()
        yield application
    finally:
        with trio.CancelScope(shield=True):
            await application.stop(signal.SIGKILL)


def beside(old: Application) -> AbstractAsyncContextManager[Application]:
    """Start the application once more, as a rolling restart does: same store, same keys."""
    return started(attrs.evolve(old, port=free_port(), process=None))


def said(text: str) -> tuple[int, int]:
    """Return which login and which generation the API has seen."""
    found = re.search(r"\{.*\}", text)
    assert found is not None, text
    answer = json.loads(found[0].replace("&quot;", '"'))
    assert "login" in answer, text
    return answer["login"], answer["generation"]


async def log_in(page: Page, application: Application) -> None:
    await page.open(f"{application.url}/")
    await page.read("No login in this browser")
    await page.click("a[href='/login']")


async def look(page: Page, application: Application) -> tuple[int, int]:
    await page.open("about:blank")
    await page.open(f"{application.url}/")
    return said(await page.read("The API says"))


@attrs.define(eq=False)
class Load:
    """Browsers without end that look at the front page, of people who are logged in."""

    url: str
    newest: dict[int, int] = attrs.field(factory=dict)
    """The newest generation that the API has seen of each login."""
    wrong: list[str] = attrs.field(factory=list)
    broken: int = 0
    """How many requests had no answer."""
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, visitor: str, login: int) -> None:
        """Look again and again, in several tabs."""
        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(self._look, visitor, login)

    async def _look(self, visitor: str, login: int) -> None:
        cookies = {"visitor": visitor}
        async with httpx2.AsyncClient(cookies=cookies, trust_env=False, timeout=60) as browser:
            while True:
                try:
                    answer = await browser.get(f"{self.url}/")
                except httpx2.TransportError:
                    self.broken += 1
                    await trio.sleep(0.05)
                    continue
                if answer.status_code != 200 or said(answer.text)[0] != login:
                    self.wrong.append(f"{answer.status_code}: {answer.text}")
                else:
                    self.newest[login] = max(said(answer.text)[1], self.newest.get(login, 0))
                self._news.set()

    async def wait_renewed(self, before: dict[int, int], logins: list[int]) -> None:
        """Wait until each login has been answered with newer tokens than before."""
        while any(self.newest.get(login, 0) <= before.get(login, 0) for login in logins):
            self._news = trio.Event()
            await self._news.wait()


@pytest.mark.parametrize("program", ["web_app", "quart_web_app"])
async def test_two_people_in_a_browser_stay_logged_in_while_the_application_is_killed_under_load(
    program: str, tmp_path: Path
) -> None:
    async with (
        running(program, tmp_path) as application,
        run_chromium(tmp_path / "chromium") as ann,
    ):
        auth, people = application.auth, (ann, await ann.of_another_person())
        # Both are at the server at the same time, and neither has decided yet.
        for page in people:
            await log_in(page, application)
        while auth.ledger.calls["authorize"] < 2:  # noqa: ASYNC110  # a ledger has no event
            await trio.sleep(0.05)
        auth.approve("a person")
        logins = [said(await page.read("The API says"))[0] for page in people]
        assert sorted(logins) == [1, 2]

        load = Load(application.url)
        async with trio.open_nursery() as nursery:
            for page, login in zip(people, logins, strict=True):
                nursery.start_soon(load.run, await page.cookie("visitor"), login)
            await load.wait_renewed({}, logins)
            for _ in range(ROUNDS):
                before = dict(load.newest)
                auth.expire()
                # A kill between the answer and the save costs a login, whatever a client does. So
                # it comes when the API has seen the new tokens: they are in the store (P7).
                await load.wait_renewed(before, logins)
                broken = load.broken
                await application.stop(signal.SIGKILL)
                await application.start()
                assert load.broken > broken
                for page, login in zip(people, logins, strict=True):
                    assert (await look(page, application))[0] == login
            nursery.cancel_scope.cancel()
        assert load.wrong == []

        await ann.click("button")
        await ann.read("No login in this browser")
        assert (await look(people[1], application))[0] == logins[1]
    assert auth.ledger.refreshes == 2 * ROUNDS
    assert [each.outcome for each in auth.ledger.presented] == ["rotated"] * 2 * ROUNDS
    assert auth.ledger.repeats == 0
    auth.check()


@pytest.mark.parametrize("program", ["web_app", "quart_web_app"])
async def test_application_that_is_told_to_stop_in_mid_refresh_hands_the_login_to_the_next(
    program: str, tmp_path: Path
) -> None:
    async with (
        running(program, tmp_path) as old,
        beside(old) as new,
        httpx2.AsyncClient(trust_env=False, follow_redirects=True, timeout=60) as ann,
    ):
        auth = old.auth
        auth.approve("ann")
        assert said((await ann.get(f"{old.url}/login")).text) == (1, 1)
        assert said((await ann.get(f"{new.url}/")).text) == (1, 1)
        auth.expire()
        # Rotated at once, and answered later than hypercorn waits for requests (3 seconds): so the
        # refresh lands while the sessions are closed.
        auth.delay(4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answered, ann, f"{old.url}/")
            while auth.ledger.refreshes < 1:  # noqa: ASYNC110  # a ledger has no event
                await trio.sleep(0.05)
            nursery.start_soon(old.stop, signal.SIGTERM)
            # The new one waits for what the old one saves.
            assert said((await ann.get(f"{new.url}/")).text) == (1, 2)
            nursery.cancel_scope.cancel()
        assert [each.outcome for each in auth.ledger.presented] == ["rotated"]
