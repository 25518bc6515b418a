"""What the programs of docs/howto/watching.md print."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from . import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (EXAMPLES.parent / "howto" / "watching.md").read_text(encoding="utf-8")


def shown(name: str) -> str:
    """What the page says that a program prints."""
    texts: list[str] = re.findall(rf"<!-- {name} -->\n```text\n(.*?)```", PAGE, re.DOTALL)
    [text] = texts
    return text


def in_words(text: str) -> list[str]:
    """The words of a text, but for what differs each time: times, and the order of tasks."""
    text = re.sub(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|[+-]\d{4}", "0", text)
    text = re.sub(r"just now|[\d.]+ s( ago)?", "0 s", text)
    return re.sub(r"(sync|GET) \S+", r"\1", re.sub(r"\s+", " ", text)).split()


# On virtual time, so that it does not depend on the machine who waits for whom.
IN_NO_TIME = """
import functools, runpy, sys
import trio, trio.testing
clock = trio.testing.MockClock(autojump_threshold=0)
trio.run = functools.partial(trio.run, clock=clock)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), [("night.py", list), ("traced.py", sorted)])
def test_a_program_prints_what_the_page_shows(
    name: str, order: Callable[[list[str]], list[str]]
) -> None:
    command = [sys.executable, "-c", IN_NO_TIME, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert order(in_words(done.stdout)) == order(in_words(shown(name)))
