"""``python -m trioauth``: which command runs, and what becomes of what it raises."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioauth import (
    Error,
    GrantMisconfiguredError,
    GrantRefusedError,
    LoggedOutError,
    LoginDeclinedError,
    RefreshUnavailableError,
    StoreError,
)
from trioauth._profiles import places
from trioauth._profiles.files import NewProfile, NoProfileError, remove_profile
from trioauth._profiles.profile import Profile
from trioauth.cli import _command, main, speaking
from trioauth.cli.exits import FailedError, UsageError, judge, not_logged_in
from trioauth.events import NotRevoked, Saved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Error("bad"), 1, "bad"),
        (FailedError("bad"), 1, "bad"),
        (StoreError("full"), 1, "full"),
        (LoginDeclinedError("access_denied", "no"), 1, "access_denied: no"),
        (GrantMisconfiguredError("invalid_client"), 1, "invalid_client"),
        (UsageError("what?"), 2, "what?"),
        (ModuleNotFoundError("pip install"), 2, "pip install"),
        (NoProfileError("none"), 3, "none"),
        (because(LoggedOutError("out"), GrantRefusedError("invalid_grant")), 3,
         "out (invalid_grant)"),
        (LoggedOutError("out"), 3, "out"),
        (RefreshUnavailableError("down"), 4, "down"),
        (because(RefreshUnavailableError("down"), OSError(2, "x")), 4,
         "down (FileNotFoundError: No such file or directory)"),
        (because(RefreshUnavailableError("down"), StoreError("full")), 1, "full"),
        (trio.TooSlowError(), 4, "the server took too long; try later"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()]), 130, ""),
    ],
)  # fmt: skip
def test_an_error_is_an_exit_code_and_a_line(error: BaseException, code: int, words: str) -> None:
    assert judge(error) == (code, words)


@pytest.mark.parametrize(
    "error", [ValueError("at-canary"), ExceptionGroup("", [Error("x"), ValueError()])]
)
def test_what_must_not_happen_is_not_hidden(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judge(error) is None
    monkeypatch.setattr(trio, "run", raising(error))
    with pytest.raises(type(error)):
        main.main(["status"])


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_state_says_why_there_is_no_login() -> None:
    assert str(not_logged_in("notes", None)) == "not logged in; to log in: trioauth login notes"


@pytest.mark.parametrize(("error", "code"), [(BrokenPipeError(), 1), (KeyboardInterrupt(), 130)])
def test_without_a_word(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(trio, "run", raising(error))
    assert main.main(["status"]) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_line_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv(places.HOME, str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["trioauth", "token", "notes"])
    assert main.main() == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("trioauth: there is no profile 'notes'")


def test_without_a_command_it_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 0
    help_text = capsys.readouterr().out
    for command in ("login", "token", "status", "logout", "profiles", "demo"):
        assert f"\n    {command} " in help_text


@pytest.mark.parametrize("command", ["login", "token", "status", "logout", "profiles"])
def test_each_command_tells_its_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main([command, "--help"])
    assert caught.value.code == 0
    assert "3, not logged in" in " ".join(capsys.readouterr().out.split())


def test_the_demo_reads_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def demo(words: object) -> int:
        seen.append(words)
        return 7

    monkeypatch.setattr(_command, "main", demo)
    assert main.main(["demo", "--tasks", "3"]) == 7
    assert seen == [["demo", "--tasks", "3"]]


@pytest.mark.parametrize("option", [["--verbose"], []])
def test_what_happens_is_told_if_asked_for(
    option: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setenv(places.HOME, str(tmp_path))
    monkeypatch.setattr(logging, "basicConfig", lambda **options: told.append(options))
    for name in ("trioauth", None):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "level", logger.level)
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    assert main.main([*option, "status"]) == 3
    assert len(told) == len(option)
    if told:
        assert told[0]["stream"] is sys.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
async def test_143_says_that_it_was_told_to_stop() -> None:
    async def run(_: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()
        return 0

    assert await main._run(argparse.Namespace(run=run)) == 143


def test_people_are_told_what_did_not_go_well(capsys: pytest.CaptureFixture[str]) -> None:
    speaking.observe(Saved(generation=1, time=0))
    assert capsys.readouterr().err == ""
    speaking.observe(NotRevoked(error="OSError", time=0))
    assert capsys.readouterr().err.startswith("trioauth: not revoked: the authorization server")


# --- places --------------------------------------------------------------------------------


def test_profiles_and_logins_are_where_the_system_has_such_things(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import platformdirs

    monkeypatch.delenv(places.HOME, raising=False)
    config = platformdirs.user_config_path("trioauth", appauthor=False)
    state = platformdirs.user_state_path("trioauth", appauthor=False)
    assert places.config_folder() == config / "profiles"
    assert places.state_folder() == state


def test_it_says_what_to_install_for_profiles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(places.HOME, raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert main.main(["token", "notes"]) == 2
    assert 'pip install "trioauth[cli]"' in capsys.readouterr().err


def test_a_profile_that_is_a_link_stays_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(places.HOME, str(tmp_path / "home"))
    kept, link = tmp_path / "dotfiles" / "notes.toml", places.profile_file("notes")
    link.parent.mkdir(parents=True)
    link.symlink_to(kept)
    profile = Profile(name="notes", client_id="c", issuer="https://id.example.com")
    NewProfile(profile).prove_writable()
    NewProfile(profile).write()
    assert link.is_symlink()
    assert Profile.from_toml("notes", kept.read_text()) == profile
    remove_profile("notes")
    assert kept.exists()
    assert not link.is_symlink()


def test_what_is_written_is_what_is_read() -> None:
    profile = Profile(
        name="notes",
        client_id='a"b\\c é 🔑',
        issuer="https://id.example.com",
        resource=("https://a.example.com", "https://b.example.com"),
        ports=(8000, 18000),
        parameters={"a key = x": "[y]\"'#", "é": ""},
        way="device",
    )
    assert Profile.from_toml("notes", profile.to_toml()) == profile
    assert Profile.from_toml("notes", profile.to_toml()).ports == (8000, 18000)
