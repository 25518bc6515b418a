"""``trioauth`` as a person types it, at a certified server: browser, code, and pasted address."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import httpx
import pytest
import trio

from .chromium import run_chromium
from .people import RENEWABLE, SCOPE, agree, desktop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from .provider import Provider

# One server for all of them.
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.xdist_group("node"),
    pytest.mark.skipif(sys.platform == "win32", reason="has no terminals of this kind"),
]

# Eight processes at once, on a machine that is busy with other tests.
PATIENCE = 300
PARAMETERS = [word for item in RENEWABLE.items() for word in ("--parameter", "=".join(item))]


@attrs.frozen
class Person:
    """A person's machine, without a browser that a program could open by itself."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
        return {**kept, "TRIOAUTH_HOME": str(self.home), "BROWSER": "", "NO_PROXY": "*"}

    async def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        return await trio.run_process(
            [sys.executable, "-m", "trioauth", *argv],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=self.environment,
        )

    @asynccontextmanager
    async def log_in(self, provider: Provider, *more: str) -> AsyncGenerator[Terminal]:
        """Begin to log in; at the end it must have succeeded."""
        keyboard, end = os.openpty()
        who = ["--issuer", provider.issuer, "--client-id", "desktop", "--scope", SCOPE]
        words = [sys.executable, "-m", "trioauth", "login", "notes", *who, *PARAMETERS, *more]
        try:
            async with trio.open_nursery() as nursery:
                start = partial(
                    trio.run_process,
                    words,
                    stdin=end,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    check=False,
                    env=self.environment,
                )
                process: trio.Process = await nursery.start(start)
                terminal = Terminal(process, keyboard)
                yield terminal
                await terminal.read("notes: logged in at")
                assert await process.wait() == 0
        finally:
            os.close(keyboard)
            os.close(end)


@attrs.define
class Terminal:
    """What a command shows, and where a person types."""

    process: trio.Process
    keyboard: int
    shown: str = ""

    async def read(self, words: str) -> list[str]:
        """Wait until it has said this, and return its words."""
        assert self.process.stderr is not None
        while words not in self.shown:
            data = await self.process.stderr.receive_some()
            assert data, f"it ended, and did not say {words}: {self.shown}"
            self.shown += data.decode()
        return self.shown.split()

    async def invitation(self, words: str) -> tuple[str, list[str]]:
        """Wait for the address that is to be opened, and for what is said after it."""
        said = await self.read(words)
        return next(word for word in said if word.startswith("http") and "/auth" in word or
                    word.endswith("/device")), said  # fmt: skip

    def type(self, text: str) -> None:
        os.write(self.keyboard, f"{text}\n".encode())


async def use(person: Person, provider: Provider) -> None:
    """Use the login: a refresh, a request with the token, and its end."""
    await provider.expire()
    assert (await person.run("token", "notes", "--refresh")).returncode == 0
    header = (await person.run("token", "notes", "--format", "header")).stdout.decode()
    name, _, value = header.strip().partition(": ")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{provider.api_url}me", headers={name: value})
    assert answer.status_code == 200
    assert answer.json()["generation"] == 2
    done = await person.run("status", "notes")
    assert b"account  " in done.stderr
    assert (await person.run("logout", "notes")).returncode == 0
    assert (await person.run("token", "notes")).returncode == 3
    ledger = await provider.ledger()
    assert ledger["events"]["grant.revoked"] == 1
    assert ledger["reuse"] == 0
    assert await provider.refreshes() == (1, 0)


async def test_a_person_logs_in_with_a_browser(provider: Provider, tmp_path: Path) -> None:
    person = Person(tmp_path / "home")
    await desktop(provider)
    with trio.fail_after(PATIENCE):
        async with run_chromium(tmp_path) as page:
            async with person.log_in(provider, "--browser") as terminal:
                url, _ = await terminal.invitation("code_challenge")
                await page.open(url)
                await agree(page)
                await page.read("You are logged in")
        await use(person, provider)


async def test_a_person_types_a_code_into_a_browser_elsewhere(
    provider: Provider, tmp_path: Path
) -> None:
    person = Person(tmp_path / "home")
    await desktop(provider)
    with trio.fail_after(PATIENCE):
        async with run_chromium(tmp_path) as page:
            async with person.log_in(provider, "--device") as terminal:
                url, said = await terminal.invitation("Do so only if you have just started")
                code = said[said.index("code") + 1]
                await page.open(url)
                await page.type("input[name=user_code]", code)
                await page.click("button[form='op.deviceInputForm']")
                await page.read("Confirm Device", code)
                await page.click("button[form='op.deviceConfirmForm'][autofocus]")
                await agree(page)
        await use(person, provider)


async def test_a_person_pastes_the_address_at_which_a_browser_elsewhere_ended(
    provider: Provider, tmp_path: Path
) -> None:
    person = Person(tmp_path / "home")
    await desktop(provider, redirect_uri="http://localhost/callback")
    redirect = ["--redirect-uri", "http://localhost/callback"]
    with trio.fail_after(PATIENCE):
        # To it "localhost" leads nowhere: it is on another machine.
        async with run_chromium(tmp_path) as page:
            async with person.log_in(provider, "--paste", *redirect) as terminal:
                url, _ = await terminal.invitation("press Enter")
                await page.open(url)
                await agree(page)
                terminal.type(await page.address("http://localhost:"))
        await use(person, provider)


async def test_p1_eight_processes_with_an_expired_token_refresh_once(
    provider: Provider, tmp_path: Path
) -> None:
    person, tokens = Person(tmp_path / "home"), set[bytes]()
    await desktop(provider)
    await provider.configure(access_token_ttl=1)

    async def print_token() -> None:
        done = await person.run("token", "notes", "--min-validity", "0")
        assert done.returncode == 0, done.stderr
        tokens.add(done.stdout)

    with trio.fail_after(PATIENCE):
        async with run_chromium(tmp_path) as page:
            async with person.log_in(provider, "--browser") as terminal:
                url, _ = await terminal.invitation("code_challenge")
                await page.open(url)
                await agree(page)
        # What is issued from now on lives long enough for all of them.
        await provider.configure(access_token_ttl=600)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(print_token)
    assert len(tokens) == 1
    assert await provider.refreshes() == (1, 0)
