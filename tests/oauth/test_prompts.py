"""What a person is shown, and what is read of what they paste."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import pickle
import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO

import attrs
import pytest
import trio
import trio.testing

from trioauth.oauth.logins import lines, prompt, qr
from trioauth.oauth.logins.lines import can_read, read_line
from trioauth.oauth.logins.opening import Surroundings
from trioauth.oauth.logins.prompt import (
    Invitation,
    Kind,
    NotebookPrompt,
    TerminalPrompt,
    default_prompt,
)
from trioauth.testing import prompting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.testing import MockClock

URL = f"https://id.test/authorize?state=cs-canary-state&x={'long' * 60}"
NOWHERE = Surroundings(why_not="a test")


class Screen(io.StringIO):
    """A terminal to write on."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@contextmanager
def keyboard() -> Iterator[tuple[int, TextIO]]:
    """A terminal: the end that types, and the end that a program reads."""
    typing, reading = os.openpty()
    with os.fdopen(reading, encoding="utf-8") as stream:
        try:
            yield typing, stream
        finally:
            os.close(typing)


def invite(kind: Kind = "browser", **changes: Any) -> Invitation:
    invitation = Invitation(kind=kind, url=URL, expires_at=600, client_id="notes", where="id.test")
    return attrs.evolve(invitation, **changes)


DEVICE = invite(
    "device",
    url="https://id.test/device",
    user_code="WDJB-MJHT",
    complete_url="https://id.test/device?user_code=WDJB-MJHT",
)


def test_an_invitation_shows_no_secret_and_can_not_be_pickled() -> None:
    assert "canary" not in repr(invite())
    assert "WDJB" not in repr(DEVICE)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(invite())


async def test_the_address_is_on_one_line_of_its_own_on_stderr(
    capsys: pytest.CaptureFixture[str], autojump_clock: MockClock
) -> None:
    await TerminalPrompt(surroundings=NOWHERE)(invite())
    out, err = capsys.readouterr()
    assert out == ""
    assert URL in err.splitlines()
    assert "notes" in err
    assert "id.test" in err


async def test_after_a_while_the_other_ways_are_said(autojump_clock: MockClock) -> None:
    screen = Screen()
    ask = TerminalPrompt(output=screen, surroundings=NOWHERE, other_ways="Or use --device.")
    with trio.move_on_after(14.9):
        await ask(invite())
    assert "Still waiting" not in screen.getvalue()
    assert await ask(invite()) is None
    assert "Still waiting" in screen.getvalue()
    assert "Or use --device." in screen.getvalue()
    assert "If no browser has opened" in screen.getvalue()
    assert "another machine" not in screen.getvalue(), "nothing can be pasted here"


async def test_a_pasted_address_is_returned_and_what_is_none_is_asked_for_again() -> None:
    screen = Screen()

    def check(text: str) -> str | None:
        return None if "code=" in text else "no code in it"

    with keyboard() as (typing, stream):
        ask = TerminalPrompt(output=screen, keyboard=stream, surroundings=NOWHERE)
        os.write(typing, b"\n  \nhello\nhttp://127.0.0.1/?code=x\nfor the program\n")
        assert await ask(invite("paste", check=check)) == "http://127.0.0.1/?code=x\n"
        assert "That is not it: no code in it. Paste it again." in screen.getvalue()
        assert "paste it here, and press Enter" in screen.getvalue()
        assert stream.readline() == "for the program\n"
        os.write(typing, b"anything\n")
        assert await ask(invite()) == "anything\n"


async def test_the_hint_says_that_an_address_can_be_pasted(mock_clock: MockClock) -> None:
    screen = Screen()
    with keyboard() as (_, stream):
        ask = TerminalPrompt(output=screen, keyboard=stream, surroundings=NOWHERE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, invite())
            await trio.testing.wait_all_tasks_blocked(0.05)
            mock_clock.jump(15)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
    assert "another machine" in screen.getvalue()


async def test_a_cancelled_prompt_leaves_the_next_line_to_the_program() -> None:
    with keyboard() as (typing, stream):
        with trio.move_on_after(0.05) as scope:
            await TerminalPrompt(output=Screen(), keyboard=stream, open_browser=False)(invite())
        assert scope.cancelled_caught
        os.write(typing, b"for the program\n")
        assert await trio.to_thread.run_sync(stream.readline) == "for the program\n"


async def test_the_end_of_the_input_is_not_a_line() -> None:
    with keyboard() as (typing, stream):
        os.write(typing, b"\x04")
        assert await read_line(stream) is None
        os.write(typing, b"half\x04 a line\n")
        assert await read_line(stream) == "half a line\n"


async def test_a_terminal_that_goes_away_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with keyboard() as (typing, stream):
        os.write(typing, b"x\n")

        def read(fd: int, size: int) -> bytes:
            raise OSError(errno.EIO, "gone")

        with monkeypatch.context() as patch:
            patch.setattr(os, "read", read)
            assert await read_line(stream) is None


async def test_a_prompt_ends_when_there_is_nothing_more_to_read(mock_clock: MockClock) -> None:
    mock_clock.rate = 1000
    with keyboard() as (typing, stream):
        os.write(typing, b"\x04")
        ask = TerminalPrompt(output=Screen(), keyboard=stream, open_browser=False)
        assert await ask(invite("paste")) is None


async def test_two_do_not_read_the_same_terminal() -> None:
    with keyboard() as (typing, stream):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_line, stream)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await read_line(stream) is None
            os.write(typing, b"x\n")


async def test_a_terminal_in_front_of_which_we_are_not_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with keyboard() as (typing, stream):
        assert can_read(stream)
        monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
        assert not can_read(stream)
        os.write(typing, b"x\n")
        assert await read_line(stream) is None
        monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
        assert await read_line(stream) == "x\n"
    assert not can_read(stream), "closed"
    assert not can_read(None)
    assert not can_read(io.StringIO())


async def test_where_there_is_no_other_way_a_thread_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "NEEDS_A_THREAD", True)
    stream = Screen("a line\n")
    assert can_read(stream)
    assert await read_line(stream) == "a line\n"
    assert await read_line(stream) is None


async def test_a_code_to_type_is_bold_and_as_it_came(autojump_clock: MockClock) -> None:
    screen = Screen()
    await TerminalPrompt(output=screen, surroundings=NOWHERE)(DEVICE)
    assert "\x1b[1mWDJB-MJHT\x1b[0m" in screen.getvalue()
    assert "Do so only if you have just started this log-in yourself." in screen.getvalue()
    plain = io.StringIO()
    await TerminalPrompt(output=plain, surroundings=NOWHERE)(DEVICE)
    assert "the code WDJB-MJHT\n" in plain.getvalue()
    assert "\x1b" not in plain.getvalue()


async def test_a_server_can_not_move_the_cursor(autojump_clock: MockClock) -> None:
    plain = io.StringIO()
    evil = attrs.evolve(DEVICE, user_code="A\x1b[2J\nB", url="https://id.test/\x1b[2J\n")
    await TerminalPrompt(output=plain, surroundings=NOWHERE)(evil)
    assert "\x1b" not in plain.getvalue()
    assert "A[2JB" in plain.getvalue()


async def test_a_qr_code_is_drawn_only_of_the_complete_address_and_where_it_fits(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    pytest.importorskip("segno")

    async def drawn(screen: io.StringIO, invitation: Invitation, columns: int, rows: int) -> bool:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(rows))
        await TerminalPrompt(output=screen, surroundings=NOWHERE)(invitation)
        return "▀" in screen.getvalue()

    assert await drawn(Screen(), DEVICE, 80, 40)
    assert not await drawn(Screen(), DEVICE, 20, 40)
    assert not await drawn(Screen(), DEVICE, 80, 10)
    assert not await drawn(Screen(), attrs.evolve(DEVICE, complete_url=None), 80, 40)
    assert not await drawn(io.StringIO(), DEVICE, 80, 40)
    ascii_screen = Screen()
    ascii_screen.encoding = "ascii"
    assert not await drawn(ascii_screen, DEVICE, 80, 40)
    monkeypatch.setenv("TERM", "dumb")
    assert not await drawn(Screen(), DEVICE, 80, 40)


def test_a_qr_code_has_what_segno_drew() -> None:
    segno = pytest.importorskip("segno")
    text = "https://id.test/device?user_code=WDJB-MJHT"
    modules = [list(row) for row in segno.make(text, micro=False).matrix_iter(border=2)]
    drawn: list[list[int]] = []
    for line in qr.terminal_lines(text, columns=80, rows=40):
        halves = line.removeprefix("\x1b[30;107m").removesuffix("\x1b[0m")
        drawn += [[int(char in "▀█") for char in halves], [int(char in "▄█") for char in halves]]
    assert drawn[: len(modules)] == modules
    assert "<svg" in qr.svg(text)


def test_without_segno_or_for_too_long_a_text_there_is_no_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("segno")
    assert qr.terminal_lines("x" * 5000, columns=9999, rows=9999) == []
    assert qr.svg("x" * 5000) == ""
    monkeypatch.setitem(sys.modules, "segno", None)
    assert qr.terminal_lines("x", columns=80, rows=40) == []
    assert qr.svg("x") == ""


async def test_a_browser_is_opened_if_it_may_and_with_the_complete_address(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    opened: list[str] = []

    async def open_browser(url: str, surroundings: Surroundings | None) -> bool:
        opened.append(url)
        if url.startswith("javascript"):
            raise ValueError(url)
        return True

    monkeypatch.setattr(prompt, "open_browser", open_browser)
    await TerminalPrompt(output=Screen())(invite())
    await TerminalPrompt(output=Screen())(DEVICE)
    await TerminalPrompt(output=Screen())(invite(url="javascript:alert(1)"))
    assert opened == [URL, DEVICE.complete_url, "javascript:alert(1)"]
    await TerminalPrompt(output=Screen())(invite("paste"))
    await TerminalPrompt(output=Screen(), open_browser=False)(invite())
    assert len(opened) == 3


async def test_a_screen_that_can_not_be_written_to_stops_nothing(
    autojump_clock: MockClock,
) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: False  # type: ignore[method-assign]  # a closed one can't say
    screen.close()
    assert await TerminalPrompt(output=screen, surroundings=NOWHERE)(invite()) is None


async def test_a_notebook_shows_a_link_and_a_code_for_another_device() -> None:
    shown: list[str] = []
    ask = NotebookPrompt(display=shown.append)
    assert await ask(invite(client_id="<notes>")) is None
    assert f'href="{URL.replace("&", "&amp;")}"' in shown[0]
    assert 'rel="noopener noreferrer"' in shown[0]
    assert "&lt;notes&gt;" in shown[0]
    assert "<svg" not in shown[0]
    await ask(DEVICE)
    assert "<b>WDJB-MJHT</b>" in shown[1]
    assert "just started this log-in yourself" in shown[1]
    assert ("<svg" in shown[1]) == (importlib.util.find_spec("segno") is not None)
    await ask(invite(url='javascript:alert("1")'))
    assert "href" not in shown[2]
    assert "javascript:alert(&quot;1&quot;)" in shown[2]


async def test_a_notebook_without_a_display_asks_in_the_terminal(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setenv("BROWSER", "true")
    assert await NotebookPrompt()(invite()) is None
    assert URL in capsys.readouterr().err.splitlines()


def test_a_test_has_its_own_prompt_as_long_as_a_block_lasts() -> None:
    async def first(invitation: Invitation, /) -> str | None:
        raise NotImplementedError

    async def second(invitation: Invitation, /) -> str | None:
        raise NotImplementedError

    with prompting(first):
        with pytest.raises(ZeroDivisionError), prompting(second):
            assert default_prompt() is second
            raise ZeroDivisionError
        assert default_prompt() is first
    assert isinstance(default_prompt(), TerminalPrompt)


async def test_the_prompt_is_chosen_by_where_the_program_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    shell = SimpleNamespace()
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    vars(package)["get_ipython"] = lambda: shell
    vars(display).update(HTML=str, display=shown.append)
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert isinstance(default_prompt(), TerminalPrompt)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert isinstance(default_prompt(), TerminalPrompt), "IPython in a terminal"
    shell.kernel = object()
    chosen = default_prompt()
    assert isinstance(chosen, NotebookPrompt)
    await chosen(invite())
    assert "href" in shown[0]
