"""The transcripts in docs/howto/command-line.md: each command is run, and its words compared."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from trioauth import Record, SQLiteStore, Tokens
from trioauth.cli import _command, main
from trioauth.testing import AuthServer, Persona

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Shell

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "command-line.md"
# What differs each time.
_VARIES = [
    (re.compile(r"\b(at-canary[\w-]+|eyJ\w+)"), "TOKEN"),
    (re.compile(r'"expires_at": \d+'), '"expires_at": TIME'),
    (re.compile(r"/\S+-[0-9a-f]{32}\.json"), "FILE"),
]


def commands(page: Path = PAGE) -> Iterator[tuple[str, str]]:
    """Each command on the page, and what it says there."""
    text = page.read_text("utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def alike(text: str) -> str:
    for pattern, name in _VARIES:
        text = pattern.sub(name, text)
    return text.strip()


@pytest.fixture
def auth_server() -> AuthServer:
    endpoints = {**Persona().endpoints}
    persona = attrs.evolve(Persona(), issuer="https://id.example.com", endpoints=endpoints)
    server = AuthServer(persona=persona, scope="notes offline_access")
    server.approve()
    server.lie(device={"interval": 0.05})
    return server


async def put_three(store: SQLiteStore) -> None:
    """Keep three logins: the second has ended."""
    now = time.time()
    there: dict[str, Any] = {
        "tokens": Tokens("at-canary", "rt-canary"),
        "expires_at_unix": now + 3600,
    }
    ended: dict[str, Any] = {"tokens": None, "ended": "refused", "ended_at_unix": now - 200}
    for number, record in enumerate((there, ended, there), 1):
        login = store.at(f"user-{number}")
        async with login.lock():
            await login.save(Record(1, **record), expected=0)


@pytest.mark.slow
async def test_the_transcripts_of_the_page_are_what_the_commands_say(
    shell: Shell, auth_server: AuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await put_three(SQLiteStore("logins.db"))
    answer = json.dumps({"refresh_token": auth_server.log_in().refresh_token})
    ran = 0
    for command, said in commands():
        words = shlex.split(command)
        if words[0] != "trioauth":
            assert words[:2] == ["pip", "install"]
            continue
        for sign in ("|", "<"):
            words = words[: words.index(sign)] if sign in words else words
        done = await shell(*words[1:], stdin=answer)
        if "|" not in command:
            expected = alike(said.replace("trioauth: ", "", 1) if done.code else said)
            assert alike(done.out + done.err) == expected, command
        assert done.code == (3 if said.startswith("trioauth: ") else 0)
        ran += 1
    assert ran > 10


async def test_the_commands_of_the_readme_do_what_it_says(
    shell: Shell, auth_server: AuthServer
) -> None:
    said = [text for text, _ in commands(ROOT / "README.md") if text.startswith("trioauth ")]
    assert [text.split()[1] for text in said] == ["login", "token", "status", "logout"]
    for text in said:
        words = shlex.split(
            text.partition("|")[0].replace("--client-id notes", "--client-id client")
        )
        assert (await shell(*words[1:])).code == 0, text


@pytest.mark.parametrize("page", [PAGE, ROOT / "SECURITY.md"])
def test_each_option_that_a_page_names_is_one(page: Path) -> None:
    parser: Any = main._parser()
    [commands] = [each for each in parser._actions if isinstance(each.choices, dict)]
    there = {option for each in commands.choices.values() for option in each._option_string_actions}
    demo = argparse.ArgumentParser()
    _command._add_demo(demo.add_subparsers())
    own: Any = next(each for each in demo._actions if isinstance(each.choices, dict))
    there |= set(own.choices["demo"]._option_string_actions)
    named = set(re.findall(r"[\s`(](--[a-z][a-z0-9-]*)", page.read_text("utf-8")))
    assert named - there <= {"--help"}
    assert named
