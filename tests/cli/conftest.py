"""A shell to type commands into, in this process: its server is in memory, its folders are new."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest

from tests.canary import SECRET
from trioauth import FileStore, Record
from trioauth._profiles import files, places
from trioauth.cli import login, main, opening
from trioauth.cli.exits import judge
from trioauth.testing import AuthServer, Persona

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Keyboard(io.StringIO):
    """A stdin that is a terminal."""

    def isatty(self) -> bool:
        return True


@attrs.frozen
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


@attrs.define
class Shell:
    """Runs commands as `main` does, but within the trio run of the test."""

    server: AuthServer
    home: Path
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    asked: list[Any] = attrs.field(factory=list)
    """What persons were shown."""

    async def __call__(self, *argv: str, stdin: str | None = "") -> Done:
        keyboard = Keyboard() if stdin is None else io.StringIO(stdin)
        self.patch.setattr(sys, "stdin", keyboard)
        self.capsys.readouterr()
        options = main._parser().parse_args(argv)
        words = ""
        try:
            code = await options.run(options)
        except Exception as exc:
            judged = judge(exc)
            if judged is None:
                raise
            code, words = judged
        shown = self.capsys.readouterr()
        assert not SECRET.search(shown.err + words), "P29"
        if argv[0] != "token":
            assert not SECRET.search(shown.out), "P29"
        assert not SECRET.search(" ".join(argv))
        return Done(code, shown.out, shown.err + words)

    async def log_in(self, *more: str, name: str = "notes", stdin: str | None = "") -> Done:
        """Log in with a browser; the person has to have decided."""
        who = ["--issuer", self.server.issuer, "--client-id", self.server.client_id]
        return await self("login", name, *who, *more, stdin=stdin)

    async def take(self, name: str = "notes", *, expires_in: float | None = 3600) -> Done:
        """Log in with tokens from elsewhere, which were good for that long."""
        tokens = self.server.log_in()
        answer = {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "expires_in": expires_in,
        }
        return await self.log_in("--with-token", name=name, stdin=json.dumps(answer))

    def store(self, name: str = "notes") -> FileStore:
        return FileStore(places.login_file(files.load_profile(name)))

    async def record(self, name: str = "notes") -> Record:
        record = await self.store(name).load()
        assert record is not None
        return record

    async def replace(self, name: str = "notes", **record: Any) -> None:
        """Put another record in the store, as another process would."""
        before, store = await self.record(name), self.store(name)
        number = before.generation
        async with store.lock():
            await store.save(Record(number + 1, owner=before.owner, **record), expected=number)

    def files(self) -> list[str]:
        """All files that there are, but for locks."""
        found = [path for path in self.home.rglob("*") if path.is_file()]
        return sorted(path.name for path in found if path.suffix != ".lock")


@pytest.fixture
def auth_server(request: pytest.FixtureRequest) -> Iterator[AuthServer]:
    """A server without pushed requests: so the address that a person opens says what is asked.

    What else its persona is to be is a parameter of the fixture.
    """
    endpoints = dict(Persona().endpoints)
    del endpoints["par"]
    more: dict[str, Any] = getattr(request, "param", {})
    server = AuthServer(persona=Persona(endpoints=endpoints, **more))
    yield server
    server.check()


@pytest.fixture
def shell(
    auth_server: AuthServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    monkeypatch.setenv(places.HOME, str(tmp_path / "home"))
    shell = Shell(auth_server, tmp_path / "home", capsys, monkeypatch)

    async def handle(transport: object, request: httpx.Request) -> httpx.Response:
        return await auth_server.transport().handle_async_request(request)

    def prompt(**options: Any) -> Any:
        person = auth_server.person()

        async def ask(invitation: Any) -> str | None:
            shell.asked.append((invitation, options))
            return await person(invitation)

        return ask

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    monkeypatch.setattr(login, "TerminalPrompt", prompt)
    # No test waits for a server that is down.
    monkeypatch.setattr(opening, "_POLICY", attrs.evolve(opening._POLICY, backoff=0))
    return shell
