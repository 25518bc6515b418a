"""What docs/comparison.md says of us and of the pasted lock; the others are not installed here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import peer_logins
from benchmarks._login_sides import SIDES as LOGIN_SIDES
from benchmarks.peers import QUESTIONS, SIDES, answer

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"


@pytest.mark.parametrize("title", QUESTIONS)
def test_the_comparison_says_what_happens(title: str) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    [row] = [line for line in lines if line.startswith(f"| {title} |")]
    cells = dict(zip(SIDES, row.strip("| ").split(" | ")[1:], strict=True))
    for side in ("trioauth", "pasted lock"):
        assert cells[side] == answer(side, title)


@pytest.mark.parametrize(
    "title",
    [
        # Real time passes between two polls, on both sides of a socket.
        pytest.param(title, marks=[pytest.mark.slow] if title.startswith("Device") else [])
        for title in peer_logins.QUESTIONS
    ],
)
def test_the_comparison_says_what_happens_to_a_log_in(title: str) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    [row] = [line for line in lines if line.startswith(f"| {title} |")]
    cells = dict(zip(LOGIN_SIDES, row.strip("| ").split(" | ")[1:], strict=True))
    assert cells["trioauth"] == peer_logins.answer("trioauth", title)
