"""``python -m tests.broken [--worlds N] [WORDS...]``: try the variants, say what was caught."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tests.proof import record

from .run import broken_copy, simulation_catches, test_catches, works_in_fair_weather
from .variants import VARIANTS

if TYPE_CHECKING:
    from .variant import Variant


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.broken", description=__doc__)
    parser.add_argument("words", nargs="*", help="only variants with one of these in their names")
    parser.add_argument("--worlds", type=int, default=0, help="simulated worlds to try on each")
    options = parser.parse_args()
    chosen = [
        variant
        for variant in VARIANTS
        if not options.words or any(word in variant.name for word in options.words)
    ]
    uncaught = unseen = 0
    for variant in chosen:
        with broken_copy(variant) as folder:
            by_test = works_in_fair_weather(folder) and test_catches(variant, folder)
            seen = options.worlds > 0 and simulation_catches(variant, folder, options.worlds)
        uncaught += not by_test
        unseen += options.worlds > 0 and not variant.unseen_because and not seen
        test = variant.caught_by.rpartition("::")[2]
        simulation = f", {_sight(variant, seen=seen)} by simulation" if options.worlds else ""
        print(
            f"{variant.name}: {'caught' if by_test else 'NOT CAUGHT'} by {test}{simulation}",
            flush=True,
        )
    record(
        "broken on purpose, caught by the test of that name", cases=len(chosen), violations=uncaught
    )
    if options.worlds:
        seeable = sum(not variant.unseen_because for variant in chosen)
        record("broken on purpose, seen by the simulation", cases=seeable, violations=unseen)
    return 1 if uncaught or unseen else 0


def _sight(variant: Variant, *, seen: bool) -> str:
    if seen:
        # Then the reason is wrong, or a world shows it by another way.
        return "seen, against expectation," if variant.unseen_because else "seen"
    return "not to be seen" if variant.unseen_because else "NOT seen"


if __name__ == "__main__":
    raise SystemExit(main())
