"""What the benchmarks count, each time; and that the pages quote the figures of one run.

How long something takes is measured by `make bench` alone. What it counts on the way (refreshes,
requests that waited, errors, connections lost, TLS contexts) is the same on every machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import _page
from benchmarks.__main__ import CASES, _options
from benchmarks._report import Report, line, load
from benchmarks._sides import PEERS

if TYPE_CHECKING:
    from benchmarks._report import Figure

ROOT = Path(__file__).parents[1]
# How many counts with an aim each case has at least; of file_store's one needs strace.
COUNTS = {
    "fresh": 0,
    "alone": 2,
    "storms": 5,
    "rotation": 1,
    "crowds": 3,
    "growth": 1,
    "sessions": 1,
    "many": 2,
    "many_memory": 1,
    "many_crowds": 8,
    "importing": 0,
    "file_store": 5,
}


def test_every_case_is_counted_here() -> None:
    assert tuple(sorted(COUNTS)) == tuple(sorted(CASES))


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(CASES))
def test_what_a_benchmark_counts_meets_its_aim(case: str, tmp_path: Path) -> None:
    # In a process of its own: what other tests left behind (TLS contexts) would be counted, too.
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", case, "--count", "--json", str(figures)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = [figure for figure in load(figures)["figures"] if figure.is_count]
    assert len(counts) >= COUNTS[case]
    assert [line(figure) for figure in counts if not figure.met] == []


def test_what_the_benchmarks_counted_met_its_aim_in_the_run_that_the_pages_quote() -> None:
    # Prose says "none fails" and the like, and is right only if this is so.
    figures: list[Figure] = load(_page.RESULTS)["figures"]
    counts = [figure for figure in figures if figure.is_count]
    assert counts
    assert [line(figure) for figure in counts if not figure.met] == []


def test_the_peers_are_left_out_where_only_counting_is_wanted() -> None:
    assert Report("count").sides("trioauth", *PEERS) == ["trioauth"]
    assert Report("quick").sides("trioauth", *PEERS) == ["trioauth", *PEERS]


# --- pages ---------------------------------------------------------------------------------


def test_the_pages_and_charts_have_the_figures_of_the_run() -> None:
    # If not: python -m benchmarks --figures benchmarks/results.json --write-page
    pages = _page.pages().items()
    assert [path.name for path, text in pages if path.read_text("utf-8") != text] == []


def test_a_figure_changed_by_hand_is_found() -> None:
    content = load(_page.RESULTS)
    text = "It takes <!-- speed: crowd own -->0.1 s<!-- -->."
    assert _page.fill(text, content) != text
    assert _page.fill(_page.fill(text, content), content) == _page.fill(text, content)


def test_a_figure_that_was_not_measured_is_not_quoted() -> None:
    content = load(_page.RESULTS) | {"figures": []}
    with pytest.raises(LookupError, match="no figure 'crowd own'"):
        _page.fill("<!-- speed: crowd own --><!-- -->", content)


def test_a_mark_with_a_name_that_there_is_not_fails() -> None:
    content = load(_page.RESULTS)
    with pytest.raises(LookupError, match="crowd of ours"):
        _page.fill("<!-- speed: crowd of ours --><!-- -->", content)
    with pytest.raises(LookupError, match="there is no case 'fast'"):
        _page.fill("<!-- speed: table fast --><!-- -->", content)


@pytest.mark.parametrize("path", _page.PAGES, ids=lambda path: path.name)
def test_no_measured_figure_stands_outside_of_marks(path: Path) -> None:
    prose = re.sub(r"<!-- speed: .*?<!-- -->", "", path.read_text("utf-8"), flags=re.DOTALL)
    assert re.findall(r"\b\d+\.\d+ (?:s|ms|µs|times)\b|\b[\d,]+ (?:s|fail)\b", prose) == []
    assert prose.count("<!-- -->") == 0


@pytest.mark.parametrize("path", _page.PAGES, ids=lambda path: path.name)
def test_no_line_of_prose_begins_with_a_mark(path: Path) -> None:
    # Markdown would take the line for a block of HTML, and end the paragraph there.
    assert not re.search(r"(?m)^[\s*-]*<!-- speed: (?!table )", path.read_text("utf-8"))


@pytest.mark.parametrize("partly", [["--quick"], ["--count"], ["fresh"]])
def test_a_page_is_not_written_from_a_part_of_a_run(
    partly: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--write-page", *partly])
    with pytest.raises(SystemExit):
        _options()
    assert "come from one run" in capsys.readouterr().err
