"""Five ways to log in for the first time: docs/howto/first-login.md."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioauth
from trioauth.testing import AuthServer, Person, prompting

from . import load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

pytestmark = pytest.mark.usefixtures("autojump_clock")

# The programs name this issuer; in memory the server answers at every host.
ISSUER = "https://id.example.com"


class Prompts:
    """Stands in for the terminal: a person who is asked, and how often."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.kinds: list[str] = []

    async def __call__(self, invitation: trioauth.Invitation, /) -> str | None:
        self.kinds.append(invitation.kind)
        return await self.person(invitation)


def at(server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the sessions of a program to a server in memory, which answers at every host."""
    open_session = trioauth.open_session

    @asynccontextmanager
    async def opened(*args: Any, **options: Any) -> AsyncGenerator[trioauth.Session, None]:
        async with open_session(*args, transport=server.transport(), **options) as session:
            yield session

    monkeypatch.setattr(trioauth, "open_session", opened)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> AuthServer:
    server = AuthServer(issuer=ISSUER, client_id="notes", scope="notes offline_access")
    at(server, monkeypatch)
    # A clock that jumps does not wait for a file. Both runs of a program have the same store.
    files: dict[str, trioauth.MemoryStore] = {}
    monkeypatch.setattr(
        trioauth, "FileStore", lambda name: files.setdefault(name, trioauth.MemoryStore())
    )
    return server


@pytest.fixture
def prompts(server: AuthServer) -> Iterator[Prompts]:
    prompts = Prompts(server.person())
    with prompting(prompts):
        yield prompts


WAYS = [("browser", "browser"), ("device", "device"), ("pasted", "paste")]


@pytest.mark.parametrize(("program", "kind"), WAYS)
async def test_a_program_asks_a_person_in_its_first_run_only(
    program: str,
    kind: str,
    server: AuthServer,
    prompts: Prompts,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.approve("ann")
    main = load(f"logins/{program}").main
    await main()
    server.expire()
    await main()
    assert prompts.kinds == [kind]
    assert capsys.readouterr().out.count("'path': '/me'") == 2
    # Of the second run, with what the first one left in the file.
    assert server.ledger.refreshes == 1
    server.check()


@pytest.mark.parametrize(("program", "kind"), WAYS)
async def test_a_person_who_says_no_is_asked_again_in_the_next_run(
    program: str,
    kind: str,
    server: AuthServer,
    prompts: Prompts,
) -> None:
    server.deny()
    main = load(f"logins/{program}").main
    with pytest.raises(trioauth.LoginDeclinedError):
        await main()
    server.approve("ann")
    await main()
    assert prompts.kinds == [kind, kind]


async def test_the_terminal_says_what_to_do_on_stderr_and_the_program_keeps_stdout(
    server: AuthServer, capsys: pytest.CaptureFixture[str]
) -> None:
    person = server.person()
    terminal = trioauth.TerminalPrompt(open_browser=False)

    async def both(invitation: trioauth.Invitation, /) -> str | None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(person, invitation)
            await terminal(invitation)
        return None

    server.approve("ann")
    with prompting(both):
        await load("logins/device").main()
    out, err = capsys.readouterr()
    assert out.startswith("{'generation': 1")
    assert "To log in notes at server.test, open this address:" in err
    assert "and enter the code " in err


async def test_a_machine_logs_in_by_itself_when_it_is_first_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "cs-canary-secret"
    server = AuthServer(issuer=ISSUER, client_id="reports", client_secret=secret, scope="notes")
    at(server, monkeypatch)
    monkeypatch.setenv("CLIENT_SECRET", secret)
    await load("logins/machine").main()
    assert "'path': '/me'" in capsys.readouterr().out
    server.check()
