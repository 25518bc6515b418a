"""What the benchmarks count, each time.

How long something takes is measured by `make bench` alone. What it counts on the way (refreshes,
requests that waited, errors, connections lost, TLS contexts) is the same on every machine.
"""

from __future__ import annotations

import importlib

import pytest

from benchmarks.__main__ import CASES
from benchmarks._report import Report, line
from benchmarks._sides import PEERS

# How many counts with an aim each case has at least; of file_store's one needs strace.
COUNTS = {
    "fresh": 0,
    "alone": 2,
    "storms": 5,
    "rotation": 1,
    "crowds": 3,
    "growth": 1,
    "sessions": 1,
    "importing": 0,
    "file_store": 5,
}


def test_every_case_is_counted_here() -> None:
    assert tuple(sorted(COUNTS)) == tuple(sorted(CASES))


@pytest.mark.parametrize("case", CASES)
def test_what_a_benchmark_counts_meets_its_aim(case: str) -> None:
    report = Report("count")
    importlib.import_module(f"benchmarks.{case}").run(report)
    counts = [figure for figure in report.figures if figure.is_count]
    assert len(counts) >= COUNTS[case]
    assert [line(figure) for figure in counts if not figure.met] == []


def test_the_peers_are_left_out_where_only_counting_is_wanted() -> None:
    assert Report("count").sides("trioauth", *PEERS) == ["trioauth"]
    assert Report("quick").sides("trioauth", *PEERS) == ["trioauth", *PEERS]
