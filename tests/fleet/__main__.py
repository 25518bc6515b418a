"""``python -m tests.fleet``: exits with 1 if something was lost that need not have been."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import trio

from tests.redis_server import SERVER, redis_server

from .report import Row, rows
from .run import Plan, run_fleet
from .stores import KINDS, Kind


def run_one(kind: Kind, options: argparse.Namespace) -> Row:
    """Run a fleet over one store, and say what was kept."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trioauth-fleet-")))
        place = str(folder / "logins")
        if kind == "redis":
            place = stack.enter_context(redis_server(folder)).url
        keys = 1 if kind == "file" else options.logins
        plan = Plan(kind=kind, place=place, seconds=options.seconds, keys=keys, seed=options.seed)
        account = trio.run(run_fleet, plan)
    for check in account.checks():
        print(f"{'kept  ' if check.kept else 'BROKEN'} {check.promise:8} {check.sentence}")
    for token in account.twice ^ frozenset(account.must_cost):
        print("\n".join(account.story(token)))
    for token, why in sorted(account.must_cost.items(), key=str):
        print(f"       {token}: {why}; {', '.join(account.presentations[token])}")
    return Row.of(account)


def main(arguments: list[str] | None = None) -> int:
    """Run fleets, print a table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--store", choices=KINDS, action="append", help="by default, all of them")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--logins", type=int, default=200, help="but one in a FileStore")
    parser.add_argument("--seed", type=int, default=1, help="of what is done to whom")
    parser.add_argument("--json", type=Path, help="where to write the rows of the table, too")
    options = parser.parse_args(arguments)
    found: list[Row] = []
    for kind in options.store or KINDS:
        if kind == "redis" and SERVER is None:
            print("LEFT OUT: redis, because redis-server is not installed", file=sys.stderr)
            continue
        print(f"{kind}, {options.seconds:g} seconds, seed {options.seed}", flush=True)
        found.append(run_one(kind, options))
    print("\n".join(rows(found)))
    if options.json is not None:
        options.json.write_text(json.dumps(rows(found)), encoding="utf-8")
    broken = [name for row in found for name in row.broken]
    if broken:
        print(f"broken: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
