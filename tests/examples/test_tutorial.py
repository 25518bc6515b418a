"""The tutorial's programs do what docs/tutorial.md says."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import trioauth
from trioauth.testing import AuthServer

from . import EXAMPLES, load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import trio

TUTORIAL = EXAMPLES / "tutorial"


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_program_gets_two_answers_with_two_generations(tmp_path: Path) -> None:
    said = run(TUTORIAL / "first.py", folder=tmp_path)
    assert [line[:26] for line in said.splitlines()] == [
        "200 LoggedIn(generation=1,",
        "200 LoggedIn(generation=2,",
    ]


async def test_the_program_survives_what_the_tutorial_plays_with_it(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    """In memory, where no second is real; otherwise as it is."""
    servers: list[AuthServer] = []

    @asynccontextmanager
    async def serve(server: AuthServer) -> AsyncGenerator[None, None]:
        servers.append(server)
        yield

    def open_session(*args: Any, **options: Any) -> Any:
        return trioauth.open_session(*args, **options, transport=servers[0].transport())

    monkeypatch.syspath_prepend(TUTORIAL)
    monkeypatch.delitem(sys.modules, "notes", raising=False)
    play = load("tutorial/play")
    monkeypatch.setattr(AuthServer, "serve", serve)
    in_memory = SimpleNamespace(
        **{name: getattr(trioauth, name) for name in trioauth.__all__}
        | {"open_session": open_session, "FileStore": lambda _: trioauth.MemoryStore()}
    )
    monkeypatch.setattr(play.notes, "trioauth", in_memory)
    await play.main()
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["not logged in: never_logged_in", "(a person logs in)"]
    down, up, ended = (said.index(line) for line in said if line.startswith("---"))
    assert "download waits: the login server can't be reached" in said[down:up]
    assert any(line.startswith("uploaded") for line in said[up:ended])
    assert said[ended + 1 : ended + 3] == ["not logged in: refused", "(a person logs in)"]
    assert any(line.startswith("downloaded") for line in said[ended:])
    assert said.count("(a person logs in)") == 2
    assert said[-1].endswith("0 tokens used twice")


@pytest.mark.slow
def test_the_tests_of_the_program_pass() -> None:
    said = run("-m", "pytest", "-q", "test_notes.py", folder=TUTORIAL)
    assert "4 passed" in said
