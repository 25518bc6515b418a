"""The command: run worlds, say what was covered, and how to see again what went wrong."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from tests.proof import record

from . import run, world
from .fleet import run as fleet_run
from .fleet import world as fleet_world
from .shrink import describe, shrink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .run import Failures, Result

# What one process does before it reports.
_CHUNK = 50
_MOST_SHOWN = 20


@attrs.frozen
class _Kind:
    """A kind of worlds."""

    draw: Callable[[int], Any]
    play: Callable[[Any], Result]
    play_range: Callable[[range], tuple[Counter[str], Failures]]
    option: str = ""


_SINGLE: Final = _Kind(world.draw, run.play, run.play_range)
_FLEET: Final = _Kind(fleet_world.draw, fleet_run.play, fleet_run.play_range, " --fleet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a promise was broken."""
    options = _parser().parse_args(arguments)
    kind = _FLEET if options.fleet else _SINGLE
    if options.seed is not None:
        return _show(kind, options.seed, verbose=options.verbose, smaller=options.shrink)
    started = time.perf_counter()
    counts, failures = _run(kind, options.seeds, options.jobs, stop_at_first=options.stop_at_first)
    seconds = time.perf_counter() - started
    for line in _report(kind, counts, failures, seconds):
        print(line)
    if options.json is not None:
        covered = {"seconds": round(seconds, 1), "covered": dict(sorted(counts.items()))}
        text = json.dumps({**covered, "failures": failures}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    what = "simulated fleets" if options.fleet else "simulated worlds"
    record(what, cases=counts["worlds"], violations=len(failures))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Simulate whole worlds from their seeds."
    )
    parser.add_argument("--fleet", action="store_true", help="worlds of many logins on many hosts")
    parser.add_argument("--seeds", type=_range, default=range(1000), metavar="A:B")
    parser.add_argument("--seed", type=int, metavar="N", help="play this world only")
    parser.add_argument("--verbose", action="store_true", help="print the log of that world")
    parser.add_argument("--shrink", action="store_true", help="look for a smaller one that fails")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--stop-at-first", action="store_true", help="stop where one fails")
    parser.add_argument("--json", metavar="FILE", help="write what was covered")
    return parser


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first or 0), int(last))


def _run(
    kind: _Kind, seeds: range, jobs: int, *, stop_at_first: bool
) -> tuple[Counter[str], Failures]:
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        return _gather(map(kind.play_range, chunks), stop_at_first=stop_at_first)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        parts = pool.imap_unordered(kind.play_range, chunks)
        return _gather(parts, stop_at_first=stop_at_first)


def _gather(
    parts: Iterable[tuple[Counter[str], Failures]], *, stop_at_first: bool
) -> tuple[Counter[str], Failures]:
    counts: Counter[str] = Counter()
    failures: Failures = {}
    for covered, failed in parts:
        counts.update(covered)
        failures |= failed
        for seed, violations in sorted(failed.items()):
            print(f"seed {seed}: {violations[0]}", file=sys.stderr)
        if failures and stop_at_first:
            break
    return counts, dict(sorted(failures.items()))


def _report(kind: _Kind, counts: Counter[str], failures: Failures, seconds: float) -> Iterable[str]:
    width = max(map(len, counts), default=0)
    for what, times in sorted(counts.items()):
        yield f"{what:{width}}  {times:>9,}"
    worlds, broken = counts["worlds"], len(failures)
    yield f"{worlds:,} worlds in {seconds:.1f} s, {broken} in which a promise was broken"
    for seed in list(failures)[:_MOST_SHOWN]:
        for violation in failures[seed]:
            yield f"  {violation}"
        yield f"  to see it again: python -m tests.simulation{kind.option} --seed {seed} --verbose"


def _show(kind: _Kind, seed: int, *, verbose: bool, smaller: bool) -> int:
    shown = kind.draw(seed)
    if smaller:
        shown = shrink(shown, kind.play)
    result = kind.play(shown)
    if verbose or smaller:
        print(describe(shown))
    if verbose:
        print(result.log)
    for violation in result.violations:
        print(violation)
    if not result.violations:
        print(f"seed {seed}: every promise was kept")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
