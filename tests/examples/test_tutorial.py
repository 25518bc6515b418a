"""The tutorial's programs do what docs/tutorial.md says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import trio
import trio.testing

from . import EXAMPLES, load

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

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


def test_the_program_survives_what_the_tutorial_plays_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(TUTORIAL)
    monkeypatch.delitem(sys.modules, "notes", raising=False)
    # Half a minute in a second: real sockets and a real file, but a fast clock.
    trio.run(load("tutorial/play").main, clock=trio.testing.MockClock(rate=30))
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["not logged in: never_logged_in", "(somebody logs in)"]
    down, up, ended = (said.index(line) for line in said if line.startswith("---"))
    assert "download waits: the login server can't be reached" in said[down:up]
    assert any(line.startswith("uploaded") for line in said[up:ended])
    assert said[ended + 1 : ended + 3] == ["not logged in: refused", "(somebody logs in)"]
    assert any(line.startswith("downloaded") for line in said[ended:])
    assert said.count("(somebody logs in)") == 2
    assert said[-1].endswith("0 tokens used twice")


def test_the_tests_of_the_program_pass() -> None:
    said = run("-m", "pytest", "-q", "test_notes.py", folder=TUTORIAL)
    assert "4 passed" in said
