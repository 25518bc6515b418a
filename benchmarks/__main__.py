"""Run the benchmarks: ``python -m benchmarks [CASE ...] [--quick] [--write-page]``."""

from __future__ import annotations

import argparse
import importlib
import shutil
import time
from pathlib import Path

from ._report import Report, say

_HERE = Path(__file__).parent
CASES = (
    "fresh",
    "alone",
    "storms",
    "rotation",
    "crowds",
    "growth",
    "sessions",
    "many",
    "many_memory",
    "many_crowds",
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
        from ._page import RESULTS, write

        if source.resolve() != RESULTS.resolve():
            shutil.copyfile(source, RESULTS)
        say("written: " + ", ".join(map(str, (RESULTS, *write()))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join((*CASES, *_ON_REQUEST))
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {names}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    parser.add_argument(
        "--count", action="store_true", help="one small round, without the peers: for its counts"
    )
    parser.add_argument(
        "--json", type=Path, default=_HERE / "last.json", help="where the figures go"
    )
    parser.add_argument(
        "--write-page",
        action="store_true",
        help="put the figures into results.json, docs/speed.md and README.md",
    )
    parser.add_argument(
        "--figures", type=Path, metavar="JSON", help="run nothing, take an earlier run's"
    )
    options = parser.parse_args()
    if unknown := set(options.cases) - {*CASES, *_ON_REQUEST}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if options.write_page and (options.cases or options.quick or options.count):
        parser.error("the figures of a page come from one run: of all cases, and not a quick one")
    return options


def _run(options: argparse.Namespace) -> None:
    report = Report("count" if options.count else "quick" if options.quick else "full")
    for name in options.cases or CASES:
        started = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").run(report)
        say(f"-- {name}: {time.perf_counter() - started:.0f} s\n")
        # Each time, so that what was measured is not lost with what comes after.
        report.write(options.json)
    say(f"written: {options.json}")


if __name__ == "__main__":
    main()
