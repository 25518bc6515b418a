"""What a person is shown who is to log in: `Invitation`, `Prompt`, and the two that are built in.

A prompt runs beside the waiting, and is cancelled when the log-in has ended, well or not. It may
return what the person pasted. It decides nothing: whether the log-in has ended, the server says.
"""

from __future__ import annotations

import os
import shutil
import sys
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TextIO, TypeAlias, final

import attrs
import trio

from trioauth._secrets import Unpicklable, printable

from . import qr
from .lines import can_read, read_line
from .opening import check_url, open_browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from .opening import Surroundings

Kind: TypeAlias = Literal["browser", "device", "paste"]

# When a person who has not come back yet is told the other ways.
_HINT_AFTER: Final = 15.0
_BOLD: Final = "\x1b[1m{}\x1b[0m"


@final
@attrs.frozen(kw_only=True)
class Invitation(Unpicklable):
    """What a person needs to log in. Its ``repr`` shows nothing that is worth something."""

    kind: Kind
    """``browser``: the answer comes to a port of this machine. ``paste``: the person brings it.
    ``device``: the person types a code on any device."""
    url: str = attrs.field(repr=False)
    """What to open. It is meant for this person only, since it holds the state of the log-in."""
    user_code: str | None = attrs.field(default=None, repr=False)
    """What to type there (RFC 8628 3.2), to be shown as it is."""
    complete_url: str | None = attrs.field(default=None, repr=False)
    """The address that has the code in it; for a QR code, or to be opened here."""
    expires_at: float
    """When it is too late, on trio's clock (`trio.current_time`)."""
    client_id: str
    """Who wants the log-in."""
    where: str
    """The host of the server."""
    check: Callable[[str], str | None] | None = attrs.field(default=None, repr=False, eq=False)
    """Says what is wrong with a pasted text, so that the person can be asked again; None: nothing.
    Not async, and it changes nothing."""


class Prompt(Protocol):
    """How a person is asked to log in. Any async function that takes an `Invitation`."""

    async def __call__(self, invitation: Invitation, /) -> str | None:
        """Show an invitation.

        Returns:
          What the person pasted: the address that the browser ended at, or the code in it. Or
          None: there is nothing more to say. In both cases the log-in waits on if that did not
          end it.

        Cancellation:
          Must be safe. It is cancelled whenever the log-in ends.
        """
        ...


@final
@attrs.frozen(kw_only=True)
class TerminalPrompt:
    """Asks in a terminal.

    All of it goes to stderr: what a program prints on stdout may be read by another one.
    """

    open_browser: bool | None = None
    """Whether to open a browser; None: if there seems to be one."""
    other_ways: str | None = None
    """What else a person can do; said after a while. Such as which option to use."""
    output: TextIO | None = attrs.field(default=None, repr=False)
    """Where to write; by default `sys.stderr`."""
    keyboard: TextIO | None = attrs.field(default=None, repr=False)
    """What to read a pasted line from, if it is a terminal; by default `sys.stdin`."""
    surroundings: Surroundings | None = None
    """Where this program runs; by default what can be seen from here."""

    async def __call__(self, invitation: Invitation, /) -> str | None:
        """Write what to do, open a browser if there is one, and read what is pasted.

        Cancellation:
          Safe.
        """
        # First of all, and whatever happens then: the browser may never show up.
        self._write(_words(invitation, bold=self._is_terminal, codes=self._qr(invitation)))
        pasted: str | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._open, invitation)
            nursery.start_soon(self._hint, invitation)
            if invitation.kind != "device":
                pasted = await self._paste(invitation.check)
            if pasted is not None:
                nursery.cancel_scope.cancel(reason="trioauth: the person has pasted something")
        return pasted

    @property
    def _file(self) -> TextIO:
        return self.output or sys.stderr

    @property
    def _is_terminal(self) -> bool:
        return self._file.isatty() and os.environ.get("TERM") != "dumb"

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except (OSError, ValueError):
            # A log-in can end well although nothing can be written: a browser was opened.
            return

    def _qr(self, invitation: Invitation) -> list[str]:
        if invitation.complete_url is None or not self._is_terminal:
            return []
        encoding = getattr(self._file, "encoding", None) or "ascii"
        size = shutil.get_terminal_size()
        lines = qr.terminal_lines(invitation.complete_url, columns=size.columns, rows=size.lines)
        try:
            "".join(lines).encode(encoding)
        except (UnicodeError, LookupError):
            return []
        return lines

    async def _open(self, invitation: Invitation) -> None:
        await trio.lowlevel.checkpoint()
        url = invitation.complete_url or invitation.url
        if self.open_browser is False or invitation.kind == "paste":
            return
        try:
            await open_browser(url, self.surroundings)
        except ValueError:
            # The address comes from a server. The person sees it, and decides.
            return

    async def _hint(self, invitation: Invitation) -> None:
        await trio.sleep(_HINT_AFTER)
        self._write(_hints(invitation, self.other_ways, can_paste=can_read(self._keyboard)))

    @property
    def _keyboard(self) -> TextIO | None:
        return self.keyboard or sys.stdin

    async def _paste(self, check: Callable[[str], str | None] | None) -> str | None:
        await trio.lowlevel.checkpoint()
        keyboard = self._keyboard
        if keyboard is None or not can_read(keyboard):
            return None
        while (line := await read_line(keyboard)) is not None:
            if not line.strip():
                continue
            problem = None if check is None else check(line)
            if problem is None:
                return line
            self._write(f"That is not it: {printable(problem)}. Paste it again.\n")
        return None


def _words(invitation: Invitation, *, bold: bool, codes: list[str]) -> str:
    """Return what a person is told: each address on one line of its own, however long."""
    who, where = printable(invitation.client_id), printable(invitation.where)
    lines = [f"To log in {who} at {where}, open this address:", _one_line(invitation.url)]
    if invitation.user_code is not None:
        code = _one_line(invitation.user_code)
        lines += [f"and enter the code {_BOLD.format(code) if bold else code}", *codes]
        lines += ["Do so only if you have just started this log-in yourself."]
    if invitation.kind == "paste":
        lines += [
            "Then copy the address that the browser ends at, even if it shows an error there;",
            "paste it here, and press Enter.",
        ]
    return "\n".join(["", *lines, ""])


def _one_line(text: str) -> str:
    """Keep a server's text from moving the cursor, and from being more than a line."""
    return "".join(char for char in text if char.isprintable())


def _hints(invitation: Invitation, other_ways: str | None, *, can_paste: bool) -> str:
    lines = ["Still waiting for the log-in. Control-C stops it."]
    if invitation.kind == "browser":
        lines += ["If no browser has opened, copy the address above into one on this machine."]
        if can_paste:
            lines += [
                "If the browser is on another machine, log in there, copy the address that it",
                "could not open, paste it here, and press Enter.",
            ]
    if other_ways is not None:
        lines += [other_ways]
    return "\n".join(["", *lines, ""])


@final
@attrs.frozen(kw_only=True)
class NotebookPrompt:
    """Asks in a notebook: a link, and a QR code if it may be opened on another device.

    Where nothing can be displayed it asks as `TerminalPrompt` does.
    """

    display: Callable[[str], object] | None = attrs.field(default=None, repr=False)
    """Shows HTML; by default as IPython does."""

    async def __call__(self, invitation: Invitation, /) -> str | None:
        """Show the link.

        Cancellation:
          Safe.
        """
        display = self.display or _ipython_display()
        if display is None:
            return await TerminalPrompt()(invitation)
        display(_html(invitation))
        await trio.lowlevel.checkpoint()
        return None


def _html(invitation: Invitation) -> str:
    who, where = printable(invitation.client_id), printable(invitation.where)
    url = invitation.complete_url or invitation.url
    try:
        check_url(url)
    except ValueError:
        # "javascript:" would run in the notebook: shown, and no link.
        link = escape(url)
    else:
        link = f'<a href="{escape(url)}" target="_blank" rel="noopener noreferrer">Log in</a>'
    parts = [f"<p>{link} {escape(who)} at {escape(where)}</p>"]
    if invitation.user_code is not None:
        code = escape(_one_line(invitation.user_code))
        only = "Use it only if you have just started this log-in yourself."
        parts += [f"<p>The code is <b>{code}</b>. {only}</p>"]
    if invitation.complete_url is not None:
        parts += [qr.svg(invitation.complete_url)]
    return "".join(parts)


def _ipython() -> Any:
    """Return IPython's shell, if this program runs in one."""
    module: Any = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def _ipython_display() -> Callable[[str], object] | None:
    if _ipython() is None:
        return None
    shown: Any = import_module("IPython.display")

    def show(html: str) -> None:
        shown.display(shown.HTML(html))

    return show


# What a test uses instead of the default, the innermost last: `trioauth.testing.prompting`.
instead: Final[list[Prompt]] = []


def default_prompt() -> Prompt:
    """Return the prompt for where this program runs. Not a checkpoint."""
    if instead:
        return instead[-1]
    # A shell with a kernel: IPython in a terminal has none, and shows no HTML.
    if getattr(_ipython(), "kernel", None) is not None:
        return NotebookPrompt()
    return TerminalPrompt()
