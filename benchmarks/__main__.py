"""Run the benchmarks: ``python -m benchmarks [CASE ...] [--quick] [--write-page]``."""

from __future__ import annotations

import argparse
import importlib
import shutil
import time
from pathlib import Path

from ._report import Report, merge, say

_HERE = Path(__file__).parent
_DOCS = _HERE.parent / "docs"
_CASES = (
    "fresh",
    "alone",
    "storms",
    "rotation",
    "crowds",
    "growth",
    "importing",
    "file_store",
)
_ON_REQUEST = ("limiter",)


def main() -> None:
    """Run what was asked for; write the JSON, and the page if wanted."""
    options = _options()
    source: Path | None = options.figures
    if source is None:
        source = options.json
        _run(options)
    if options.write_page:
        from ._page import write

        committed = _HERE / "results.json"
        if source != committed:
            shutil.copyfile(source, committed)
        write(committed, _DOCS)
        say(f"written: {committed}, {_DOCS / 'speed.md'} and its charts")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join((*_CASES, *_ON_REQUEST))
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {names}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument(
        "--json", type=Path, default=_HERE / "last.json", help="where the figures go"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep what is there of the cases that are left out"
    )
    parser.add_argument(
        "--write-page", action="store_true", help="make docs/speed.md and results.json of it"
    )
    parser.add_argument(
        "--figures", type=Path, metavar="JSON", help="run nothing, take an earlier run's"
    )
    options = parser.parse_args()
    if unknown := set(options.cases) - {*_CASES, *_ON_REQUEST}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    return options


def _run(options: argparse.Namespace) -> None:
    report = Report(quick=options.quick)
    for name in options.cases or _CASES:
        started = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").run(report)
        say(f"-- {name}: {time.perf_counter() - started:.0f} s\n")
        if options.keep:
            merge(options.json, report)
        # Each time, so that what was measured is not lost with what comes after.
        report.write(options.json)
    say(f"written: {options.json}")


if __name__ == "__main__":
    main()
