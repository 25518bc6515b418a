"""Opening a browser: in a process of its own, away from our terminal, and without trusting it.

What `look_around` decides by, in this order:

1. ``BROWSER``, if the person has set it, is the person's own word: it is run wherever we are. A
   browser that would draw on the terminal is left out.
2. Over SSH nothing is opened: a browser on that machine's screen is seen by another person, or by
   none, and uses up the log-in.
3. Windows, macOS and WSL have one command. In WSL that is the browser of Windows, which is logged
   in already; a Linux browser beside it is not.
4. Elsewhere a screen must be there (``DISPLAY``, ``WAYLAND_DISPLAY``) and a command that opens.

The exit status says little: a command that waits for its browser goes on, and one that opened
nothing may end with 0. Only a quick failure is believed: then the next command is tried.
"""

from __future__ import annotations

import base64
import os
import platform
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import urlsplit

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# They would be run over the address that they should open, in our terminal.
_IN_TERMINAL: Final = frozenset(
    ["browsh", "carbonyl", "chawan", "elinks", "links", "links2", "lynx", "w3m", "www-browser"]
)
_OPENERS: Final = (("xdg-open",), ("gio", "open"), ("x-www-browser",), ("sensible-browser",))
_CONTAINER_FILES: Final = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_NAMES: Final = ("container", "KUBERNETES_SERVICE_HOST")
_URL: Final = "%s"
# A command that fails, fails quicker than this.
_QUICK: Final = 3.0

Command: TypeAlias = tuple[str, ...]


@final
@attrs.frozen(kw_only=True)
class Surroundings:
    """Where a program runs, as far as it matters to a log-in."""

    commands: tuple[Command, ...] = ()
    """What may open a browser, best first. ``%s`` stands for the address, else it comes last."""
    why_not: str | None = None
    """Why there is none; None if there are some."""
    ssh: bool = False
    container: bool = False
    """Whether this is a container: a browser outside can't reach a port inside."""

    @property
    def can_open(self) -> bool:
        """Whether opening a browser is worth a try."""
        return bool(self.commands)


@final
@attrs.frozen(kw_only=True)
class Machine:
    """What is asked of a machine; by default of this one. Only looking, and files at that."""

    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ, repr=False)
    system: str = sys.platform
    release: str = attrs.field(factory=platform.release)
    which: Callable[[str], str | None] = shutil.which
    exists: Callable[[str], bool] = os.path.exists

    @property
    def is_wsl(self) -> bool:
        """Whether this is Linux inside of Windows."""
        return self.system == "linux" and "microsoft" in self.release.lower()


def look_around(machine: Machine | None = None) -> Surroundings:
    """Say whether a browser can be opened here, and how. Not a checkpoint."""
    machine = machine or Machine()
    environ = machine.environ
    ssh = any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))
    container = any(environ.get(name) for name in _CONTAINER_NAMES) or any(
        machine.exists(file) for file in _CONTAINER_FILES
    )
    commands, why_not = _own_browser(environ), None
    if not commands:
        commands, why_not = ((), "this is an SSH session") if ssh else _usual(machine)
    return Surroundings(commands=commands, why_not=why_not, ssh=ssh, container=container)


def _own_browser(environ: Mapping[str, str]) -> tuple[Command, ...]:
    """Read ``BROWSER``: commands, with colons (on Windows semicolons) between them."""
    found: list[Command] = []
    for text in environ.get("BROWSER", "").split(os.pathsep):
        try:
            command = tuple(shlex.split(text))
        except ValueError:
            continue
        if command and PurePath(command[0]).name not in _IN_TERMINAL:
            found.append(command)
    return tuple(found)


def _usual(machine: Machine) -> tuple[tuple[Command, ...], str | None]:
    if machine.system == "win32":
        return (("rundll32.exe", "url.dll,FileProtocolHandler"),), None
    if machine.system == "darwin":
        return (("open",),), None
    if machine.is_wsl:
        known: tuple[Command, ...] = (("wslview",), ("powershell.exe",))
    elif not (machine.environ.get("DISPLAY") or machine.environ.get("WAYLAND_DISPLAY")):
        return (), "there is no screen (DISPLAY and WAYLAND_DISPLAY are not set)"
    else:
        known = _OPENERS
    found = tuple(command for command in known if machine.which(command[0]))
    return found, None if found else "there is no command that opens a browser, such as xdg-open"


def check_url(url: str) -> None:
    """Let an address pass that may be opened: it comes from a server, and goes to a command.

    Raises:
      ValueError: It is not http or https, has no host, or characters that no URL has.
    """
    printable = url.isascii() and url.isprintable() and " " not in url
    if not printable or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ValueError("only http and https addresses are opened in a browser")


def command_line(command: Command, url: str) -> Command:
    """Put the address into a command."""
    if command == ("powershell.exe",):
        # Encoded, since "&" and quotes mean something to it.
        script = "Start-Process '" + url.replace("'", "''") + "'"
        encoded = base64.b64encode(script.encode("utf-16-le")).decode("ascii")
        return (*command, "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded)
    if any(_URL in word for word in command):
        return tuple(word.replace(_URL, url) for word in command)
    return (*command, url)


async def open_browser(url: str, surroundings: Surroundings | None = None) -> bool:
    """Try to open an address in a browser.

    Args:
      url: http or https, and nothing else.
      surroundings: What to try; by default what `look_around` finds.

    Returns:
      Whether a command was started and did not fail at once. Don't believe it: the person may see
      nothing.

    Cancellation:
      Safe. A browser that was started stays.

    Raises:
      ValueError: It is not an address to be opened.
    """
    check_url(url)
    if surroundings is None:
        surroundings = await trio.to_thread.run_sync(look_around, abandon_on_cancel=True)
    for command in surroundings.commands:
        if await _start(command_line(command, url)):
            return True
    await trio.lowlevel.checkpoint()
    return False


async def _start(command: Command) -> bool:
    """Run a command, and give it some seconds to fail."""
    run = partial(_run, command, browser_environment(os.environ))
    with trio.move_on_after(_QUICK):
        # The thread waits until the command ends, so that it leaves no zombie: that may be as long
        # as the browser is open. So it has a limiter of its own, and is left to itself.
        return await trio.to_thread.run_sync(
            run, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
    return True


def _run(command: Command, environ: Mapping[str, str]) -> bool:
    try:
        process = subprocess.Popen(  # noqa: S603  # the address in it was checked
            command,
            # Not ours: it may print, and our output may be a credential that a program reads.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Without our terminal, and not stopped by its Control-C.
            start_new_session=True,
            env=environ,
        )
    except (OSError, ValueError):
        return False
    return process.wait() == 0


def browser_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a browser gets: not the libraries of a frozen program."""
    found = dict(environ)
    if getattr(sys, "frozen", False):
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            found.pop(name, None)
            if original := found.pop(f"{name}_ORIG", None):
                found[name] = original
    return found
