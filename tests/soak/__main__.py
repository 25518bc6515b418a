"""``python -m tests.soak``: exits with 1 if a promise or bound was broken, and names it."""

from __future__ import annotations

import argparse
import sys

import trio

from tests.proof import record

from .run import Options, soak


def main(arguments: list[str] | None = None) -> int:
    """Run the soak; return the exit status."""
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float)
    length.add_argument("--seconds", type=float, default=defaults.seconds)
    parser.add_argument("--tasks", type=int, default=defaults.tasks, help="in this process")
    parser.add_argument(
        "--lifetime", type=float, default=defaults.lifetime, help="of a token, in seconds"
    )
    parser.add_argument(
        "--reuse-grace",
        type=float,
        default=defaults.reuse_grace,
        help="for how many seconds the server forgives that a refresh token is presented again, "
        "as it is when an answer was lost; with 0 that ends the login",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of what goes wrong when")
    given = parser.parse_args(arguments)
    options = Options(
        seconds=given.seconds if given.minutes is None else 60 * given.minutes,
        tasks=given.tasks,
        lifetime=given.lifetime,
        reuse_grace=given.reuse_grace,
        seed=given.seed,
    )
    print(f"seed {options.seed}", flush=True)
    report = trio.run(soak, options, lambda line: print(line, flush=True))
    for line in report.lines():
        print(line)
    record(
        f"minutes on real sockets, {options.tasks} tasks, everything going wrong",
        cases=round(options.seconds / 60),
        violations=len(report.broken),
    )
    if report.broken:
        print(f"broken: {', '.join(report.broken)}", file=sys.stderr)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
