"""Opening a browser: what there is, and how it is started."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from trioauth.oauth.logins.opening import (
    Command,
    Machine,
    Surroundings,
    browser_environment,
    check_url,
    command_line,
    look_around,
    open_browser,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

URL = "https://id.test/authorize?client_id=notes&state=cs-canary-state"


def machine(
    system: str = "linux",
    release: str = "6.1.0",
    *,
    commands: str = "",
    files: str = "",
    **environ: str,
) -> Machine:
    return Machine(
        environ=environ,
        system=system,
        release=release,
        which=lambda name: name if name in commands.split() else None,
        exists=lambda file: file in files.split(),
    )


WSL = "5.15.90.1-Microsoft-standard-WSL2"
RUNDLL = ("rundll32.exe", "url.dll,FileProtocolHandler")


@pytest.mark.parametrize(
    ("where", "commands"),
    [
        (machine("win32"), [RUNDLL]),
        (machine("darwin"), [("open",)]),
        (machine("darwin", SSH_CONNECTION="1.2.3.4"), []),
        (machine("win32", SSH_TTY="x"), []),
        (machine(commands="xdg-open"), []),
        (machine(commands="xdg-open", DISPLAY=":0"), [("xdg-open",)]),
        (machine(commands="gio xdg-open", WAYLAND_DISPLAY="w"), [("xdg-open",), ("gio", "open")]),
        (machine(DISPLAY=":0"), []),
        (machine(commands="xdg-open", DISPLAY=":0", SSH_CONNECTION="1.2.3.4"), []),
        (machine(release=WSL, commands="wslview powershell.exe xdg-open", DISPLAY=":0"),
         [("wslview",), ("powershell.exe",)]),
        (machine(release=WSL), []),
        (machine(BROWSER="firefox"), [("firefox",)]),
        (machine(BROWSER="code --open %s", SSH_TTY="x"), [("code", "--open", "%s")]),
        (machine("darwin", BROWSER="w3m:/usr/bin/lynx:'odd::firefox -P 'my own'"),
         [("firefox", "-P", "my own")]),
        (machine("darwin", BROWSER="w3m"), [("open",)]),
    ],
)  # fmt: skip
def test_what_can_be_opened_where(where: Machine, commands: list[Command]) -> None:
    found = look_around(where)
    assert list(found.commands) == commands
    assert found.can_open == bool(commands)
    assert (found.why_not is None) == bool(commands)


@pytest.mark.parametrize(
    ("where", "ssh", "container"),
    [
        (machine(), False, False),
        (machine(SSH_CONNECTION="1.2.3.4"), True, False),
        (machine(files="/.dockerenv"), False, True),
        (machine(files="/run/.containerenv"), False, True),
        (machine(container="podman"), False, True),
        (machine(KUBERNETES_SERVICE_HOST="1.2.3.4"), False, True),
    ],
)
def test_what_else_matters_to_a_login(where: Machine, ssh: bool, container: bool) -> None:
    found = look_around(where)
    assert (found.ssh, found.container) == (ssh, container)


def test_this_machine_can_be_asked() -> None:
    assert isinstance(look_around(), Surroundings)
    assert "SSH" in str(look_around(machine(SSH_TTY="x")).why_not)


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "file:///etc/passwd", "--help", "https:", "https://a b/", "http:///x"]
    + ["https://id.test/\n--x", "https://id.test/\N{SNOWMAN}", "", "mailto:a@b.test"],
)
async def test_only_an_address_of_the_web_is_opened(url: str) -> None:
    with pytest.raises(ValueError, match="only http and https"):
        check_url(url)
    with pytest.raises(ValueError, match="only http and https"):
        await open_browser(url, Surroundings(commands=(("true",),)))


def test_the_address_goes_where_the_command_wants_it() -> None:
    assert command_line(("firefox", "-P", "me"), URL) == ("firefox", "-P", "me", URL)
    assert command_line(("x", "--app=%s", "-q"), URL) == ("x", f"--app={URL}", "-q")
    *_, name, encoded = command_line(("powershell.exe",), "https://id.test/?a='b'&c")
    assert name == "-EncodedCommand"
    script = base64.b64decode(encoded).decode("utf-16-le")
    assert script == "Start-Process 'https://id.test/?a=''b''&c'"


# Writes what it got, and what its standard streams are.
SPY = """
import json, os, sys
found = {"argv": sys.argv[2:], "sid": os.getsid(0), "null": [
    os.path.samestat(os.fstat(fd), os.stat(os.devnull)) for fd in (0, 1, 2)]}
print("noise"); print("noise", file=sys.stderr)
open(sys.argv[1], "w").write(json.dumps(found))
"""


async def test_a_browser_is_a_process_away_from_our_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found"
    spy = (sys.executable, "-c", SPY, str(file))
    assert await open_browser(URL, Surroundings(commands=(spy,)))
    found = json.loads(file.read_text())
    assert found["argv"] == [URL]
    assert found["null"] == [True, True, True]
    assert found["sid"] != os.getsid(0), "a Control-C in our terminal is not for it"
    assert capfd.readouterr() == ("", "")


async def test_a_command_that_fails_at_once_is_followed_by_the_next(tmp_path: Path) -> None:
    file = tmp_path / "found"
    spy = (sys.executable, "-c", SPY, str(file))
    broken = (("/no/such/command",), ("false",), spy)
    assert await open_browser(URL, Surroundings(commands=broken))
    assert file.exists()
    assert not await open_browser(URL, Surroundings(commands=broken[:2]))
    assert not await open_browser(URL, Surroundings())


async def test_a_command_that_goes_on_counts_as_started(autojump_clock: MockClock) -> None:
    assert await open_browser(URL, Surroundings(commands=(("sh", "-c", "sleep 1", "sh"),)))
    assert trio.current_time() == 3


async def test_the_surroundings_are_looked_at_if_they_are_not_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "found"
    spy = tmp_path / "spy.py"
    spy.write_text(SPY)
    monkeypatch.setenv("BROWSER", f"{sys.executable} {spy} {file}")
    assert await open_browser(URL)
    assert json.loads(file.read_text())["argv"] == [URL]


async def test_cancelling_leaves_at_once_and_leaves_the_browser() -> None:
    with trio.move_on_after(0.2) as scope:
        await open_browser(URL, Surroundings(commands=(("sh", "-c", "sleep 1", "sh"),)))
    assert scope.cancelled_caught


def test_a_frozen_programs_libraries_are_not_the_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"LD_LIBRARY_PATH": "/frozen", "LD_LIBRARY_PATH_ORIG": "/mine", "HOME": "/home/me"}
    assert browser_environment(environ) == environ
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert browser_environment(environ) == {"LD_LIBRARY_PATH": "/mine", "HOME": "/home/me"}
    assert browser_environment({"DYLD_LIBRARY_PATH": "/frozen"}) == {}
